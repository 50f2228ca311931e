// first error: tiny: repeat: the number of repetitions is negative: -1
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  repeat<-1, conv2d<8, kernel_size{3}>, "conv1">> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>>;
static_assert(tiny_t::output_shape == shape{2, 10});
