// Losses before their reduction: one number an element, a vector or an example. `weighted_mean`
// (op/softmax.hpp) makes one scalar of them.
#pragma once

#include "elementwise.hpp"

namespace slim::op {

/// What a loss is differentiated by.
enum class wrt : int { predictions, labels };

/// (p, y, dlosses) -> dlosses * f'(p, y), the derivative by one of the two.
template <class F, wrt By>
struct elementwise_loss_backward {
  static constexpr std::string_view name = "elementwise_loss_backward";
  static constexpr bool full_precision = true;
  static constexpr int in_place = 2;
  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
};

/// (p, y) -> f(p, y), of equal shapes. F is a `constant<f>`: f.gradient(p, y) is the derivative by
/// p, f.label_gradient(p, y) that by y; the latter is needed only where layers compute the labels.
template <class F>
struct elementwise_loss {
  using function = std::remove_cvref_t<decltype(F::value)>;
  static constexpr std::string_view name = function::name;
  static constexpr bool full_precision = true;

  static constexpr void infer(inference& s) {
    if (!(s.in(0) == s.in(1)))
      return s.fail("labels ", s.in(1), " do not fit predictions ", s.in(0));
    if (s.value(1).differentiable && !has_label_gradient)
      return s.fail("trainable layers compute the labels, but it has no label_gradient");
    s.out(s.in(0), s.batched(0));
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    if (g.wanted(0)) give<wrt::predictions>(b, g);
    if constexpr (has_label_gradient)
      if (g.wanted(1)) give<wrt::labels>(b, g);
  }

 private:
  static constexpr bool has_label_gradient = requires(function f) { f.label_gradient(1.0, 1.0); };

  template <wrt By, class B>
  static constexpr void give(B& b, gradient_of& g) {
    const int dlosses = g.incoming();
    g.give(static_cast<int>(By),
           b.template add<elementwise_loss_backward<F, By>>({g.in(0), g.in(1), dlosses}));
  }
};

/// (the other factor, dlosses) -> -dlosses * factor along the axis a.integer.
struct cosine_distance_backward {
  static constexpr std::string_view name = "cosine_distance_backward";
  static constexpr bool full_precision = true;
  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
};

/// (p, y) -> 1 - sum(p y) over the axis a.integer in [0, rank), which is dropped.
struct cosine_distance {
  static constexpr std::string_view name = "cosine_distance";
  static constexpr bool full_precision = true;

  static constexpr void infer(inference& s) {
    const shape& p = s.in(0);
    const int axis = s.node.a.integer;
    if (!(p == s.in(1))) return s.fail("labels ", s.in(1), " do not fit predictions ", p);
    if (axis < 0 || axis >= p.rank) return s.fail("there is no axis ", axis, " in ", p);
    shape rest;
    for (int i = 0; i < p.rank; ++i)
      if (i != axis) rest.extents[rest.rank++] = p[i];
    s.out(rest, axis > 0 && s.batched(0));
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    const int dlosses = g.incoming();
    for (int i = 0; i < 2; ++i)
      if (g.wanted(i))
        g.give(i, b.template add<cosine_distance_backward>({g.in(1 - i), dlosses}, g.node.a));
  }
};

/// (p, y, dlosses [n]) -> the gradient by p; with p and y exchanged, that by y.
struct pairwise_squared_error_backward {
  static constexpr std::string_view name = "pairwise_squared_error_backward";
  static constexpr bool full_precision = true;
  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
};

/// (p, y), of equal shapes [n, ...] -> [n]: the mean over all ordered pairs (i, j) of an example's
/// elements of ((p_i - y_i) - (p_j - y_j))^2.
struct pairwise_squared_error {
  static constexpr std::string_view name = "pairwise_squared_error";
  static constexpr bool full_precision = true;

  static constexpr void infer(inference& s) {
    if (!(s.in(0) == s.in(1)))
      return s.fail("labels ", s.in(1), " do not fit predictions ", s.in(0));
    if (s.in(0).rank < 1) return s.fail("needs a rank of 1 or more, not ", s.in(0));
    s.out(shape{s.in(0)[0]}, s.batched(0));
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    const int dlosses = g.incoming();
    for (int i = 0; i < 2; ++i)
      if (g.wanted(i))
        g.give(i, b.template add<pairwise_squared_error_backward>({g.in(i), g.in(1 - i), dlosses}));
  }
};

}  // namespace slim::op
