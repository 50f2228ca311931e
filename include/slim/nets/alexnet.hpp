// AlexNet in its second version (Krizhevsky, "One weird trick for parallelizing convolutional
// neural networks", arXiv 2014): TF-Slim's alexnet_v2, with its scopes, variables and end points.
// As there, the local response normalisation is left out.
//
//   model<nets::alexnet_v2_arg_scope<nets::alexnet_v2<>>, input<8, 224, 224, 3>>
//
// Inputs [n, 224, 224, 3]; logits [n, classes]. As in TF-Slim a net does not open its arg_scope.
#pragma once

#include "../network.hpp"  // first: the shortest way to its errors
#include "classifier.hpp"

namespace slim::nets {

/// TF-Slim's alexnet_v2_arg_scope: ReLU, L2 on the weights, biases of 0.1, SAME convolutions.
template <weight_decay Decay, class... Entry>
struct alexnet_v2_arg_scope_of
    : arg_scope<on<ops::conv2d, ops::fully_connected>,
                with<activation_fn{relu}, weights_regularizer{l2_regularizer{Decay.value}},
                     biases_initializer{constant_initializer{0.1}}>,
                arg_scope<on<ops::conv2d>, with<padding::same>,
                          arg_scope<on<ops::max_pool2d>, with<padding::valid>, Entry...>>> {};
template <class... Entry>
struct alexnet_v2_arg_scope : alexnet_v2_arg_scope_of<weight_decay{0.0005}, Entry...> {};

template <auto... Option>
struct alexnet_v2 : net<"alexnet_v2",
  arg_scope<on<ops::conv2d, ops::fully_connected, ops::max_pool2d>,
            with<outputs_collections{"end_points"}>,
    conv2d<64, kernel_size{11}, stride{4}, padding::valid, scope{"conv1"}>,
    max_pool2d<kernel_size{3}, stride{2}, scope{"pool1"}>,
    conv2d<192, kernel_size{5}, scope{"conv2"}>,
    max_pool2d<kernel_size{3}, stride{2}, scope{"pool2"}>,
    conv2d<384, kernel_size{3}, scope{"conv3"}>,
    conv2d<384, kernel_size{3}, scope{"conv4"}>,
    conv2d<256, kernel_size{3}, scope{"conv5"}>,
    max_pool2d<kernel_size{3}, stride{2}, scope{"pool5"}>,
    detail::truncated_normal_dense_layers<option_list<constant<Option>...>, 4096, 5>>> {};

/// The input size this net is made for.
inline constexpr int alexnet_v2_default_image_size = 224;

}  // namespace slim::nets
