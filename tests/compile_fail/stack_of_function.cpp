// first error: tiny: stack: relu is no op with a `layer`, such as ops::conv2d
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  stack<relu_fn, "fc", args<32>, args<64>>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
