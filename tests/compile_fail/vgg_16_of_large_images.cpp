// first error: vgg_16: spatial_squeeze: needs an input [n,1,1,c], not [8,2,2,1000]
#include <slim/nets/vgg.hpp>

using namespace slim;

static_assert(network<nets::vgg_16<>, input<8, 256, 256, 3>>::output_shape == shape{8, 1000});
