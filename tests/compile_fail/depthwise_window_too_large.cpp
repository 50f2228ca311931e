// first error: tiny/sep: separable_conv2d: 9x9 VALID window exceeds its input 8x8x3
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  separable_conv2d<none, kernel_size{9}, padding::valid, scope{"sep"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
