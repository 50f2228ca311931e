// first error: tiny/fc: cosine_distance: axis 0 sums the batch, which leaves nothing that weights_from could weigh
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, one_hot_labels<2, 10>,
                       named_input<"w", float, 2>, cosine_distance<axis{0}, weights_from{"w"}>>;
static_assert(tiny_t::output_shape == shape{2, 10});
