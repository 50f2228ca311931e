// first error: add_loss: losses_from is missing
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, add_loss<>>;
static_assert(tiny_t::output_shape == shape{2, 10});
