// first error: tiny: add_model_variable: there is no variable named tiny/weight; the closest is tiny/weights
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  variable<"weights", shape{10, 3}>, add_model_variable<"tiny/weight">> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
