// conv2d_in_plane<kernel_size{h, w}, ...>: every channel under one and the same kernel, biases,
// activation.
//
// Input [n, h, w, c]; output [n, h', w', c], with h' as conv2d has it. Variables: weights
// [kernel_h, kernel_w, 1, 1], biases [c] (none if biases_initializer is none). Defaults as
// TF-Slim's: stride 1, SAME, ReLU, xavier, zero biases.
#pragma once

#include "../op/depthwise_convolution.hpp"
#include "layer.hpp"

namespace slim {

template <auto... Option>
struct conv2d_in_plane;

namespace ops {
struct conv2d_in_plane {
  static constexpr std::string_view name = "conv2d_in_plane";
  static constexpr std::string_view function = "convolution2d_in_plane";
  static constexpr std::string_view default_scope = "ConvInPlane";
  static constexpr std::string_view options[] = {
      "kernel_size",         "stride",             "padding",             "activation_fn",
      "trainable",           "weights_initializer", "weights_regularizer", "biases_initializer",
      "biases_regularizer",  "outputs_collections",
      "normalizer_fn",       "normalizer_params",  "reuse", "variables_collections"};
  template <auto... Argument>
  using layer = slim::conv2d_in_plane<Argument...>;

  template <class O, class B>
  static constexpr int build(B& b, int x) {
    attributes a, copies;
    a.win = window_of<O>(stride{1}, padding::same);
    if (O::find("kernel_size") < 0) return b.fail("kernel_size is missing");
    if (const message fault = window_fault(a.win); !fault.empty()) return b.fail(fault.view());
    const shape in = b.g.values[x].dims;
    if (in.rank != 4) return b.fail("needs images [n,h,w,c], not ", in);
    copies.integer = in[3];
    const int one = create_weights<O>(b, {a.win.kernel_h, a.win.kernel_w, 1, 1});
    const int w = b.template add<op::tile_channels>({one}, copies);
    const int y = b.template add<op::depthwise_convolution>({x, w}, a);
    if (b.failed()) return -1;
    return bias_and_activate<O>(b, y, in[3]);
  }
};
}  // namespace ops

template <auto... Option>
struct conv2d_in_plane : layer<ops::conv2d_in_plane, constant<Option>...> {};

}  // namespace slim
