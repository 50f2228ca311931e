// Pooling over images [n, h, w, c]. Max pooling pads with minus infinity and sends a tie's gradient
// to the first element of the window; average pooling divides by the elements inside the image.
#pragma once

#include "elementwise.hpp"

namespace slim::op {

/// Whether a window is 2x2 at stride 2 without padding.
constexpr bool halves(const window& w) {
  return w.kernel_h == 2 && w.kernel_w == 2 && w.stride_h == 2 && w.stride_w == 2 &&
         w.rate_h == 1 && w.rate_w == 1 && w.pad_top == 0 && w.pad_left == 0 &&
         w.pad == padding::valid;
}

namespace detail {

constexpr void infer_pool(inference& s) {
  const shape& x = s.in(0);
  if (x.rank != 4) return s.fail("needs images [n,h,w,c], not ", x);
  s.win() = placed(s.win(), x[1], x[2]);
  if (s.win().out_h < 1 || s.win().out_w < 1)
    return s.fail(s.win(), " exceeds its input ", x[1], "x", x[2], "x", x[3]);
  s.out({x[0], s.win().out_h, s.win().out_w, x[3]}, s.batched(0));
}

}  // namespace detail

/// (x, dy) -> dx: each window's gradient goes to its first maximum.
struct max_pool_backward {
  static constexpr std::string_view name = "max_pool_backward";
  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
};

/// dy -> dx of shape a.dims: each window's gradient is spread over its elements.
struct avg_pool_backward {
  static constexpr std::string_view name = "avg_pool_backward";
  static constexpr void infer(inference& s) { s.out(s.node.a.dims, s.batched(0)); }
};

/// (y, argmax, dy) of an activation A followed by 2x2 pooling -> the gradient of A's input, of
/// shape a.dims; argmax (bytes) names the winner of each window in row-major order.
template <class A>
struct max_pool_activation_backward {
  static constexpr std::string_view name = "max_pool_backward+activation";
  static constexpr void infer(inference& s) { s.out(s.node.a.dims, s.batched(0)); }
};

struct max_pool {
  static constexpr std::string_view name = "max_pool";
  static constexpr void infer(inference& s) { detail::infer_pool(s); }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    g.give(0, b.template add<max_pool_backward>({g.in(0), g.incoming()}, g.node.a));
  }
};

struct avg_pool {
  static constexpr std::string_view name = "avg_pool";
  static constexpr void infer(inference& s) { detail::infer_pool(s); }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    attributes a = g.node.a;
    a.dims = g.in_shape(0);
    g.give(0, b.template add<avg_pool_backward>({g.incoming()}, a));
  }
};

}  // namespace slim::op
