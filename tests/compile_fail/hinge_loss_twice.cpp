// first error: there already is an end point named margin
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10, scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, one_hot_labels<2, 10>,
                       hinge_loss<scope{"margin"}>, hinge_loss<scope{"margin"}>>;
static_assert(tiny_t::output_shape == shape{2, 10});
