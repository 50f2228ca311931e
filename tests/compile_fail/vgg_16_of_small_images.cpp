// first error: vgg_16/fc6: conv2d: 7x7 VALID window exceeds its input 6x6x512
#include <slim/nets/vgg.hpp>

using namespace slim;

static_assert(network<nets::vgg_16<>, input<8, 192, 192, 3>>::output_shape == shape{8, 1000});
