// VGG (Simonyan and Zisserman, ICLR 2015): TF-Slim's vgg_a, vgg_16 and vgg_19, with its scopes,
// variables and end points.
//
//   model<nets::vgg_arg_scope<nets::vgg_16<>>, input<8, 224, 224, 3>>
//
// Inputs [n, 224, 224, 3]; logits [n, classes]. As in TF-Slim a net does not open its arg_scope.
#pragma once

#include "../network.hpp"  // first: the shortest way to its errors
#include "classifier.hpp"

namespace slim::nets {

/// TF-Slim's vgg_arg_scope: ReLU, L2 on the weights, zero biases, SAME convolutions.
template <weight_decay Decay, class... Entry>
struct vgg_arg_scope_of
    : arg_scope<on<ops::conv2d, ops::fully_connected>,
                with<activation_fn{relu}, weights_regularizer{l2_regularizer{Decay.value}},
                     biases_initializer{zeros{}}>,
                arg_scope<on<ops::conv2d>, with<padding::same>, Entry...>> {};
template <class... Entry>
struct vgg_arg_scope : vgg_arg_scope_of<weight_decay{0.0005}, Entry...> {};

namespace detail {

/// The net all VGGs share; R1 to R5 are the convolutions in each block.
template <text Name, int R1, int R2, int R3, int R4, int R5, class O>
struct vgg : net<Name,
  arg_scope<on<ops::conv2d, ops::fully_connected, ops::max_pool2d>,
            with<outputs_collections{"end_points"}>,
    repeat<R1, conv2d<64,  kernel_size{3}>, "conv1">, max_pool2d<kernel_size{2}, scope{"pool1"}>,
    repeat<R2, conv2d<128, kernel_size{3}>, "conv2">, max_pool2d<kernel_size{2}, scope{"pool2"}>,
    repeat<R3, conv2d<256, kernel_size{3}>, "conv3">, max_pool2d<kernel_size{2}, scope{"pool3"}>,
    repeat<R4, conv2d<512, kernel_size{3}>, "conv4">, max_pool2d<kernel_size{2}, scope{"pool4"}>,
    repeat<R5, conv2d<512, kernel_size{3}>, "conv5">, max_pool2d<kernel_size{2}, scope{"pool5"}>,
    dense_layers<O, 4096, 7>>> {};

}  // namespace detail

template <auto... Option>
struct vgg_a : detail::vgg<"vgg_a", 1, 1, 2, 2, 2, option_list<constant<Option>...>> {};
template <auto... Option>
struct vgg_16 : detail::vgg<"vgg_16", 2, 2, 3, 3, 3, option_list<constant<Option>...>> {};
template <auto... Option>
struct vgg_19 : detail::vgg<"vgg_19", 2, 2, 4, 4, 4, option_list<constant<Option>...>> {};

/// The input size these nets are made for.
inline constexpr int vgg_default_image_size = 224;

}  // namespace slim::nets
