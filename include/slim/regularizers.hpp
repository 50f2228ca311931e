// Penalties on weights. A regularizer is a value r with r(w), one element's penalty, and
// r.gradient(w); `active()` is false where a scale of 0 switches it off and `fault()` names a wrong
// scale. The loss is the sum over the variable's elements. A user's own is written the same way;
// one of plain arithmetic, as L2 is, leaves T unconstrained and so also takes vectors of numbers.
#pragma once

#include <concepts>
#include <string_view>

namespace slim {

/// Whether a type is one, of elements T.
template <class R, class T>
constexpr bool is_regularizer = requires(const R& r, T w) {
  R::name;
  std::string_view(r.fault());
  bool(r.active());
  T(r(w));
  T(r.gradient(w));
};

/// scale * |w|; the gradient at 0 is 0.
struct l1_regularizer {
  static constexpr std::string_view name = "l1_regularizer";
  double scale = 0;

  constexpr bool active() const { return scale != 0; }
  constexpr std::string_view fault() const { return scale < 0 ? "the scale is negative" : ""; }
  template <std::floating_point T>
  constexpr T operator()(T w) const {
    return T(scale) * (w < 0 ? -w : w);
  }
  template <std::floating_point T>
  constexpr T gradient(T w) const {
    return T(scale) * T((w > 0) - (w < 0));
  }
};

/// scale * w^2 / 2.
struct l2_regularizer {
  static constexpr std::string_view name = "l2_regularizer";
  double scale = 0;

  constexpr bool active() const { return scale != 0; }
  constexpr std::string_view fault() const { return scale < 0 ? "the scale is negative" : ""; }
  template <class T>
  constexpr T operator()(T w) const {
    return T(scale) * w * w / T(2);
  }
  template <class T>
  constexpr T gradient(T w) const {
    return T(scale) * w;
  }
};

/// The sum of both.
struct l1_l2_regularizer {
  static constexpr std::string_view name = "l1_l2_regularizer";
  double scale_l1 = 1, scale_l2 = 1;

  constexpr bool active() const { return scale_l1 != 0 || scale_l2 != 0; }
  constexpr std::string_view fault() const {
    return scale_l1 < 0 || scale_l2 < 0 ? "a scale is negative" : "";
  }
  template <std::floating_point T>
  constexpr T operator()(T w) const {
    return l1_regularizer{scale_l1}(w) + l2_regularizer{scale_l2}(w);
  }
  template <std::floating_point T>
  constexpr T gradient(T w) const {
    return l1_regularizer{scale_l1}.gradient(w) + l2_regularizer{scale_l2}.gradient(w);
  }
};

/// sum_regularizer{a, b}: both penalties. Nests for more than two.
template <class A, class B>
struct sum_regularizer {
  static constexpr std::string_view name = "sum_regularizer";
  A a;
  B b;

  constexpr bool active() const { return a.active() || b.active(); }
  constexpr std::string_view fault() const { return a.fault().empty() ? b.fault() : a.fault(); }
  template <std::floating_point T>
  constexpr T operator()(T w) const {
    return a(w) + b(w);
  }
  template <std::floating_point T>
  constexpr T gradient(T w) const {
    return a.gradient(w) + b.gradient(w);
  }
};
template <class A, class B>
sum_regularizer(A, B) -> sum_regularizer<A, B>;

}  // namespace slim
