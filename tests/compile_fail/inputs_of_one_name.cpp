// first error: two inputs are named inputs
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, input<2, 4, 4, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
