// first error: add_loss: needs a scalar, not [2,10]: compute_weighted_loss takes the mean of losses
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, add_loss<losses_from{"tiny/fc"}>>;
static_assert(tiny_t::output_shape == shape{2, 10});
