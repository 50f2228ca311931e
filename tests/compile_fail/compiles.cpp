// compiles: what the other cases get wrong, got right
#include <slim/network.hpp>

using namespace slim;

struct tiny : net<"tiny",
  arg_scope<on<ops::conv2d>, with<padding::same, weights_regularizer{l2_regularizer{0.1}}>,
    conv2d<8, kernel_size{3}, scope{"conv1"}>>,
  max_pool2d<kernel_size{2}, scope{"pool1"}>,
  repeat<2, conv2d<8, kernel_size{3}>, "conv2">,
  conv2d<10, kernel_size{4}, padding::valid, activation_fn{none}, scope{"fc"}>,
  dropout<keep_prob{0.5}, scope{"dropout"}>,
  spatial_squeeze<scope{"fc"}>> {};

using tiny_t = network<tiny, input<2, 8, 8, 3>, labels<2>, sparse_softmax_cross_entropy<>,
                       fetch<"tiny/pool1">>;
static_assert(tiny_t::output_shape == shape{2, 10});
static_assert(tiny_t::end_point<"tiny/pool1">() == shape{2, 4, 4, 8});
static_assert(tiny_t::variable_shape<"tiny/conv1/biases">() == shape{8});
