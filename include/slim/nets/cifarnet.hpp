// CifarNet (Krizhevsky's network of cuda-convnet for CIFAR-10) as TF-Slim's model library has it, with
// its scopes, variables and end points.
//
//   model<nets::cifarnet_arg_scope<nets::cifarnet<>>, input<32, 32, 32, 3>>
//
// Inputs [n, 32, 32, 3]; logits [n, classes]. Options: num_classes (10), dropout_keep_prob (0.5),
// is_training. As in TF-Slim a net does not open its arg_scope.
#pragma once

#include "../network.hpp"  // first: the shortest way to its errors
#include "classifier.hpp"

namespace slim::nets {

/// Its arg_scope: truncated normals, ReLU, and on the dense layers L2 and biases of 0.1.
template <weight_decay Decay, class... Entry>
struct cifarnet_arg_scope_of
    : arg_scope<on<ops::conv2d>,
                with<weights_initializer{truncated_normal{0.0, 0.05}}, activation_fn{relu}>,
                arg_scope<on<ops::fully_connected>,
                          with<biases_initializer{constant_initializer{0.1}},
                               weights_initializer{truncated_normal{0.0, 0.04}},
                               weights_regularizer{l2_regularizer{Decay.value}},
                               activation_fn{relu}>,
                          Entry...>> {};
template <class... Entry>
struct cifarnet_arg_scope : cifarnet_arg_scope_of<weight_decay{0.004}, Entry...> {};

namespace detail {

using cifarnet_norm = local_response_normalization<depth_radius{4}, bias{1.0}, alpha{0.001 / 9.0},
                                                   beta{0.75}>;

template <class O>
struct cifarnet : variable_scope<"CifarNet",
  keyed<"conv1", conv2d<64, kernel_size{5}>>,
  keyed<"pool1", max_pool2d<kernel_size{2}>>,
  cifarnet_norm,
  keyed<"conv2", conv2d<64, kernel_size{5}>>,
  cifarnet_norm,
  keyed<"pool2", max_pool2d<kernel_size{2}>>,
  keyed<"Flatten", flatten<>>,
  keyed<"fc3", fully_connected<384>>,
  dropout<keep_prob{O::template get<"dropout_keep_prob">(dropout_keep_prob{0.5}).value},
          is_training{O::template get<"is_training">(is_training{true}).value},
          scope{"dropout3"}>,
  keyed<"fc4", fully_connected<192>>,
  end_point<"Logits", fully_connected<O::template get<"num_classes">(num_classes{10}).value,
                                      biases_initializer{zeros{}},
                                      weights_initializer{truncated_normal{0.0, 1.0 / 192}},
                                      weights_regularizer{none}, activation_fn{none},
                                      scope{"logits"}>>,
  aside<keyed<"Predictions", softmax<>>>> {};

}  // namespace detail

template <auto... Option>
struct cifarnet : detail::cifarnet<option_list<constant<Option>...>> {};

/// The input size this net is made for.
inline constexpr int cifarnet_default_image_size = 32;

}  // namespace slim::nets
