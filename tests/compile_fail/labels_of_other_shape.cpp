// first error: tiny/fc: mean_squared_error: labels [2,9] do not fit predictions [2,10]
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, one_hot_labels<2, 9>,
                       mean_squared_error<>>;
static_assert(tiny_t::output_shape == shape{2, 10});
