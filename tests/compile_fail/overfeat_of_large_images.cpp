// first error: overfeat: spatial_squeeze: needs an input [n,1,1,c], not [8,2,2,1000]
#include <slim/nets/overfeat.hpp>

using namespace slim;

static_assert(network<nets::overfeat<>, input<8, 281, 281, 3>>::output_shape == shape{8, 1000});
