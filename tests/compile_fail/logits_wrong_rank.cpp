// first error: tiny/fc: sparse_softmax_cross_entropy: needs logits [n,classes], not [2,8,8,10]
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, labels<2>, sparse_softmax_cross_entropy<>>;
static_assert(tiny_t::output_shape == shape{2, 10});
