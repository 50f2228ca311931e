// first error: softmax_cross_entropy: label_smoothing must lie in [0, 1]
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, one_hot_labels<2, 10>,
                       softmax_cross_entropy<label_smoothing{1.5}>>;
static_assert(tiny_t::output_shape == shape{2, 10});
