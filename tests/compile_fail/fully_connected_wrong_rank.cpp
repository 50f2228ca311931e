// first error: tiny/fc: fully_connected: needs an input of rank 2 or more, not [2]
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2>>;
static_assert(tiny_t::output_shape == shape{2, 10});
