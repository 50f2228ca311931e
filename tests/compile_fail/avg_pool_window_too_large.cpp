// first error: tiny/AvgPool2D: avg_pool2d: 2x9 VALID window exceeds its input 8x8x3
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  avg_pool2d<kernel_size{2, 9}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
