// What checking VGG-16's shapes alone costs: no kernels, nothing runs.
#include <slim/nets/vgg.hpp>

using namespace slim;

using network_t = network<nets::vgg_arg_scope<nets::vgg_16<>>, input<8, 224, 224, 3>>;
static_assert(network_t::output_shape == shape{8, 1000});
static_assert(network_t::parameter_count == 138'357'544);
static_assert(network_t::multiply_adds == 8 * 15'470'264'320);
static_assert(network_t::variable_count == 32);
static_assert(network_t::end_point<"vgg_16/conv4/conv4_3">() == shape{8, 28, 28, 512});
static_assert(network_t::variable_shape<"vgg_16/fc6/weights">() == shape{7, 7, 512, 4096});
