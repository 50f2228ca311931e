// VGG (Simonyan and Zisserman, ICLR 2015): TF-Slim's vgg_a, vgg_16 and vgg_19, with its scopes,
// variables and end points.
//
//   model<nets::vgg_arg_scope<nets::vgg_16<>>, input<8, 224, 224, 3>>
//
// Inputs [n, 224, 224, 3]; logits [n, classes]. As in TF-Slim a net does not open its arg_scope.
#pragma once

#include "../network.hpp"

namespace slim {

/// Classes of a classifier; default 1000.
struct num_classes {
  static constexpr std::string_view slot = "num_classes";
  int value;
};
/// The probability with which dropout keeps an element; default 0.5.
struct dropout_keep_prob {
  static constexpr std::string_view slot = "dropout_keep_prob";
  double value;
};
/// Whether logits are [n, classes] (default) or [n, 1, 1, classes].
struct squeeze {
  static constexpr std::string_view slot = "squeeze";
  bool value;
};
/// Scale of the L2 penalty on weights; default 0.0005.
struct weight_decay {
  static constexpr std::string_view slot = "weight_decay";
  double value;
};

namespace nets {

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

/// What follows fc8.
template <bool Squeeze>
using squeezed_logits =
    std::conditional_t<Squeeze, spatial_squeeze<scope{"fc8"}>, sequence<>>;

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
    conv2d<4096, kernel_size{7}, padding::valid, scope{"fc6"}>,
    dropout<keep_prob{O::template get<"dropout_keep_prob">(dropout_keep_prob{0.5}).value},
            scope{"dropout6"}>,
    conv2d<4096, kernel_size{1}, scope{"fc7"}>,
    dropout<keep_prob{O::template get<"dropout_keep_prob">(dropout_keep_prob{0.5}).value},
            scope{"dropout7"}>,
    conv2d<O::template get<"num_classes">(num_classes{1000}).value, kernel_size{1},
           activation_fn{none}, scope{"fc8"}>,
    squeezed_logits<O::template get<"squeeze">(squeeze{true}).value>>> {};

}  // namespace detail

template <auto... Option>
struct vgg_a : detail::vgg<"vgg_a", 1, 1, 2, 2, 2, option_list<constant<Option>...>> {};
template <auto... Option>
struct vgg_16 : detail::vgg<"vgg_16", 2, 2, 3, 3, 3, option_list<constant<Option>...>> {};
template <auto... Option>
struct vgg_19 : detail::vgg<"vgg_19", 2, 2, 4, 4, 4, option_list<constant<Option>...>> {};

/// The input size these nets are made for.
inline constexpr int vgg_default_image_size = 224;

}  // namespace nets
}  // namespace slim
