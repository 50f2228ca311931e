// first error: tiny/fc: sparse_softmax_cross_entropy: weights [2,2] do not fit losses [2]
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, labels<2>, named_input<"weights", float, 2, 2>,
                       sparse_softmax_cross_entropy<weights_from{"weights"}>>;
static_assert(tiny_t::output_shape == shape{2, 10});
