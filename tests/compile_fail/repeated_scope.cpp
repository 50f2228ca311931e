// first error: tiny/conv1: conv2d: a layer with this scope already exists
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  conv2d<8, kernel_size{3}, scope{"conv1"}>, conv2d<8, kernel_size{3}, scope{"conv1"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
