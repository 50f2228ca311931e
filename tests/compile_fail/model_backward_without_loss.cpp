// first error: backward: the model has no loss among its parts
#include <slim/slim.hpp>

using namespace slim;

struct tiny : net<"tiny", flatten<>, fully_connected<10>> {};

int main() {
  model<tiny, input<2, 4>> m;
  m.backward(std::vector<float>(8));
}
