// first error: tiny/conv1: conv2d: the reused variable weights has shape [3,3,3,4], but [3,3,4,4] is needed here
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  conv2d<4, kernel_size{3}, scope{"conv1"}>,
  reuse<conv2d<4, kernel_size{3}, scope{"conv1"}>>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
