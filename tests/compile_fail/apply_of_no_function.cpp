// first error: tiny: apply: what is given is no activation function: that has a `name` and takes one element, f(x)
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  conv2d<4, kernel_size{3}, scope{"conv1"}>, apply<3>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
