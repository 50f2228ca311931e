// first error: tiny/position: heads: no loss depends on this head [2,2]: one with logits{"tiny/position"} would
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, heads<fully_connected<10, activation_fn{none}, scope{"class"}>,
                     fully_connected<2, activation_fn{none}, scope{"position"}>>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, labels<2>, sparse_softmax_cross_entropy<>>;
static_assert(tiny_t::output_shape == shape{2, 10});
