// first error: tiny: arg_scope: relu is no op of a layer, such as ops::conv2d
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  arg_scope<on<relu_fn>, with<stride{1}>, flatten<>>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
