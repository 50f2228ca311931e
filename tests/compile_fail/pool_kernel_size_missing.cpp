// first error: tiny/pool1: avg_pool2d: kernel_size is missing
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  avg_pool2d<stride{2}, scope{"pool1"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
