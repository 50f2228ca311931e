// first error: the network has no input
#include <slim/slim.hpp>

using namespace slim;

struct tiny : net<"tiny", flatten<>, fully_connected<10>> {};

int main() {
  model<tiny, sparse_softmax_cross_entropy<>> m;
  m.initialize();
}
