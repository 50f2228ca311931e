// first error: input weights [3] does not have the batch of inputs [2,8,8,3]
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, named_input<"weights", float, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
