// first error: tiny/fc: mean_squared_error: weights [2,3] do not fit losses [2,10]: [2] or [2,10] would
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, one_hot_labels<2, 10>,
                       named_input<"w", float, 2, 3>, mean_squared_error<weights_from{"w"}>>;
static_assert(tiny_t::output_shape == shape{2, 10});
