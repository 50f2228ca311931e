// first error: softmax_cross_entropy: does not take the option keep_prob
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, one_hot_labels<2, 10>,
                       softmax_cross_entropy<keep_prob{0.5}>>;
static_assert(tiny_t::output_shape == shape{2, 10});
