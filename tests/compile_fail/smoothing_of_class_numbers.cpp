// first error: sparse_softmax_cross_entropy: does not take the option label_smoothing
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, labels<2>,
                       sparse_softmax_cross_entropy<label_smoothing{0.1}>>;
static_assert(tiny_t::output_shape == shape{2, 10});
