// first error: until: there is no end point named tiny/conv3; the closest is tiny/conv1
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  conv2d<4, kernel_size{3}, scope{"conv1"}>, flatten<>> {};

using tiny_t = network<until<"tiny/conv3", tiny>, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
