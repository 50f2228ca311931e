// LeNet (LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 1998)
// as TF-Slim's model library has it, with its scopes, variables and end points.
//
//   model<nets::lenet_arg_scope<nets::lenet<>>, input<32, 28, 28, 1>>
//
// Inputs [n, 28, 28, 1]; logits [n, classes]. Options: num_classes (10), dropout_keep_prob (0.5),
// is_training. As in TF-Slim a net does not open its arg_scope.
#pragma once

#include "../network.hpp"  // first: the shortest way to its errors
#include "classifier.hpp"

namespace slim::nets {

/// Its arg_scope: L2 on the weights (0: none), truncated normals of 0.1, ReLU.
template <weight_decay Decay, class... Entry>
struct lenet_arg_scope_of
    : arg_scope<on<ops::conv2d, ops::fully_connected>,
                with<weights_regularizer{l2_regularizer{Decay.value}},
                     weights_initializer{truncated_normal{0.0, 0.1}}, activation_fn{relu}>,
                Entry...> {};
template <class... Entry>
struct lenet_arg_scope : lenet_arg_scope_of<weight_decay{0.0}, Entry...> {};

namespace detail {

template <class O>
struct lenet : sequence<
  variable_scope<"LeNet",
    keyed<"conv1", conv2d<32, kernel_size{5}>>,
    keyed<"pool1", max_pool2d<kernel_size{2}>>,
    keyed<"conv2", conv2d<64, kernel_size{5}>>,
    keyed<"pool2", max_pool2d<kernel_size{2}>>,
    keyed<"Flatten", flatten<>>,
    keyed<"fc3", fully_connected<1024>>,
    keyed<"dropout3",
          dropout<keep_prob{O::template get<"dropout_keep_prob">(dropout_keep_prob{0.5}).value},
                  is_training{O::template get<"is_training">(is_training{true}).value}>>,
    end_point<"Logits", fully_connected<O::template get<"num_classes">(num_classes{10}).value,
                                        activation_fn{none}, scope{"fc4"}>>>,
  aside<keyed<"Predictions", softmax<>>>> {};

}  // namespace detail

template <auto... Option>
struct lenet : detail::lenet<option_list<constant<Option>...>> {};

/// The input size this net is made for.
inline constexpr int lenet_default_image_size = 28;

}  // namespace slim::nets
