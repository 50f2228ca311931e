// first error: a model computes in float or double
#include <slim/slim.hpp>

using namespace slim;

struct tiny : net<"tiny", flatten<>, fully_connected<10>> {};

int main() {
  model<tiny, input<2, 4>, scalar<int>> m;
  m.initialize();
}
