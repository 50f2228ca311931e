// What the Inception nets share: their arg_scope, blocks of branches, and short names of end points.
#pragma once

#include "classifier.hpp"

namespace slim::nets::detail {

/// TF-Slim's inception_arg_scope: L2 on the weights, variance scaling, ReLU, and batch norm (without
/// gamma) in place of biases.
template <weight_decay Decay, class... Entry>
struct inception_arg_scope
    : arg_scope<on<ops::conv2d, ops::fully_connected>,
                with<weights_regularizer{l2_regularizer{Decay.value}}>,
                arg_scope<on<ops::conv2d>,
                          with<weights_initializer{variance_scaling_initializer{}},
                               activation_fn{relu}, normalizer_fn{ops::batch_norm{}},
                               normalizer_params{with<decay{0.9997}, epsilon{0.001}>{}}>,
                          Entry...>> {};

/// Branches that are concatenated, in a scope whose name is also the key of the end point.
template <text Name, class... Branch>
struct mixed : end_point<Name, variable_scope<Name, concat<Branch...>>> {};

/// What follows the last convolution: the end points Logits and Predictions. The logits go on.
template <class O>
struct inception_logits : sequence<
  end_point<"Logits", std::conditional_t<O::template get<"squeeze">(squeeze{true}).value,
                                         spatial_squeeze<>, sequence<>>>,
  aside<end_point<"Predictions", softmax<scope{"Predictions"}>>>> {};

}  // namespace slim::nets::detail
