// first error: tiny/pool1: max_pool2d: 9x9 VALID window exceeds its input 8x8x3
#include <slim/slim.hpp>

using namespace slim;

struct tiny : net<"tiny", max_pool2d<kernel_size{9}, scope{"pool1"}>> {};

int main() {
  model<tiny, input<2, 8, 8, 3>> m;
  m.initialize();
}
