// first error: an input must be row-major: use Eigen::RowMajor maps
#include <slim/slim.hpp>

using namespace slim;

struct tiny : net<"tiny", fully_connected<10>> {};

int main() {
  float data[12]{};
  Eigen::Map<Eigen::Matrix<float, 3, 4>> x(data);
  model<tiny, input<3, 4>> m;
  m.forward(x);
}
