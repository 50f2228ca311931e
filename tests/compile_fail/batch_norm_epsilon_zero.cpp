// first error: tiny/norm: batch_norm: epsilon must be positive
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  batch_norm<epsilon{0.0}, scope{"norm"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
