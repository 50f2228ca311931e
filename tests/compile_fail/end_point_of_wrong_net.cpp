// first error: tiny/fc6: conv2d: 7x7 VALID window exceeds its input 4x4x3
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  conv2d<10, kernel_size{7}, padding::valid, scope{"fc6"}>> {};

using tiny_t = network<tiny, input<2, 4, 4, 3>>;
static_assert(tiny_t::end_point<"tiny/fc6">() == shape{2, 1, 1, 10});
static_assert(tiny_t::variable_shape<"tiny/fc6/weights">() == shape{7, 7, 3, 10});
static_assert(tiny_t::parameter_count == 1480);
