// Convolution over images [n, h, w, c] with weights [kernel_h, kernel_w, c, k]: cross-correlation,
// as in TensorFlow. The fused node carries bias, activation and 2x2 max pooling.
#pragma once

#include "../graph/fuse.hpp"
#include "activation.hpp"
#include "bias_add.hpp"
#include "pool.hpp"

namespace slim {
namespace op {

/// What a fused contraction does besides, as bits of attributes::integer.
struct fused_parts {
  static constexpr int pool = 1;      ///< max pooling, 2x2 at stride 2
  static constexpr int residual = 2;  ///< its last input is added before the activation
};

/// (dy, w) -> the gradient of a convolution's input; its shape is a.dims.
struct convolution_backward_data {
  static constexpr std::string_view name = "convolution_backward_data";

  static constexpr void infer(inference& s) { s.out(s.node.a.dims, true); }
  static constexpr long multiply_adds(const graph& g, const node_row& n) {
    return g.input_shape(n, 0).leading() * g.input_shape(n, 1).count();
  }
  /// Takes the gradient of the activation before it along.
  template <class B>
  static constexpr int fuse(B& b, fusion& f) {
    return fuse_activation_gradient(b, f, name);
  }
};

/// (dy, w, s) -> the data gradient times the derivative of the activation whose output is s.
template <class A>
struct convolution_backward_data_activation {
  static constexpr std::string_view name = "convolution_backward_data+activation";

  static constexpr void infer(inference& s) { s.out(s.node.a.dims, true); }
  static constexpr long multiply_adds(const graph& g, const node_row& n) {
    return convolution_backward_data::multiply_adds(g, n);
  }
};

/// (x, dy) -> the gradient of the weights, whose shape is a.dims, and with a.integer 1 that of
/// the biases, [k].
struct convolution_backward_filter {
  static constexpr std::string_view name = "convolution_backward_filter";

  static constexpr void infer(inference& s) {
    s.out(s.node.a.dims, false);
    if (s.node.a.integer == 1) s.out(shape{s.node.a.dims.back()}, false);
  }
  static constexpr long multiply_adds(const graph& g, const node_row& n) {
    return g.input_shape(n, 1).leading() * n.a.dims.count();
  }
};

namespace detail {

/// Gives the gradients of a contraction Op over (x, w[, biases]) whose output's gradient is dy, that
/// of the biases unless it is given already.
template <class Data, class Filter, class B>
constexpr void give_contraction_gradients(B& b, gradient_of& g, int dy, bool bias_given = false) {
  attributes a = g.node.a;
  const bool bias = !bias_given && g.node.inputs > 2 && g.wanted(2);
  if (g.wanted(1) || bias) {
    a.dims = g.in_shape(1);
    a.integer = bias ? 1 : 0;
    const int dw = b.template add<Filter>({g.in(0), dy}, a);
    if (b.failed()) return;
    const node_row& filter = b.g.nodes[b.g.nodes.size() - 1];
    const int db = bias ? b.g.output_of(filter, 1) : -1;
    if (g.wanted(1)) g.give(1, dw);
    if (bias) g.give(2, db);
  }
  if (!g.wanted(0)) return;
  a.dims = g.in_shape(0);
  a.integer = 0;
  g.give(0, b.template add<Data>({dy, g.in(1)}, a));
}

/// Fuses a contraction with the bias and the activation that follow; `pool` also with max pooling,
/// `residual` with a sum before the activation.
template <template <class> class Fused, class B>
constexpr int fuse_chain(B& b, fusion& f, std::string_view root, bool pool, bool with_residual) {
  graph& g = b.g;
  attributes a = g.nodes[f.node].a;
  const int x = g.input(g.nodes[f.node], 0), w = g.input(g.nodes[f.node], 1);
  int last = f.node, bias_node = -1, sum_node = -1, act_node = -1, bias = -1, residual = -1;
  if (const int next = f.next(last, B::template info<bias_add>()); next >= 0) {
    bias_node = last = next;
    bias = g.input(g.nodes[next], 1);
  }
  if (const int next = f.next(last, B::template info<add>()); next >= 0 && with_residual) {
    const node_row& sum = g.nodes[next];
    const int own = g.output_of(g.nodes[last], 0);
    residual = g.input(sum, 0) == own ? g.input(sum, 1) : g.input(sum, 0);
    a.integer |= fused_parts::residual;
    sum_node = last = next;
  }
  if (with_residual && sum_node < 0) return -1;
  const op_info* fused = &B::template info<Fused<no_activation>>();
  if (const int next = f.next(last); next >= 0 && g.nodes[next].op->has_epilogue)
    if (const epilogue with = g.nodes[next].op->as_epilogue(root, b.training); with.found) {
      fused = with.op;
      act_node = last = next;
    }
  const auto try_inputs = [&](int end, const attributes& options,
                              std::initializer_list<int> inputs) {
    if (!f.supported(end, *fused, inputs, options)) return false;
    f.merge({f.node, bias_node, sum_node, act_node, last}, end, *fused, inputs, options);
    return true;
  };
  const auto merge = [&](int end, const attributes& options) {
    if (residual < 0 && bias < 0) return try_inputs(end, options, {x, w});
    if (residual < 0) return try_inputs(end, options, {x, w, bias});
    if (bias < 0) return try_inputs(end, options, {x, w, residual});
    return try_inputs(end, options, {x, w, bias, residual});
  };
  if (pool)
    if (const int next = f.next(last, B::template info<max_pool>()); next >= 0) {
      attributes with_pool = a;
      with_pool.integer |= fused_parts::pool;
      if (halves(g.nodes[next].a.win) && merge(next, with_pool)) return next;
    }
  if (last == f.node || !merge(last, a)) return -1;
  return last;
}

template <template <class> class Fused, class B>
constexpr int fuse_contraction(B& b, fusion& f, std::string_view root, bool pool) {
  if (!b.training)
    if (const int merged = fuse_chain<Fused>(b, f, root, false, true); merged >= 0) return merged;
  return fuse_chain<Fused>(b, f, root, pool, false);
}

/// Multiply-adds of a convolution, whatever form its weights have.
constexpr long convolution_multiply_adds(const graph& g, const node_row& n) {
  const window& w = n.a.win;
  const shape& x = g.input_shape(n, 0);
  return long{x[0]} * w.out_h * w.out_w * w.kernel_h * w.kernel_w * x[3] *
         g.output_shape(n, 0).back();
}

}  // namespace detail

/// (x, w[, biases][, residual]) -> activation(convolution + biases + residual), max-pooled 2x2;
/// a.integer holds `fused_parts`. In training a pooled node also outputs which element of each
/// window won (a byte, 0 to 3), and there is no residual.
template <class A>
struct fused_convolution {
  static constexpr std::string_view name = "fused_convolution";
  using function = std::remove_cvref_t<decltype(A::value)>;

