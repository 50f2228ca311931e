// first error: the memory of an output must be row-major
#include <slim/slim.hpp>

using namespace slim;

struct tiny : net<"tiny", fully_connected<10>> {};

int main() {
  float in[12]{}, out[30]{};
  Eigen::Map<Eigen::Matrix<float, 3, 10>> y(out);
  model<tiny, input<3, 4>> m;
  m.forward_into(y, std::span(in));
}
