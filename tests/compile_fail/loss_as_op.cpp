// first error: a part is neither input, loss, fetch nor setting
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, labels<2>, ops::sparse_softmax_cross_entropy>;
static_assert(tiny_t::output_shape == shape{2, 10});
