// first error: tiny: concat: cannot join [2,8,8,4] and [2,4,4,3]: all extents but the last must match
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  concat<conv2d<4, kernel_size{3}, scope{"a"}>, max_pool2d<kernel_size{2}, scope{"b"}>>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
