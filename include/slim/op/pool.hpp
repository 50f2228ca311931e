// Pooling over images [n, h, w, c]. Max pooling pads with minus infinity and sends a tie's gradient
// to the first element of the window; average pooling divides by the elements inside the image.
#pragma once

#include "activation.hpp"

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

/// The largest window whose elements are numbered by a byte.
inline constexpr int most_numbered = 256;

/// (x, dy) -> dx: each window's gradient goes to its first maximum. For windows larger than
/// `most_numbered`.
struct max_pool_search_backward {
  static constexpr std::string_view name = "max_pool_search_backward";
  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
};

/// (winners, dy[, running]) -> dx of shape a.dims: each window's gradient goes to its winner; plus
/// the running gradient, into its memory.
struct max_pool_backward {
  static constexpr std::string_view name = "max_pool_backward";
  static constexpr int in_place = 2;
  static constexpr void infer(inference& s) { s.out(s.node.a.dims, s.batched(1)); }
  /// Takes the gradient of the activation before it along.
  template <class B>
  static constexpr int fuse(B& b, fusion& f) {
    const node_row n = b.g.nodes[f.node];
    const int user = f.next(f.node);
    if (user < 0 || !b.g.nodes[user].op->has_epilogue) return -1;
    const epilogue with = b.g.nodes[user].op->as_epilogue(name, b.training);
    if (!with.found || b.g.input(b.g.nodes[user], 1) != b.g.output_of(n, 0)) return -1;
    const int winners = b.g.input(n, 0), dy = b.g.input(n, 1);
    const int saved = b.g.input(b.g.nodes[user], 0);
    const auto merge = [&](std::initializer_list<int> inputs) {
      if (!f.supported(user, *with.op, inputs, n.a)) return -1;
      f.merge({f.node, user}, user, *with.op, inputs, n.a);
      return user;
    };
    return n.inputs == 2 ? merge({winners, dy, saved})
                         : merge({winners, dy, saved, b.g.input(n, 2)});
  }
};

/// (winners, dy, s[, running]) -> the same times the derivative of the activation whose output is
/// s.
template <class A>
struct max_pool_backward_activation {
  static constexpr std::string_view name = "max_pool_backward+activation";
  static constexpr int in_place = 3;
  static constexpr void infer(inference& s) { s.out(s.node.a.dims, s.batched(1)); }
};

/// dy -> dx of shape a.dims: each window's gradient is spread over its elements.
struct avg_pool_backward {
  static constexpr std::string_view name = "avg_pool_backward";
  static constexpr void infer(inference& s) { s.out(s.node.a.dims, s.batched(0)); }
};

/// (y, argmax, dy) of an activation A followed by 2x2 pooling -> the gradient of A's input, of
/// shape a.dims; argmax (bytes) names the winner of each window in row-major order. With a.integer
/// 1 also its sum over all but the last axis: the gradient of biases before A.
template <class A>
struct max_pool_activation_backward {
  static constexpr std::string_view name = "max_pool_backward+activation";
  static constexpr void infer(inference& s) {
    s.out(s.node.a.dims, s.batched(0));
    if (s.node.a.integer == 1) s.out(shape{s.node.a.dims.back()}, false);
  }
};

/// Gives a node that pools one more output: the number of each window's winner in row-major order,
/// a byte.
template <class B>
constexpr int save_winners(B& b, gradient_of& g) {
  value_row winners = b.g.values[g.out()];
  winners.type = element::byte;
  winners.differentiable = winners.fetched = false;
  return b.add_output(g.number, winners);
}

/// x -> the maximum over each window. In training it may have a second output, the winners.
struct max_pool {
  static constexpr std::string_view name = "max_pool";
  static constexpr void infer(inference& s) { detail::infer_pool(s); }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    attributes a = g.node.a;
    if (a.win.kernel_h * a.win.kernel_w > most_numbered)
      return g.give(0, b.template add<max_pool_search_backward>({g.in(0), g.incoming()}, a));
    a.dims = g.in_shape(0);
    const int inputs[] = {save_winners(b, g), g.incoming(), g.take(0)};
    if (b.failed()) return;
    g.give(0, b.template add<max_pool_backward>(inputs, inputs[2] < 0 ? 2 : 3, a));
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
