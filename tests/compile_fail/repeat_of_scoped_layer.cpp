// first error: tiny/conv1: scope "mine" is given to a layer that repeat names
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  repeat<3, conv2d<8, kernel_size{3}, scope{"mine"}>, "conv1">> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
