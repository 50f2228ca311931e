// first error: tiny/pool1: max_pool2d: does not take the option keep_prob
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  max_pool2d<kernel_size{2}, keep_prob{0.5}, scope{"pool1"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
