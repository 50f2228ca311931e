// first error: tiny: variable: weights: the option trainable is given twice
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  variable<"weights", shape{10, 3}, trainable{false}, trainable{true}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
