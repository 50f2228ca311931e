// first error: tiny: ops::softmax is no layer: write softmax<...>
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, ops::softmax> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
