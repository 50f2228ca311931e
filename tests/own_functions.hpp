// Functions of a user's own for the tests of the GPU: an activation, a loss and a regularizer, of
// which each but the last has a number of its own.
#pragma once

#include <slim/kernels/cuda/own.hpp>

#include <concepts>
#include <string_view>

namespace own {

/// x / (1 + k |x|); its derivative is (1 - k |y|)^2.
struct soft_sign {
  static constexpr std::string_view name = "soft_sign";
  float k = 1;

  template <std::floating_point T>
  static constexpr T size(T x) {
    return x < T(0) ? -x : x;
  }
  template <std::floating_point T>
  constexpr T operator()(T x) const {
    return x / (T(1) + T(k) * size(x));
  }
  template <std::floating_point T>
  constexpr T gradient(T y) const {
    const T rest = T(1) - T(k) * size(y);
    return rest * rest;
  }
  friend constexpr bool operator==(const soft_sign&, const soft_sign&) = default;
};

/// (p - y)^4 weight.
struct fourth_power {
  static constexpr std::string_view name = "fourth_power";
  float weight = 1;

  template <std::floating_point T>
  constexpr T operator()(T p, T y) const {
    const T d = p - y;
    return d * d * d * d * T(weight);
  }
  template <std::floating_point T>
  constexpr T gradient(T p, T y) const {
    const T d = p - y;
    return T(4) * d * d * d * T(weight);
  }
  friend constexpr bool operator==(const fourth_power&, const fourth_power&) = default;
};

/// w^4 / 10.
struct fourth_regularizer {
  static constexpr std::string_view name = "fourth_regularizer";
  static constexpr std::string_view fault() { return ""; }
  static constexpr bool active() { return true; }

  template <std::floating_point T>
  constexpr T operator()(T w) const {
    return w * w * w * w / T(10);
  }
  template <std::floating_point T>
  constexpr T gradient(T w) const {
    return T(4) * w * w * w / T(10);
  }
  friend constexpr bool operator==(fourth_regularizer, fourth_regularizer) = default;
};

}  // namespace own

namespace slim {
template <>
inline constexpr bool on_gpu<own::soft_sign> = true;
template <>
inline constexpr bool on_gpu<own::fourth_power> = true;
template <>
inline constexpr bool on_gpu<own::fourth_regularizer> = true;
}  // namespace slim
