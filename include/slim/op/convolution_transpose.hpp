// Transposed convolution: what a convolution does to its output's gradient, done to images.
#pragma once

#include "convolution.hpp"

namespace slim::op {

/// (x [n, h, w, c], w [kernel_h, kernel_w, k, c]) -> a.dims, [n, h', w', k]: the data gradient of
/// the convolution over [n, h', w', k] whose window, placed there, is a.win and whose output's
/// gradient is x. Refuses an x that is no image and weights that do not fit its channels.
struct convolution_transpose {
  static constexpr std::string_view name = "convolution_transpose";

  static constexpr void infer(inference& s) {
    const shape &x = s.in(0), &w = s.in(1), &y = s.node.a.dims;
    if (x.rank != 4) return s.fail("needs images [n,h,w,c], not ", x);
    if (w.rank != 4 || w[3] != x[3]) return s.fail("weights ", w, " do not fit ", x);
    const window& win = s.win();
    if (!(placed(win, y[1], y[2]) == win) || win.out_h != x[1] || win.out_w != x[2])
      return s.fail("a ", win, " over ", y, " does not give ", x);
    s.out(y, s.batched(0));
  }
  static constexpr long multiply_adds(const graph& g, const node_row& n) {
    return convolution_backward_data::multiply_adds(g, n);
  }
  /// The operator is the convolution's adjoint, so its own adjoint is the convolution.
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    attributes a;
    a.win = g.node.a.win;
    if (g.wanted(0)) g.give(0, b.template add<convolution>({g.incoming(), g.in(1)}, a));
    if (!g.wanted(1)) return;
    a.dims = g.in_shape(1);
    g.give(1, b.template add<convolution_backward_filter>({g.incoming(), g.in(0)}, a));
  }
};

}  // namespace slim::op
