// first error: tiny/up: conv2d_transpose: needs images [n,h,w,c], not [2,192]
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, conv2d_transpose<8, kernel_size{3}, scope{"up"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
