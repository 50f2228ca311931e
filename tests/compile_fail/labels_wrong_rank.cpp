// first error: tiny/fc: sparse_softmax_cross_entropy: labels [2,1] do not fit logits [2,10]: [2] would
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, named_input<"labels", int, 2, 1>,
                       sparse_softmax_cross_entropy<>>;
static_assert(tiny_t::output_shape == shape{2, 10});
