// first error: tiny: relu is no layer
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, relu_fn> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
