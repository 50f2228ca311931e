// Metrics of scores at many thresholds: a prediction is positive where it is above a threshold.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "counts.hpp"

namespace slim::metrics {

/// The outcomes at each of some thresholds. A prediction costs a search among them, not a
/// comparison with each.
class outcomes_at_thresholds {
 public:
  explicit outcomes_at_thresholds(std::vector<float> thresholds)
      : thresholds_(std::move(thresholds)), order_(thresholds_.size()), sorted_(thresholds_) {
    for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = i;
    std::sort(order_.begin(), order_.end(),
              [&](auto a, auto b) { return thresholds_[a] < thresholds_[b]; });
    std::sort(sorted_.begin(), sorted_.end());
    reset();
  }
  /// `count` of them, as TensorFlow spreads them: i / (count - 1), with 1e-7 beyond either end.
  static std::vector<float> spread(int count) {
    std::vector<float> t{-1e-7f};
    for (int i = 1; i < count - 1; ++i) t.push_back(static_cast<float>(i * 1.0 / (count - 1)));
    t.push_back(1.0f + 1e-7f);
    return t;
  }

  template <numbers P, numbers L>
  void update(std::string_view metric, const P& predictions, const L& labels, const weights& w) {
    const auto p = span_of(predictions);
    const auto l = span_of(labels);
    check_same_size(metric, p.size(), l.size());
    w.check(metric, p.size());
    w.for_each(p.size(), [&](std::size_t i, double weight) {
      // So many thresholds lie below the prediction: there it is positive.
      const auto below = static_cast<std::size_t>(
          std::lower_bound(sorted_.begin(), sorted_.end(), static_cast<float>(p[i])) -
          sorted_.begin());
      (l[i] != 0 ? positives_ : negatives_)[below] += weight;
    });
  }
  /// In the order in which the thresholds were given.
  std::vector<outcomes> state() const {
    std::vector<outcomes> all(thresholds_.size());
    double positives = 0, negatives = 0;
    for (const double x : positives_) positives += x;
    for (const double x : negatives_) negatives += x;
    double missed = 0, spared = 0;  // not above the threshold
    for (std::size_t i = 0; i < all.size(); ++i) {
      missed += positives_[i], spared += negatives_[i];
      all[order_[i]] = {positives - missed, negatives - spared, spared, missed};
    }
    return all;
  }
  const std::vector<float>& thresholds() const { return thresholds_; }
  void reset() {
    positives_.assign(thresholds_.size() + 1, 0);
    negatives_.assign(thresholds_.size() + 1, 0);
  }

 private:
  std::vector<float> thresholds_;
  std::vector<std::size_t> order_;
  std::vector<float> sorted_;
  std::vector<double> positives_, negatives_;  // by the number of thresholds below the prediction
};

/// A vector with a value a threshold.
template <class Value>
class metric_at_thresholds {
 public:
  explicit metric_at_thresholds(std::vector<float> thresholds) : state_(std::move(thresholds)) {}

  template <numbers P, numbers L>
  std::vector<double> update(const P& predictions, const L& labels, const weights& w = {}) {
    state_.update(Value::name, predictions, labels, w);
    return value();
  }
  std::vector<double> value() const {
    std::vector<double> all;
    for (const outcomes& o : state_.state()) all.push_back(Value::of(o));
    return all;
  }
  void reset() { state_.reset(); }

