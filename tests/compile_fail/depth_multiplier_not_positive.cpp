// first error: tiny/sep: separable_conv2d: depth_multiplier must be positive, not 0
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  separable_conv2d<8, kernel_size{3}, depth_multiplier{0}, scope{"sep"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
