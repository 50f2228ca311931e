// Depthwise convolution over images [n, h, w, c] with weights [kernel_h, kernel_w, c, multiplier]:
// every channel is convolved with kernels of its own. Channel c * multiplier + m of the output is
// channel c of the input under kernel m, as in TensorFlow.
#pragma once

#include "pool.hpp"

namespace slim::op {

/// (dy, w) -> the gradient of a depthwise convolution's input; its shape is a.dims.
struct depthwise_convolution_backward_data {
  static constexpr std::string_view name = "depthwise_convolution_backward_data";

  static constexpr void infer(inference& s) { s.out(s.node.a.dims, s.batched(0)); }
  static constexpr long multiply_adds(const graph& g, const node_row& n) {
    return g.input_shape(n, 0).count() * n.a.win.kernel_h * n.a.win.kernel_w;
  }
};

/// (x, dy) -> the gradient of a depthwise convolution's weights; their shape is a.dims.
struct depthwise_convolution_backward_filter {
  static constexpr std::string_view name = "depthwise_convolution_backward_filter";

  static constexpr void infer(inference& s) { s.out(s.node.a.dims, false); }
  static constexpr long multiply_adds(const graph& g, const node_row& n) {
    return g.input_shape(n, 1).count() * n.a.win.kernel_h * n.a.win.kernel_w;
  }
};

/// (x [n, h, w, c], w [kernel_h, kernel_w, c, multiplier]) -> [n, h', w', c * multiplier], with
/// a.win the window. Refuses an x that is no image, weights that do not fit its channels or the
/// window, and a VALID window larger than x.
struct depthwise_convolution {
  static constexpr std::string_view name = "depthwise_convolution";
  static constexpr int foldable = 1;

  static constexpr void infer(inference& s) {
    const shape &x = s.in(0), &w = s.in(1);
    if (x.rank != 4) return s.fail("needs images [n,h,w,c], not ", x);
    if (w.rank != 4 || w[0] != s.win().kernel_h || w[1] != s.win().kernel_w || w[2] != x[3])
      return s.fail("weights ", w, " do not fit a ", s.win(), " over ", x);
    s.win() = placed(s.win(), x[1], x[2]);
    if (s.win().out_h < 1 || s.win().out_w < 1)
      return s.fail(s.win(), " exceeds its input ", x[1], "x", x[2], "x", x[3]);
    s.out({x[0], s.win().out_h, s.win().out_w, w[2] * w[3]}, s.batched(0));
  }
  static constexpr long multiply_adds(const graph& g, const node_row& n) {
    return g.output_shape(n, 0).count() * n.a.win.kernel_h * n.a.win.kernel_w;
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    attributes a = g.node.a;
    if (g.wanted(1)) {
      a.dims = g.in_shape(1);
      g.give(1, b.template add<depthwise_convolution_backward_filter>({g.in(0), g.incoming()}, a));
    }
    if (g.wanted(0)) {
      a.dims = g.in_shape(0);
      g.give(0, b.template add<depthwise_convolution_backward_data>({g.incoming(), g.in(1)}, a));
    }
  }
};

/// dy [kernel_h, kernel_w, c, 1] -> the sum over its channels [kernel_h, kernel_w, 1, 1].
struct tile_channels_backward {
  static constexpr std::string_view name = "tile_channels_backward";

  static constexpr void infer(inference& s) { s.out(s.in(0).with(2, 1), false); }
};

/// w [kernel_h, kernel_w, 1, 1] -> [kernel_h, kernel_w, c, 1] with c = a.integer: the same kernel
/// for every channel.
struct tile_channels {
  static constexpr std::string_view name = "tile_channels";

  static constexpr void infer(inference& s) {
    const shape& w = s.in(0);
    if (w.rank != 4 || w[2] != 1 || w[3] != 1)
      return s.fail("needs weights [kernel_h,kernel_w,1,1], not ", w);
    s.out(w.with(2, s.node.a.integer), false);
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    g.give(0, b.template add<tile_channels_backward>({g.incoming()}));
  }
};

}  // namespace slim::op
