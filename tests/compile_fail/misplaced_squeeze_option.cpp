// first error: tiny: spatial_squeeze: does not take the option keep_prob
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  conv2d<10, kernel_size{8}, padding::valid, scope{"fc"}>, spatial_squeeze<keep_prob{0.5}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
