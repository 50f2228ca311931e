// first error: tiny/fc: cosine_distance: there is no axis 2 in predictions [2,10]
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, one_hot_labels<2, 10>,
                       cosine_distance<axis{2}>>;
static_assert(tiny_t::output_shape == shape{2, 10});
