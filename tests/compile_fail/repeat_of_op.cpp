// first error: tiny/conv1: ops::conv2d is no layer: write conv2d<...>
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  repeat<2, ops::conv2d, "conv1">> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
