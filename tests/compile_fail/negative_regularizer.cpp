// first error: tiny/conv1: conv2d: weights: l2_regularizer: the scale is negative
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  conv2d<8, kernel_size{3}, weights_regularizer{l2_regularizer{-0.1}}, scope{"conv1"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
