// first error: input inputs: its elements must be int, float or double
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, fully_connected<10>> {};

using tiny_t = network<tiny, named_input<"inputs", const char*, 2, 10>>;
static_assert(tiny_t::output_shape == shape{2, 10});
