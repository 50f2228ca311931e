// What checking the shapes alone of the library's deepest net costs: ResNet-200.
#include <slim/nets/resnet_v1.hpp>

using namespace slim;

using network_t = network<nets::resnet_arg_scope<nets::resnet_v1_200<num_classes{1000}>>,
                          input<8, 224, 224, 3>>;
static_assert(network_t::output_shape == shape{8, 1, 1, 1000});
static_assert(network_t::parameter_count == 64'849'832);
static_assert(network_t::trainable_parameter_count == 64'673'832);
static_assert(network_t::multiply_adds == 8 * 14'400'552'960);
static_assert(network_t::variable_count == 1017);
static_assert(network_t::end_point<"resnet_v1_200/block4">() == shape{8, 7, 7, 2048});
