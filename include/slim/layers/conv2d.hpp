// conv2d<num_outputs, kernel_size{h, w}, ...>: convolution, biases, activation.
//
// Input [n, h, w, c]; output [n, h', w', num_outputs], where SAME gives h' = ceil(h / stride) and
// VALID whole windows only. Variables: weights [kernel_h, kernel_w, c, num_outputs], biases
// [num_outputs] (none if biases_initializer is none). Defaults as TF-Slim's: stride 1, SAME, ReLU,
// xavier, zero biases.
#pragma once

#include "layer.hpp"

namespace slim {

template <int NumOutputs, auto... Option>
struct conv2d;

namespace ops {
struct conv2d {
  static constexpr std::string_view name = "conv2d";
  static constexpr std::string_view function = "convolution2d";
  static constexpr std::string_view default_scope = "Conv";
  static constexpr std::string_view options[] = {
      "num_outputs",         "kernel_size",        "stride",        "padding",
      "rate",                "activation_fn",      "trainable",     "weights_initializer",
      "weights_regularizer", "biases_initializer", "biases_regularizer",
      "normalizer_fn",      "normalizer_params", "reuse", "variables_collections", "outputs_collections"};
  template <auto... Argument>
  using layer = slim::conv2d<Argument...>;

  template <class O, class B>
  static constexpr int build(B& b, int x) {
    constexpr int k = O::template get<"num_outputs">(num_outputs{0}).value;
    attributes a;
    a.win = window_of<O>(stride{1}, padding::same);
    if (O::find("kernel_size") < 0) return b.fail("kernel_size is missing");
    if (k < 1) return b.fail("num_outputs must be positive, not ", k);
    if (const message fault = window_fault(a.win); !fault.empty()) return b.fail(fault.view());
    const shape in = b.g.values[x].dims;
    if (in.rank != 4) return b.fail("needs images [n,h,w,c], not ", in);
    const int w = create_weights<O>(b, {a.win.kernel_h, a.win.kernel_w, in[3], k});
    const int y = b.template add<op::convolution>({x, w}, a);
    if (b.failed()) return -1;
    return bias_and_activate<O>(b, y, k);
  }
};
}  // namespace ops

template <int NumOutputs, auto... Option>
struct conv2d : layer<ops::conv2d, constant<num_outputs{NumOutputs}>, constant<Option>...> {};

}  // namespace slim
