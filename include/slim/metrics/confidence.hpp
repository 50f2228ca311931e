// The area under the ROC curve with a confidence interval.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "weights.hpp"

namespace slim::metrics {

namespace detail {

/// The z that a standard normal variable is below with probability p, 0 < p <= 0.5.  Newton's
/// method from 0 comes down to it, for the distribution is convex there.
inline double normal_quantile(double p) {
  double z = 0;
  for (int i = 0; i < 100; ++i) {
    const double density = std::exp(-z * z / 2) / std::sqrt(2 * M_PI);
    const double step = (std::erfc(-z / M_SQRT2) / 2 - p) / density;
    z -= step;
    if (std::abs(step) < 1e-15 * (1 - z)) break;
  }
  return z;
}

}  // namespace detail

/// How often a positive has the higher prediction, ties counted half, and an interval that holds
/// the true area with probability alpha.  Keeps all predictions.  (labels, predictions).
///
/// An example's placement value is the share of the other kind that it beats: the area is their
/// mean, and its variance follows from theirs (DeLong, DeLong, Clarke-Pearson, "Comparing the areas
/// under two or more correlated receiver operating characteristic curves", 1988; Sun, Xu, "Fast
/// implementation of DeLong's algorithm", 2014).  With logit_transformation the interval is
/// symmetric around logit(area) and stays within [0, 1].
///
/// As in TF-Slim an update whose weights sum to less than 1 counts nothing.  All is 0 until both
/// labels were seen; TF-Slim asks that of the last batch alone.
class auc_with_confidence_intervals {
 public:
  struct data {
    double auc = 0, lower = 0, upper = 0;
  };
  /// Throws metric_error unless 0 < alpha < 1.
  explicit auc_with_confidence_intervals(double alpha = 0.95, bool logit_transformation = true)
      : z_(0), logit_(logit_transformation) {
    if (!(alpha > 0 && alpha < 1))
      throw metric_error(name, "alpha is " + std::to_string(alpha) + ", not in (0, 1)");
    z_ = detail::normal_quantile((1 - alpha) / 2);
  }
  /// Throws metric_error, with nothing counted, at a label that is neither 0 nor 1.
  template <numbers L, numbers P>
  data update(const L& labels, const P& predictions, const weights& w = {}) {
    const auto l = span_of(labels);
    const auto p = span_of(predictions);
    check_same_size(name, p.size(), l.size());
    w.check(name, p.size());
    for (const auto label : l)
      if (label != 0 && label != 1)
        throw metric_error(name, "label " + std::to_string(label) + " is neither 0 nor 1");
    double total = 0;
    w.for_each(p.size(), [&](std::size_t, double weight) { total += weight; });
    if (total < 1) return value();
    w.for_each(p.size(), [&](std::size_t i, double weight) {
      all_.push_back({static_cast<double>(p[i]), 0, weight, l[i] != 0});
    });
    return value();
  }
  data value() const {
    std::vector<example> sorted = all_;
    std::sort(sorted.begin(), sorted.end(),
              [](const example& a, const example& b) { return a.prediction < b.prediction; });
    double totals[2] = {0, 0};
    for (const example& e : sorted) totals[e.positive] += e.weight;
    if (totals[0] == 0 || totals[1] == 0) return {};
    place(sorted, totals);
    return interval(sorted, totals);
  }
  void reset() { all_.clear(); }

 private:
  static constexpr const char* name = "auc_with_confidence_intervals";
  static constexpr double epsilon = 1e-7;

  struct example {
    double prediction, won, weight;  // won: the share of the other kind with a lower prediction
    bool positive;
  };

  static void place(std::vector<example>& sorted, const double (&totals)[2]) {
    double below[2] = {0, 0};
    for (std::size_t first = 0, end = 0; first < sorted.size(); first = end) {
      double tied[2] = {0, 0};
      for (; end < sorted.size() && sorted[end].prediction == sorted[first].prediction; ++end)
        tied[sorted[end].positive] += sorted[end].weight;
      for (std::size_t i = first; i < end; ++i) {
        const bool other = !sorted[i].positive;
        const double lower = (below[other] + tied[other] / 2) / (totals[other] + epsilon);
        sorted[i].won = sorted[i].positive ? lower : 1 - lower;
      }
      below[0] += tied[0], below[1] += tied[1];
    }
  }

  data interval(const std::vector<example>& all, const double (&totals)[2]) const {
    double area[2] = {0, 0}, variance[2] = {0, 0};
    for (const example& e : all)
      area[e.positive] += e.weight * e.won / (totals[e.positive] + epsilon);
    for (const example& e : all)
      variance[e.positive] +=
          e.weight * std::pow(e.won - area[e.positive], 2) / (totals[e.positive] - 1 + epsilon);
    const double auc = totals[0] < totals[1] ? area[1] : area[0];
    if (auc == 0 || auc == 1) return {auc, auc, auc};
    const double error =
        std::sqrt(variance[0] / (totals[0] + epsilon) + variance[1] / (totals[1] + epsilon));
    if (!logit_) return {auc, auc + z_ * error, auc - z_ * error};
    const double odds = 1 - auc + epsilon, middle = std::log(auc / odds);
    const double reach = z_ * error / (auc * odds);
    const auto back = [](double x) { return 1 / (1 + std::exp(-x) + epsilon); };
    return {auc, back(middle + reach), back(middle - reach)};
  }

  double z_;
  bool logit_;
  std::vector<example> all_{};
};

}  // namespace slim::metrics
