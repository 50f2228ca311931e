// conv2d_transpose<num_outputs, kernel_size{h, w}, stride{h, w}, ...>: transposed convolution,
// biases, activation. Each input pixel adds its kernel to the output, `stride` pixels from its
// neighbour's.
//
// Input [n, h, w, c]; output [n, h', w', num_outputs], where SAME gives h' = h * stride and VALID
// h * stride + max(kernel_h - stride, 0). Variables: weights [kernel_h, kernel_w, num_outputs, c],
// biases [num_outputs] (none if biases_initializer is none). Defaults as TF-Slim's: stride 1, SAME,
// ReLU, xavier, zero biases.
#pragma once

#include "../op/convolution_transpose.hpp"
#include "layer.hpp"

namespace slim {

template <int NumOutputs, auto... Option>
struct conv2d_transpose;

/// The extent that a transposed convolution makes of `in`.
constexpr int transposed_extent(int in, int kernel, int stride, padding pad) {
  const int beyond = pad == padding::valid && kernel > stride ? kernel - stride : 0;
  return in * stride + beyond;
}

namespace ops {
struct conv2d_transpose {
  static constexpr std::string_view name = "conv2d_transpose";
  static constexpr std::string_view function = "convolution2d_transpose";
  static constexpr std::string_view default_scope = "Conv2d_transpose";
  static constexpr std::string_view options[] = {
      "num_outputs",         "kernel_size",         "stride",              "padding",
      "activation_fn",       "trainable",           "weights_initializer", "weights_regularizer",
      "biases_initializer",  "biases_regularizer",  "outputs_collections",
      "normalizer_fn",       "normalizer_params",  "reuse", "variables_collections"};
  template <auto... Argument>
  using layer = slim::conv2d_transpose<Argument...>;

  template <class O, class B>
  static constexpr int build(B& b, int x) {
    constexpr int k = O::template get<"num_outputs">(num_outputs{0}).value;
    attributes a;
    window& w = a.win;
    w = window_of<O>(stride{1}, padding::same);
    if (O::find("kernel_size") < 0) return b.fail("kernel_size is missing");
    if (k < 1) return b.fail("num_outputs must be positive, not ", k);
    if (const message fault = window_fault(w); !fault.empty()) return b.fail(fault.view());
    const shape in = b.g.values[x].dims;
    if (in.rank != 4) return b.fail("needs images [n,h,w,c], not ", in);
    a.dims = {in[0], transposed_extent(in[1], w.kernel_h, w.stride_h, w.pad),
              transposed_extent(in[2], w.kernel_w, w.stride_w, w.pad), k};
    w = placed(w, a.dims[1], a.dims[2]);
    const int weights = create_weights<O>(b, {w.kernel_h, w.kernel_w, k, in[3]});
    const int y = b.template add<op::convolution_transpose>({x, weights}, a);
    if (b.failed()) return -1;
    return bias_and_activate<O>(b, y, k);
  }
};
}  // namespace ops

template <int NumOutputs, auto... Option>
struct conv2d_transpose
    : layer<ops::conv2d_transpose, constant<num_outputs{NumOutputs}>, constant<Option>...> {};

}  // namespace slim
