// first error: there is no end point named tiny/conv2; the closest is tiny/conv1
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  conv2d<8, kernel_size{3}, scope{"conv1"}>, flatten<>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::end_point<"tiny/conv2">() == shape{2, 8, 8, 8});
