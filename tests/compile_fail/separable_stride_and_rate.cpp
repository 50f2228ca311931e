// first error: tiny/sep: separable_conv2d: stride 2x2 and rate 2x2 cannot both be above 1
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  separable_conv2d<8, kernel_size{3}, stride{2}, rate{2}, scope{"sep"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
