// first error: tiny: arg_scope: max_pool2d does not take the option activation_fn
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  arg_scope<on<ops::conv2d, ops::max_pool2d>, with<activation_fn{relu}>,
    conv2d<8, kernel_size{3}, scope{"conv1"}>>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
