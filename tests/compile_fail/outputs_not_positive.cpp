// first error: tiny/fc: fully_connected: num_outputs must be positive, not 0
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<0, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
