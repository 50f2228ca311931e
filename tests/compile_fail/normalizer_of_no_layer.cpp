// first error: tiny/conv1: conv2d: normalizer_fn relu is no op of a layer, such as ops::batch_norm{}
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  conv2d<4, kernel_size{3}, normalizer_fn{relu}, scope{"conv1"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
