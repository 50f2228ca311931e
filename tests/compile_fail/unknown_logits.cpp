// first error: softmax_cross_entropy: there is no end point named tiny/logits; the closest is tiny/fc
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, one_hot_labels<2, 10>,
                       softmax_cross_entropy<logits{"tiny/logits"}>>;
static_assert(tiny_t::output_shape == shape{2, 10});