  static constexpr void infer(inference& s) { s.fail("is made by fusion only"); }
  static constexpr long multiply_adds(const graph& g, const node_row& n) {
    return detail::convolution_multiply_adds(g, n);
  }

  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    int dy = g.incoming();
    const bool pooled = (g.node.a.integer & fused_parts::pool) != 0;
    const bool sums = traits_of<typename B::target_type::backend>().pools_sum_biases;
    const bool bias = pooled && sums && g.node.inputs > 2 && g.wanted(2);
    if (pooled)
      dy = unpooled(b, g, dy, bias);
    else if (!std::is_same_v<A, no_activation>)
      dy = add_derivative<activation_backward, A>(b, {g.out(), dy});
    if (bias && !b.failed()) g.give(2, b.g.output_of(b.g.nodes[b.g.nodes.size() - 1], 1));
    detail::give_contraction_gradients<convolution_backward_data, convolution_backward_filter>(
        b, g, dy, bias);
  }

 private:
  template <class B>
  static constexpr int unpooled(B& b, gradient_of& g, int dy, bool bias) {
    const int argmax = save_winners(b, g);
    attributes a;
    const shape& pooled = b.g.values[g.out()].dims;
    a.dims = {pooled[0], g.node.a.win.out_h, g.node.a.win.out_w, pooled[3]};
    a.integer = bias ? 1 : 0;
    return add_derivative<max_pool_activation_backward, A>(b, {g.out(), argmax, dy}, a);
  }
};

/// (x, w) -> the convolution, with a.win the window.
struct convolution {
  static constexpr std::string_view name = "convolution";
  static constexpr int foldable = 1;

  static constexpr void infer(inference& s) {
    const shape &x = s.in(0), &w = s.in(1);
    if (x.rank != 4) return s.fail("needs images [n,h,w,c], not ", x);
    s.win() = placed(s.win(), x[1], x[2]);
    if (s.win().out_h < 1 || s.win().out_w < 1)
      return s.fail(s.win(), " exceeds its input ", x[1], "x", x[2], "x", x[3]);
    s.out({x[0], s.win().out_h, s.win().out_w, w[3]}, s.batched(0));
  }
  static constexpr long multiply_adds(const graph& g, const node_row& n) {
    return detail::convolution_multiply_adds(g, n);
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    detail::give_contraction_gradients<convolution_backward_data, convolution_backward_filter>(
        b, g, g.incoming());
  }
  template <class B>
  static constexpr int fuse(B& b, fusion& f) {
    return detail::fuse_contraction<fused_convolution>(b, f, name, true);
  }
};

}  // namespace op
}  // namespace slim
