// Element-wise losses. Each is a value f with a name, the loss f(p, y) of a prediction and a label,
// and its derivatives: f.gradient(p, y) by p, f.label_gradient(p, y) by y, which only a network
// needs whose layers compute the labels. A user's own is written the same way and becomes a loss by
// `elementwise<my_function{}>`; numbers of its own are doubles, which f casts to T, and `fault()`,
// where there is one, says what is wrong with them. One of plain arithmetic leaves T unconstrained
// and so also takes vectors of numbers.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <string_view>

#include "../activations.hpp"

namespace slim {

/// |p - y|; the derivative at 0 is 0.
struct absolute_difference_fn {
  static constexpr std::string_view name = "absolute_difference";

  template <std::floating_point T>
  constexpr T operator()(T p, T y) const {
    return p < y ? y - p : p - y;
  }
  template <std::floating_point T>
  constexpr T gradient(T p, T y) const {
    return T((p > y) - (p < y));
  }
  template <std::floating_point T>
  constexpr T label_gradient(T p, T y) const {
    return -gradient(p, y);
  }
};

/// (p - y)^2.
struct squared_error_fn {
  static constexpr std::string_view name = "mean_squared_error";

  template <class T>
  constexpr T operator()(T p, T y) const {
    return (p - y) * (p - y);
  }
  template <class T>
  constexpr T gradient(T p, T y) const {
    return T(2) * (p - y);
  }
  template <class T>
  constexpr T label_gradient(T p, T y) const {
    return T(2) * (y - p);
  }
};

/// -y log(p + epsilon) - (1 - y) log(1 - p + epsilon), of probabilities.
struct log_loss_fn {
  static constexpr std::string_view name = "log_loss";
  double epsilon = 1e-7;

  constexpr std::string_view fault() const {
    return epsilon >= 0 ? "" : "epsilon must not be negative";
  }
  template <std::floating_point T>
  T operator()(T p, T y) const {
    const T e = T(epsilon);
    return -y * std::log(p + e) - (T(1) - y) * std::log(T(1) - p + e);
  }
  template <std::floating_point T>
  T gradient(T p, T y) const {
    const T e = T(epsilon);
    return (T(1) - y) / (T(1) - p + e) - y / (p + e);
  }
  template <std::floating_point T>
  T label_gradient(T p, T) const {
    const T e = T(epsilon);
    return std::log(T(1) - p + e) - std::log(p + e);
  }
};

/// Cross entropy of a logit x and the probability y (1 - smoothing) + smoothing / 2, written so
/// that exp does not overflow: max(x, 0) - x y + log(1 + exp(-|x|)).
struct sigmoid_cross_entropy_fn {
  static constexpr std::string_view name = "sigmoid_cross_entropy";
  double smoothing = 0;

  constexpr std::string_view fault() const {
    return smoothing >= 0 && smoothing <= 1 ? "" : "label_smoothing must lie in [0, 1]";
  }
  template <std::floating_point T>
  T operator()(T x, T y) const {
    return softplus(x) - x * smooth(y);
  }
  template <std::floating_point T>
  T gradient(T x, T y) const {
    return sigmoid(x) - smooth(y);
  }
  template <std::floating_point T>
  T label_gradient(T x, T) const {
    return -x * T(1 - smoothing);
  }

 private:
  template <class T>
  constexpr T smooth(T y) const {
    return y * T(1 - smoothing) + T(smoothing / 2);
  }
};

/// max(0, 1 - (2 y - 1) x), of a logit x and a label y that is 0 or 1; the derivative at 0 is 0.
struct hinge_fn {
  static constexpr std::string_view name = "hinge_loss";

  template <std::floating_point T>
  constexpr T operator()(T x, T y) const {
    return relu(T(1) - sign(y) * x);
  }
  template <std::floating_point T>
  constexpr T gradient(T x, T y) const {
    return -sign(y) * relu.gradient((*this)(x, y));
  }
  template <std::floating_point T>
  constexpr T label_gradient(T x, T y) const {
    return T(-2) * x * relu.gradient((*this)(x, y));
  }

 private:
  template <class T>
  static constexpr T sign(T y) {
    return T(2) * y - T(1);
  }
};

/// What is wrong with the numbers of an element-wise loss, or "".
template <class F>
constexpr std::string_view fault_of(const F& f) {
  if constexpr (requires { f.fault(); })
    return f.fault();
  else
    return {};
}

/// The target of one of k classes whose label is y.
template <class T>
constexpr T smoothed(T y, double smoothing, long k) {
  return y * T(1 - smoothing) + T(smoothing / static_cast<double>(k));
}

/// Cross entropy of one row of k logits x and the probabilities target(j): -sum(target log p).
/// Leaves log p, the log softmax of x, in `log_p`.
template <class T, class Target>
T cross_entropy_row(const T* x, long k, const Target& target, T* log_p) {
  const T top = *std::max_element(x, x + k);
  T sum = 0, entropy = 0;
  for (long j = 0; j < k; ++j) sum += std::exp(x[j] - top);
  const T norm = top + std::log(sum);
  for (long j = 0; j < k; ++j) {
    log_p[j] = x[j] - norm;
    const T wanted = target(j);
    if (wanted != T(0)) entropy -= wanted * log_p[j];
  }
  return entropy;
}

/// The mean over all ordered pairs (i, j) of m elements of ((p_i - y_i) - (p_j - y_j))^2: twice the
/// variance of the differences. Writes `slope` times its derivative by p, unless that is null.
template <class T>
double pairwise_squared_error(const T* p, const T* y, long m, T* gradient, T slope) {
  double mean = 0, squares = 0;
  for (long i = 0; i < m; ++i) mean += static_cast<double>(p[i]) - static_cast<double>(y[i]);
  mean /= static_cast<double>(m);
  for (long i = 0; i < m; ++i) {
    const double deviation = static_cast<double>(p[i]) - static_cast<double>(y[i]) - mean;
    squares += deviation * deviation;
    if (gradient != nullptr)
      gradient[i] = static_cast<T>(4 * static_cast<double>(slope) * deviation / double(m));
  }
  return 2 * squares / static_cast<double>(m);
}

}  // namespace slim
