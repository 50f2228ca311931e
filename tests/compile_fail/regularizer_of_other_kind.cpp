// first error: tiny/conv1: conv2d: weights: relu is no regularizer: that has a `name`, fault(), active(), r(w) and gradient(w)
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  conv2d<4, kernel_size{3}, weights_regularizer{relu}, scope{"conv1"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
