// first error: tiny/fc: softmax_cross_entropy: one-hot labels [2,11] do not fit logits [2,10]
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, one_hot_labels<2, 11>,
                       softmax_cross_entropy<>>;
static_assert(tiny_t::output_shape == shape{2, 10});
