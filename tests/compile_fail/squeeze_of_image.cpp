// first error: tiny: spatial_squeeze: needs an input [n,1,1,c], not [2,2,2,10]
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  conv2d<10, kernel_size{7}, padding::valid, scope{"fc"}>, spatial_squeeze<scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