 private:
  outcomes_at_thresholds state_;
};

namespace detail {
inline constexpr double epsilon = 1e-7;

struct precision_at {
  static constexpr std::string_view name = "precision_at_thresholds";
  static double of(const outcomes& o) {
    return o.true_positives / (epsilon + o.true_positives + o.false_positives);
  }
};
struct recall_at {
  static constexpr std::string_view name = "recall_at_thresholds";
  static double of(const outcomes& o) {
    return o.true_positives / (epsilon + o.true_positives + o.false_negatives);
  }
};
struct false_positive_rate_at {
  static constexpr std::string_view name = "false_positive_rate_at_thresholds";
  static double of(const outcomes& o) {
    return o.false_positives / (epsilon + o.false_positives + o.true_negatives);
  }
};
struct false_negative_rate_at {
  static constexpr std::string_view name = "false_negative_rate_at_thresholds";
  static double of(const outcomes& o) {
    return o.false_negatives / (epsilon + o.false_negatives + o.true_positives);
  }
};
/// The same in float32, as TensorFlow has them: for comparisons with a target that may be equal.
inline float float_ratio(double part, double rest) {
  return static_cast<float>(part) /
         (static_cast<float>(part) + static_cast<float>(rest) + static_cast<float>(epsilon));
}
inline double specificity(const outcomes& o) {
  return o.true_negatives / (o.true_negatives + o.false_positives + epsilon);
}
inline double sensitivity(const outcomes& o) {
  return o.true_positives / (o.true_positives + o.false_negatives + epsilon);
}
}  // namespace detail

using streaming_precision_at_thresholds = metric_at_thresholds<detail::precision_at>;
using streaming_recall_at_thresholds = metric_at_thresholds<detail::recall_at>;
using streaming_false_positive_rate_at_thresholds =
    metric_at_thresholds<detail::false_positive_rate_at>;
using streaming_false_negative_rate_at_thresholds =
    metric_at_thresholds<detail::false_negative_rate_at>;
using streaming_true_positives_at_thresholds =
    metric_at_thresholds<detail::count_value<&outcomes::true_positives>>;
using streaming_true_negatives_at_thresholds =
    metric_at_thresholds<detail::count_value<&outcomes::true_negatives>>;
using streaming_false_positives_at_thresholds =
    metric_at_thresholds<detail::count_value<&outcomes::false_positives>>;
using streaming_false_negatives_at_thresholds =
    metric_at_thresholds<detail::count_value<&outcomes::false_negatives>>;

/// Which curve an area lies under.
enum class curve { roc, pr };

/// A metric of the outcomes at thresholds that are spread over [0, 1].
class spread_metric {
 public:
  template <numbers P, numbers L>
  void add(std::string_view metric, const P& predictions, const L& labels, const weights& w) {
    state_.update(metric, predictions, labels, w);
  }
  void reset() { state_.reset(); }
  std::vector<outcomes> state() const { return state_.state(); }

 protected:
  explicit spread_metric(int num_thresholds)
      : state_(outcomes_at_thresholds::spread(num_thresholds)) {}
  const std::vector<float>& thresholds() const { return state_.thresholds(); }

 private:
  outcomes_at_thresholds state_;
};

/// The area under the curve through the points at the thresholds, by trapezoids; predictions lie in
/// [0, 1].
class streaming_auc : public spread_metric {
 public:
  explicit streaming_auc(int num_thresholds = 200, metrics::curve kind = curve::roc)
      : spread_metric(num_thresholds), curve_(kind) {}

  template <numbers P, numbers L>
  double update(const P& predictions, const L& labels, const weights& w = {}) {
    for (const auto p : span_of(predictions))
      if (!(p >= 0 && p <= 1))
        throw metric_error("auc", "prediction " + std::to_string(p) + " is not in [0, 1]");
    add("auc", predictions, labels, w);
    return value();
  }
  double value() const {
    const auto all = points();
    double area = 0;
    for (std::size_t i = 0; i + 1 < all.size(); ++i)
      area += (all[i].x - all[i + 1].x) * (all[i].y + all[i + 1].y) / 2;
    return area;
  }
  struct point {
    double x, y;
  };
  /// TF-Slim's streaming_curve_points.
  std::vector<point> points() const {
    constexpr double e = 1e-6;
    std::vector<point> all;
    for (const outcomes& o : state()) {
      const double recall = (o.true_positives + e) / (o.true_positives + o.false_negatives + e);
      if (curve_ == curve::roc)
        all.push_back({o.false_positives / (o.false_positives + o.true_negatives + e), recall});
      else
        all.push_back(
            {recall, (o.true_positives + e) / (o.true_positives + o.false_positives + e)});
    }
    return all;
  }

 private:
  metrics::curve curve_;
};

/// The sensitivity at the threshold whose specificity is nearest to a given one; the first of
/// several.
class streaming_sensitivity_at_specificity : public spread_metric {
 public:
  explicit streaming_sensitivity_at_specificity(double specificity, int num_thresholds = 200)
      : spread_metric(num_thresholds), wanted_(specificity) {}

