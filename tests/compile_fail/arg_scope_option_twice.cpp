// first error: tiny: arg_scope: the option stride is given twice
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  arg_scope<on<ops::conv2d>, with<stride{1}, padding::same, stride{2}>,
    conv2d<8, kernel_size{3}, scope{"conv1"}>>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
