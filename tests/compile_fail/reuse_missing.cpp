// first error: tiny/conv2: conv2d: there is no variable weights here to reuse
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  conv2d<4, kernel_size{3}, scope{"conv1"}>,
  reuse<conv2d<4, kernel_size{3}, scope{"conv2"}>>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
