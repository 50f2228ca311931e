// first error: tiny: variable: weights: does not take the option stride
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  variable<"weights", shape{10, 3}, stride{2}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
