// first error: tiny: arg_scope: scope cannot be a default argument of conv2d
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  arg_scope<on<ops::conv2d>, with<scope{"conv1"}>, conv2d<8, kernel_size{3}>>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
