// first error: tiny/conv1: conv2d: stride 2x2 and rate 1x3 cannot both be above 1
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  conv2d<8, kernel_size{3}, stride{2}, rate{1, 3}, scope{"conv1"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
