// What TF-Slim's plain classifiers (AlexNet, VGG, OverFeat) share: their options and their last
// layers.
#pragma once

#include "../network.hpp"

namespace slim {

/// The probability with which dropout keeps an element; default 0.5, and 1 is no dropout.
struct dropout_keep_prob {
  static constexpr std::string_view slot = "dropout_keep_prob";
  double value;
};
/// Whether logits are [n, classes] (default) or [n, h, w, classes], which larger images need.
struct squeeze {
  static constexpr std::string_view slot = "squeeze";
  bool value;
};
/// Scale of the L2 penalty on weights; default 0.0005.
struct weight_decay {
  static constexpr std::string_view slot = "weight_decay";
  double value;
};

namespace nets::detail {

/// A layer under a scope of this name.
template <text Name, class Layer>
struct named {
  static constexpr graph_counts needs = Layer::needs;

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    b.forced_leaf = static_text<Name>::view(), b.forced_suffix = -1;
    return lower_entry<Layer, Context>(b, x);
  }
};

/// A layer under a scope of this name, which is also the key of its end point.
template <text Name, class Layer>
struct keyed : end_point<Name, named<Name, Layer>> {};

/// What follows fc8.
template <bool Squeeze>
using squeezed_logits =
    std::conditional_t<Squeeze, spatial_squeeze<scope{"fc8"}>, sequence<>>;

/// fc6 to fc8, as convolutions: on larger images they give a map of logits. O holds the net's
/// options, Fc8 those of fc8 alone.
template <class O, int Outputs, int Kernel, auto... Fc8>
struct dense_layers : sequence<
  conv2d<Outputs, kernel_size{Kernel}, padding::valid, scope{"fc6"}>,
  dropout<keep_prob{O::template get<"dropout_keep_prob">(dropout_keep_prob{0.5}).value},
          scope{"dropout6"}>,
  conv2d<4096, kernel_size{1}, scope{"fc7"}>,
  dropout<keep_prob{O::template get<"dropout_keep_prob">(dropout_keep_prob{0.5}).value},
          scope{"dropout7"}>,
  conv2d<O::template get<"num_classes">(num_classes{1000}).value, kernel_size{1},
         activation_fn{none}, Fc8..., scope{"fc8"}>,
  squeezed_logits<O::template get<"squeeze">(squeeze{true}).value>> {};

/// The same with the initial values of AlexNet and OverFeat, which beat their arg_scope's.
template <class O, int Outputs, int Kernel>
struct truncated_normal_dense_layers
    : arg_scope<on<ops::conv2d>, with<weights_initializer{truncated_normal{0, 0.005}},
                                      biases_initializer{constant_initializer{0.1}}>,
                dense_layers<O, Outputs, Kernel, biases_initializer{zeros{}}>> {};

}  // namespace nets::detail
}  // namespace slim
