// OverFeat (Sermanet et al., "OverFeat: Integrated Recognition, Localization and Detection using
// Convolutional Networks", ICLR 2014): TF-Slim's overfeat, with its scopes, variables and end
// points.
//
//   model<nets::overfeat_arg_scope<nets::overfeat<>>, input<8, 231, 231, 3>>
//
// Inputs [n, 231, 231, 3]; logits [n, classes]. As in TF-Slim a net does not open its arg_scope.
#pragma once

#include "../network.hpp"  // first: the shortest way to its errors
#include "classifier.hpp"

namespace slim::nets {

/// TF-Slim's overfeat_arg_scope: ReLU, L2 on the weights, zero biases, SAME convolutions.
template <weight_decay Decay, class... Entry>
struct overfeat_arg_scope_of
    : arg_scope<on<ops::conv2d, ops::fully_connected>,
                with<activation_fn{relu}, weights_regularizer{l2_regularizer{Decay.value}},
                     biases_initializer{zeros{}}>,
                arg_scope<on<ops::conv2d>, with<padding::same>,
                          arg_scope<on<ops::max_pool2d>, with<padding::valid>, Entry...>>> {};
template <class... Entry>
struct overfeat_arg_scope : overfeat_arg_scope_of<weight_decay{0.0005}, Entry...> {};

template <auto... Option>
struct overfeat : net<"overfeat",
  arg_scope<on<ops::conv2d, ops::fully_connected, ops::max_pool2d>,
            with<outputs_collections{"end_points"}>,
    conv2d<64, kernel_size{11}, stride{4}, padding::valid, scope{"conv1"}>,
    max_pool2d<kernel_size{2}, scope{"pool1"}>,
    conv2d<256, kernel_size{5}, padding::valid, scope{"conv2"}>,
    max_pool2d<kernel_size{2}, scope{"pool2"}>,
    conv2d<512, kernel_size{3}, scope{"conv3"}>,
    conv2d<1024, kernel_size{3}, scope{"conv4"}>,
    conv2d<1024, kernel_size{3}, scope{"conv5"}>,
    max_pool2d<kernel_size{2}, scope{"pool5"}>,
    detail::truncated_normal_dense_layers<option_list<constant<Option>...>, 3072, 6>>> {};

/// The input size this net is made for.
inline constexpr int overfeat_default_image_size = 231;

}  // namespace slim::nets
