// first error: tiny: sum: cannot add [2,8,8,4] and [2,8,8,5]: their shapes must be equal
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  sum<conv2d<4, kernel_size{3}, scope{"a"}>, conv2d<5, kernel_size{1}, scope{"b"}>>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