  template <numbers P, numbers L>
  double update(const P& predictions, const L& labels, const weights& w = {}) {
    add("sensitivity_at_specificity", predictions, labels, w);
    return value();
  }
  double value() const {
    double found = 0, nearest = 2;
    for (const outcomes& o : state())
      if (const double d = std::abs(detail::specificity(o) - wanted_); d < nearest)
        nearest = d, found = detail::sensitivity(o);
    return found;
  }

 private:
  double wanted_;
};

/// The specificity at the threshold whose sensitivity is nearest to a given one; the last of
/// several. The last threshold is just below 1 here, as TensorFlow has it.
class streaming_specificity_at_sensitivity {
 public:
  explicit streaming_specificity_at_sensitivity(double sensitivity, int num_thresholds = 200)
      : wanted_(sensitivity), state_(thresholds(num_thresholds)) {}

  template <numbers P, numbers L>
  double update(const P& predictions, const L& labels, const weights& w = {}) {
    state_.update("specificity_at_sensitivity", predictions, labels, w);
    return value();
  }
  double value() const {
    double found = 0, nearest = 2;
    for (const outcomes& o : state_.state())
      if (const double d = std::abs(detail::sensitivity(o) - wanted_); d <= nearest)
        nearest = d, found = detail::specificity(o);
    return found;
  }
  void reset() { state_.reset(); }

 private:
  static std::vector<float> thresholds(int count) {
    std::vector<float> t = outcomes_at_thresholds::spread(count);
    t.back() = 1.0f - 1e-7f;
    return t;
  }
  double wanted_;
  outcomes_at_thresholds state_;
};

/// The recall at the threshold whose precision is nearest to a given one, the first of several;
/// strict: whose precision is the least that is not below it, and 0 if there is none. Arguments
/// come in the order (labels, predictions), as those of the next two.
class recall_at_precision : public spread_metric {
 public:
  explicit recall_at_precision(double precision, bool strict_mode = false, int num_thresholds = 200)
      : spread_metric(num_thresholds), wanted_(precision), strict_(strict_mode) {}

  template <numbers L, numbers P>
  double update(const L& labels, const P& predictions, const weights& w = {}) {
    add("recall_at_precision", predictions, labels, w);
    return value();
  }
  double value() const {
    double found = 0;
    float nearest = 2;
    for (const outcomes& o : state()) {
      const float above =
          detail::float_ratio(o.true_positives, o.false_positives) - static_cast<float>(wanted_);
      if ((strict_ && above < 0) || std::abs(above) >= nearest) continue;
      nearest = std::abs(above), found = detail::recall_at::of(o);
    }
    return found;
  }

 private:
  double wanted_;
  bool strict_;
};

/// The precision at the last threshold whose recall is not below a given one.
class precision_at_recall : public spread_metric {
 public:
  explicit precision_at_recall(double target_recall, int num_thresholds = 200)
      : spread_metric(num_thresholds), wanted_(target_recall) {}

  template <numbers L, numbers P>
  double update(const L& labels, const P& predictions, const weights& w = {}) {
    add("precision_at_recall", predictions, labels, w);
    return value();
  }
  double value() const {
    constexpr double e = detail::epsilon;
    const auto all = state();
    std::size_t enough = 0;
    for (const outcomes& o : all)
      enough +=
          detail::float_ratio(o.true_positives, o.false_negatives) >= static_cast<float>(wanted_);
    // Where none is, TensorFlow reads the last one: its index is -1.
    const outcomes& o = enough > 0 ? all[enough - 1] : all.back();
    return (o.true_positives + e) / (o.true_positives + o.false_positives + e);
  }

 private:
  double wanted_;
};

/// The largest 2 P R / (P + R) over the thresholds; (labels, predictions), too.
class f1_score : public spread_metric {
 public:
  explicit f1_score(int num_thresholds = 200) : spread_metric(num_thresholds) {}

  template <numbers L, numbers P>
  double update(const L& labels, const P& predictions, const weights& w = {}) {
    add("f1_score", predictions, labels, w);
    return value();
  }
  double value() const {
    double best = 0;
    for (const outcomes& o : state()) {
      const double p = detail::precision_at::of(o), r = detail::recall_at::of(o);
      best = std::max(best, 2 * p * r / (p + r + detail::epsilon));
    }
    return best;
  }
};

}  // namespace slim::metrics
