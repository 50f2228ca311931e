// Activation functions. Each is a value with f(x) and f.gradient(y), the derivative at the point
// whose value is y. A user's own is written the same way, with T float, double or, for speed, a
// vector of them; one whose derivative cannot be had from y declares
// `static constexpr bool gradient_from_input = true` and is given x instead.
#pragma once

#include <cmath>
#include <concepts>
#include <string_view>

namespace slim {

struct relu_fn {
  static constexpr std::string_view name = "relu";
  template <std::floating_point T>
  constexpr T operator()(T x) const {
    return x <= 0 ? T(0) : x;  // NaN stays NaN
  }
  template <std::floating_point T>
  constexpr T gradient(T y) const {
    return y > 0 ? T(1) : T(0);
  }
  // A vector type with `max` and `positive` (1 where above 0, else 0).
  template <class V>
    requires requires(V v) { max(v, v), positive(v); }
  V operator()(V x) const {
    return max(x, V(0));
  }
  template <class V>
    requires requires(V v) { max(v, v), positive(v); }
  V gradient(V y) const {
    return positive(y);
  }
  friend constexpr bool operator==(relu_fn, relu_fn) = default;
};
inline constexpr relu_fn relu{};

/// min(max(x, 0), 6); the derivative is 1 for 0 < x < 6 only.
struct relu6_fn {
  static constexpr std::string_view name = "relu6";
  template <std::floating_point T>
  constexpr T operator()(T x) const {
    return x <= 0 ? T(0) : (x >= 6 ? T(6) : x);
  }
  template <std::floating_point T>
  constexpr T gradient(T y) const {
    return y > 0 && y < 6 ? T(1) : T(0);
  }
  friend constexpr bool operator==(relu6_fn, relu6_fn) = default;
};
inline constexpr relu6_fn relu6{};

/// x for x > 0, else exp(x) - 1.
struct elu_fn {
  static constexpr std::string_view name = "elu";
  template <std::floating_point T>
  T operator()(T x) const {
    return x > 0 ? x : std::expm1(x);
  }
  template <std::floating_point T>
  T gradient(T y) const {
    return y > 0 ? T(1) : y + T(1);
  }
  friend constexpr bool operator==(elu_fn, elu_fn) = default;
};
inline constexpr elu_fn elu{};

struct sigmoid_fn {
  static constexpr std::string_view name = "sigmoid";
  template <std::floating_point T>
  T operator()(T x) const {
    return T(1) / (T(1) + std::exp(-x));
  }
  template <std::floating_point T>
  T gradient(T y) const {
    return y * (T(1) - y);
  }
  friend constexpr bool operator==(sigmoid_fn, sigmoid_fn) = default;
};
inline constexpr sigmoid_fn sigmoid{};

struct tanh_fn {
  static constexpr std::string_view name = "tanh";
  template <std::floating_point T>
  T operator()(T x) const {
    return std::tanh(x);
  }
  template <std::floating_point T>
  T gradient(T y) const {
    return T(1) - y * y;
  }
  friend constexpr bool operator==(tanh_fn, tanh_fn) = default;
};
inline constexpr tanh_fn tanh{};

/// log(1 + exp(x)).
struct softplus_fn {
  static constexpr std::string_view name = "softplus";
  template <std::floating_point T>
  T operator()(T x) const {
    return (x > 0 ? x : T(0)) + std::log1p(std::exp(-std::abs(x)));
  }
  template <std::floating_point T>
  T gradient(T y) const {
    return -std::expm1(-y);
  }
  friend constexpr bool operator==(softplus_fn, softplus_fn) = default;
};
inline constexpr softplus_fn softplus{};

}  // namespace slim
