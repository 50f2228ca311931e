// first error: tiny/Repeat: scope "block" is given to a layer that repeat names
#include <slim/network.hpp>

using namespace slim;

struct block : net<"block", conv2d<8, kernel_size{3}>> {};
struct tiny : net<"tiny",
  repeat<3, block>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
