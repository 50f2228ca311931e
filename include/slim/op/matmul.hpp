// The product of the last axis with a matrix: what a fully connected layer is made of.
#pragma once

#include "convolution.hpp"

namespace slim::op {

/// (dy [..., k], w [c, k]) -> dx of shape a.dims.
struct matmul_backward_data {
  static constexpr std::string_view name = "matmul_backward_data";

  static constexpr void infer(inference& s) { s.out(s.node.a.dims, s.batched(0)); }
  static constexpr long multiply_adds(const graph& g, const node_row& n) {
    return convolution_backward_data::multiply_adds(g, n);
  }
  template <class B>
  static constexpr int fuse(B& b, fusion& f) {
    return fuse_activation_gradient(b, f, name);
  }
};

template <class A>
struct matmul_backward_data_activation {
  static constexpr std::string_view name = "matmul_backward_data+activation";

  static constexpr void infer(inference& s) { s.out(s.node.a.dims, s.batched(0)); }
  static constexpr long multiply_adds(const graph& g, const node_row& n) {
    return convolution_backward_data::multiply_adds(g, n);
  }
};

/// (x, dy) -> dw of shape a.dims and, with a.integer 1, the gradient of the biases.
struct matmul_backward_filter {
  static constexpr std::string_view name = "matmul_backward_filter";

  static constexpr void infer(inference& s) { convolution_backward_filter::infer(s); }
  static constexpr long multiply_adds(const graph& g, const node_row& n) {
    return convolution_backward_filter::multiply_adds(g, n);
  }
};

/// (x [..., c], w [c, k][, biases][, residual]) -> activation(x w + biases + residual) [..., k];
/// a.integer holds `fused_parts`, without pooling.
template <class A>
struct fused_matmul {
  static constexpr std::string_view name = "fused_matmul";

  static constexpr void infer(inference& s) { s.fail("is made by fusion only"); }
  static constexpr long multiply_adds(const graph& g, const node_row& n) {
    return g.output_shape(n, 0).count() * g.input_shape(n, 0).back();
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    int dy = g.incoming();
    if (!std::is_same_v<A, no_activation>)
      dy = add_derivative<activation_backward, A>(b, {g.out(), dy});
    detail::give_contraction_gradients<matmul_backward_data, matmul_backward_filter>(b, g, dy);
  }
};

/// (x [..., c], w [c, k]) -> x w [..., k].
struct matmul {
  static constexpr std::string_view name = "matmul";
  static constexpr int foldable = 1;

  static constexpr void infer(inference& s) {
    const shape &x = s.in(0), &w = s.in(1);
    if (x.rank < 2) return s.fail("needs an input of rank 2 or more, not ", x);
    if (x.back() != w[0]) return s.fail("weights ", w, " do not fit the last axis of ", x);
    s.out(x.with(x.rank - 1, w[1]), s.batched(0));
  }
  static constexpr long multiply_adds(const graph& g, const node_row& n) {
    return g.output_shape(n, 0).count() * g.input_shape(n, 0).back();
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    detail::give_contraction_gradients<matmul_backward_data, matmul_backward_filter>(b, g,
                                                                                    g.incoming());
  }
  template <class B>
  static constexpr int fuse(B& b, fusion& f) {
    return detail::fuse_contraction<fused_matmul>(b, f, name, false);
  }
};

}  // namespace slim::op
