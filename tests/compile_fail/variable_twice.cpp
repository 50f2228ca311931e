// first error: tiny: model_variable: variable weights already exists here: a scope is repeated
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  variable<"weights", shape{10, 3}>, model_variable<"weights", shape{10, 3}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
