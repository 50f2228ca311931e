// first error: tiny/pool1: max_pool2d: needs images [n,h,w,c], not [2,192]
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  flatten<>, max_pool2d<kernel_size{2}, scope{"pool1"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
