// first error: tiny/fc: sparse_softmax_cross_entropy: needs labels of type int, [2], not of type scalar, [2,10]
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, one_hot_labels<2, 10>,
                       sparse_softmax_cross_entropy<>>;
static_assert(tiny_t::output_shape == shape{2, 10});
