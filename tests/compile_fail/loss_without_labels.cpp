// first error: sparse_softmax_cross_entropy: there is no input or end point named labels of type int, [2]
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, sparse_softmax_cross_entropy<>>;
static_assert(tiny_t::output_shape == shape{2, 10});
