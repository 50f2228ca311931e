// first error: tiny/fc6: conv2d: 7x7 VALID window exceeds its input 4x4x8
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  conv2d<8, kernel_size{3}, scope{"conv1"}>, max_pool2d<kernel_size{2}, scope{"pool1"}>,
  conv2d<10, kernel_size{7}, padding::valid, scope{"fc6"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
