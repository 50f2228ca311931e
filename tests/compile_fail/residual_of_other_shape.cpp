// first error: tiny/unit_1: sum: cannot add [2,8,8,3] and [2,8,8,4]: their shapes must be equal
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  variable_scope<"unit_1",
    sum<identity, sequence<conv2d<4, kernel_size{3}, scope{"conv1"}>,
                           conv2d<4, kernel_size{3}, scope{"conv2"}>>>>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
