// first error: alexnet_v2/fc6: conv2d: 5x5 VALID window exceeds its input 4x4x256
#include <slim/nets/alexnet.hpp>

using namespace slim;

static_assert(network<nets::alexnet_v2<>, input<8, 192, 192, 3>>::output_shape == shape{8, 1000});
