// first error: kernal_size
// at most 26 lines: g++'s own syntax errors come first
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  conv2d<8, kernal_size{3}, scope{"conv1"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
