// separable_conv2d<num_outputs, kernel_size{h, w}, depth_multiplier{1}, ...>: every channel under
// kernels of its own, then a 1x1 convolution over the results, biases, activation.
//
// Input [n, h, w, c]; output [n, h', w', num_outputs], with h' as conv2d has it. Variables:
// depthwise_weights [kernel_h, kernel_w, c, depth_multiplier], pointwise_weights
// [1, 1, c * depth_multiplier, num_outputs], biases [num_outputs] (none if biases_initializer is
// none). separable_conv2d<none, ...> stops before the 1x1 convolution: no pointwise_weights, and
// c * depth_multiplier outputs. pointwise_initializer is weights_initializer unless given, and
// weights_regularizer is of both kernels. Defaults as TF-Slim's: stride 1, SAME, ReLU, xavier, zero
// biases.
#pragma once

#include "../op/depthwise_convolution.hpp"
#include "layer.hpp"

namespace slim {

/// Kernels for each input channel; default 1.
struct depth_multiplier {
  static constexpr std::string_view slot = "depth_multiplier";
  int value;
};
/// The initializer of the 1x1 kernel.
template <class F>
struct pointwise_initializer {
  static constexpr std::string_view slot = "pointwise_initializer";
  F value;
};
template <class F>
pointwise_initializer(F) -> pointwise_initializer<F>;

/// num_outputs `none`.
struct no_outputs {
  static constexpr std::string_view slot = "num_outputs";
  none_t value;
};
template <auto NumOutputs>
constexpr auto outputs_or_none = num_outputs{NumOutputs};
template <>
inline constexpr auto outputs_or_none<none> = no_outputs{none};

template <auto NumOutputs, auto... Option>
struct separable_conv2d;

namespace ops {
struct separable_conv2d {
  static constexpr std::string_view name = "separable_conv2d";
  static constexpr std::string_view function = "separable_convolution2d";
  static constexpr std::string_view default_scope = "SeparableConv2d";
  static constexpr std::string_view options[] = {
      "num_outputs",         "kernel_size",        "depth_multiplier",   "stride",
      "padding",             "rate",               "activation_fn",      "trainable",
      "weights_initializer", "pointwise_initializer", "weights_regularizer", "biases_initializer",
      "biases_regularizer",  "outputs_collections",
      "normalizer_fn",       "normalizer_params",  "reuse", "variables_collections"};
  template <auto... Argument>
  using layer = slim::separable_conv2d<Argument...>;

  template <class O, class B>
  static constexpr int build(B& b, int x) {
    constexpr auto outputs = O::template get<"num_outputs">(num_outputs{0}).value;
    constexpr int multiplier = O::template get<"depth_multiplier">(depth_multiplier{1}).value;
    attributes a;
    a.win = window_of<O>(stride{1}, padding::same);
    if (O::find("kernel_size") < 0) return b.fail("kernel_size is missing");
    if (multiplier < 1) return b.fail("depth_multiplier must be positive, not ", multiplier);
    if (const message fault = window_fault(a.win); !fault.empty()) return b.fail(fault.view());
    const shape in = b.g.values[x].dims;
    if (in.rank != 4) return b.fail("needs images [n,h,w,c], not ", in);
    const int w = depthwise_weights<O>(b, {a.win.kernel_h, a.win.kernel_w, in[3], multiplier});
    int y = b.template add<op::depthwise_convolution>({x, w}, a);
    if constexpr (is_none<decltype(outputs)>) {
      if (b.failed()) return -1;
      return bias_and_activate<O>(b, y, in[3] * multiplier);
    } else {
      if (outputs < 1) return b.fail("num_outputs must be positive, not ", outputs);
      y = pointwise<O>(b, y, in[3] * multiplier, outputs);
      return b.failed() ? -1 : bias_and_activate<O>(b, y, outputs);
    }
  }

 private:
  template <class O>
  static constexpr auto initializer() {
    return O::template get<"weights_initializer">(weights_initializer{xavier_initializer{}}).value;
  }
  template <class O, auto Initializer, class B>
  static constexpr int kernel(B& b, std::string_view leaf, const shape& dims) {
    constexpr auto penalty = O::template get<"weights_regularizer">(weights_regularizer{none});
    return create_variable(b, leaf, dims, constant<Initializer>{}, constant<penalty.value>{},
                           O::template get<"trainable">(trainable{true}).value);
  }
  template <class O, class B>
  static constexpr int depthwise_weights(B& b, const shape& dims) {
    return kernel<O, initializer<O>()>(b, "depthwise_weights", dims);
  }
  template <class O, class B>
  static constexpr int pointwise(B& b, int x, int channels, int outputs) {
    constexpr auto given = O::template get<"pointwise_initializer">(pointwise_initializer{none});
    constexpr auto chosen = [&] {
      if constexpr (is_none<decltype(given.value)>)
        return initializer<O>();
      else
        return given.value;
    }();
    const int w = kernel<O, chosen>(b, "pointwise_weights", {1, 1, channels, outputs});
    return b.template add<op::convolution>({x, w});
  }
};
}  // namespace ops

template <auto NumOutputs, auto... Option>
struct separable_conv2d
    : layer<ops::separable_conv2d, constant<outputs_or_none<NumOutputs>>, constant<Option>...> {};

}  // namespace slim
