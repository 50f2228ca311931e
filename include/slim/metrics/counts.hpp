// Metrics made of true and false positives and negatives. Labels and predictions are taken for
// booleans: whatever is not zero is positive. Scores are not thresholded here; see thresholds.hpp.
#pragma once

#include "weights.hpp"

namespace slim::metrics {

/// Weighted counts of the four outcomes.
struct outcomes {
  double true_positives = 0, false_positives = 0, true_negatives = 0, false_negatives = 0;

  void add(bool predicted, bool actual, double weight) {
    if (predicted)
      (actual ? true_positives : false_positives) += weight;
    else
      (actual ? false_negatives : true_negatives) += weight;
  }
};

/// A metric that is a function of the outcomes so far.
template <class Value>
class outcome_metric {
 public:
  template <numbers P, numbers L>
  double update(const P& predictions, const L& labels, const weights& w = {}) {
    const auto p = span_of(predictions);
    const auto l = span_of(labels);
    check_same_size(Value::name, p.size(), l.size());
    w.check(Value::name, p.size());
    w.for_each(p.size(),
               [&](std::size_t i, double weight) { state_.add(p[i] != 0, l[i] != 0, weight); });
    return value();
  }
  double value() const { return Value::of(state_); }
  void reset() { state_ = {}; }
  const outcomes& state() const { return state_; }

 private:
  outcomes state_;
};

namespace detail {
struct precision_value {
  static constexpr std::string_view name = "precision";
  static double of(const outcomes& o) {
    return safe_ratio(o.true_positives, o.true_positives + o.false_positives);
  }
};
struct recall_value {
  static constexpr std::string_view name = "recall";
  static double of(const outcomes& o) {
    return safe_ratio(o.true_positives, o.true_positives + o.false_negatives);
  }
};
struct false_positive_rate_value {
  static constexpr std::string_view name = "false_positive_rate";
  static double of(const outcomes& o) {
    return safe_ratio(o.false_positives, o.false_positives + o.true_negatives);
  }
};
struct false_negative_rate_value {
  static constexpr std::string_view name = "false_negative_rate";
  static double of(const outcomes& o) {
    return safe_ratio(o.false_negatives, o.false_negatives + o.true_positives);
  }
};
template <double outcomes::*Count>
struct count_value {
  static constexpr std::string_view name = "outcomes";
  static double of(const outcomes& o) { return o.*Count; }
};
}  // namespace detail

using streaming_precision = outcome_metric<detail::precision_value>;
using streaming_recall = outcome_metric<detail::recall_value>;
using streaming_false_positive_rate = outcome_metric<detail::false_positive_rate_value>;
using streaming_false_negative_rate = outcome_metric<detail::false_negative_rate_value>;
using streaming_true_positives = outcome_metric<detail::count_value<&outcomes::true_positives>>;
using streaming_true_negatives = outcome_metric<detail::count_value<&outcomes::true_negatives>>;
using streaming_false_positives = outcome_metric<detail::count_value<&outcomes::false_positives>>;
using streaming_false_negatives = outcome_metric<detail::count_value<&outcomes::false_negatives>>;

/// The sum of weights, or the number of values.
class count {
 public:
  template <numbers Values>
  double update(const Values& values, const weights& w = {}) {
    const std::size_t n = span_of(values).size();
    w.check("count", n);
    w.for_each(n, [&](std::size_t, double weight) { total_ += weight; });
    return total_;
  }
  double value() const { return total_; }
  void reset() { total_ = 0; }

 private:
  double total_ = 0;
};

}  // namespace slim::metrics
