// What all metrics have in common: arguments, weights, and errors.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "../error.hpp"

namespace slim::metrics {

/// Arguments of a metric that do not fit each other; names the metric.
struct metric_error : error {
  metric_error(std::string_view metric, const std::string& what)
      : error(std::string(metric) + ": " + what) {}
};

/// Anything whose numbers lie side by side: spans, vectors, tensor views.
template <class R>
concept numbers = requires(const R& r) {
  {std::span(r.begin(), r.end())};
  requires std::is_arithmetic_v<std::remove_cvref_t<decltype(*r.begin())>>;
};

template <numbers R>
auto span_of(const R& r) {
  return std::span<const std::remove_cvref_t<decltype(*r.begin())>>(r.begin(), r.end());
}

/// One weight for all, one for each value, or one for each row of values; 1 if there are none.
class weights {
 public:
  constexpr weights() = default;
  template <class T>
  requires std::is_arithmetic_v<T>
  constexpr weights(T weight) : scalar_(static_cast<double>(weight)) {}
  template <numbers R>
  weights(const R& r) : weights(std::span<const float>(r.begin(), r.end())) {}
  constexpr weights(std::span<const float> values) : values_(values), given_(true) {}

  /// Throws metric_error unless so many values can be weighted.
  void check(std::string_view metric, std::size_t count) const {
    if (given_ && (values_.empty() ? count > 0 : count % values_.size() != 0))
      throw metric_error(metric, std::to_string(values_.size()) + " weights do not fit " +
                                     std::to_string(count) + " values");
  }
  /// Calls f(i, weight) for every value.
  template <class F>
  void for_each(std::size_t count, F f) const {
    if (!given_) {
      for (std::size_t i = 0; i < count; ++i) f(i, scalar_);
      return;
    }
    const std::size_t row = values_.empty() ? 1 : count / values_.size();
    for (std::size_t i = 0; i < values_.size(); ++i)
      for (std::size_t k = 0; k < row; ++k) f(i * row + k, static_cast<double>(values_[i]));
  }

 private:
  std::span<const float> values_{};
  bool given_ = false;
  double scalar_ = 1;
};

inline void check_same_size(std::string_view metric, std::size_t predictions, std::size_t labels) {
  if (predictions != labels)
    throw metric_error(metric, std::to_string(predictions) + " predictions and " +
                                   std::to_string(labels) + " labels");
}

/// a / b, and 0 where b is.
constexpr double safe_ratio(double a, double b) { return b == 0 ? 0 : a / b; }

}  // namespace slim::metrics
