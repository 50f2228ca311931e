// Areas under curves without given thresholds, and precision and recall at equal ones.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "thresholds.hpp"

namespace slim::metrics {

/// The exact area under the ROC or precision-recall curve of all predictions so far, which it
/// keeps; those that tie are one point. 0 while all labels are equal. (labels, predictions).
class streaming_dynamic_auc {
 public:
  explicit streaming_dynamic_auc(metrics::curve kind = curve::roc) : curve_(kind) {}

  template <numbers L, numbers P>
  double update(const L& labels, const P& predictions, const weights& w = {}) {
    const auto l = span_of(labels);
    const auto p = span_of(predictions);
    check_same_size("dynamic_auc", p.size(), l.size());
    w.check("dynamic_auc", p.size());
    w.for_each(p.size(), [&](std::size_t i, double weight) {
      all_.push_back({static_cast<double>(p[i]), weight, l[i] > 0});
    });
    return value();
  }
  double value() const {
    std::vector<example> sorted = all_;
    std::sort(sorted.begin(), sorted.end(),
              [](const example& a, const example& b) { return a.prediction > b.prediction; });
    double positives = 0, negatives = 0;
    for (const example& e : sorted) (e.positive ? positives : negatives) += e.weight;
    if (positives == 0 || negatives == 0) return 0;
    double area = 0, tp = 0, fp = 0, x = 0, y = curve_ == curve::roc ? 0 : 1;
    for (std::size_t i = 0; i < sorted.size();) {
      const double tied = sorted[i].prediction;
      for (; i < sorted.size() && sorted[i].prediction == tied; ++i)
        (sorted[i].positive ? tp : fp) += sorted[i].weight;
      const double next_x = curve_ == curve::roc ? fp / negatives : tp / positives;
      const double next_y = curve_ == curve::roc ? tp / positives : tp / (tp + fp);
      area += (next_x - x) * (next_y + y) / 2;
      x = next_x, y = next_y;
    }
    return area;
  }
  void reset() { all_.clear(); }

 private:
  struct example {
    double prediction, weight;
    bool positive;
  };
  metrics::curve curve_;
  std::vector<example> all_;
};

/// The area under the ROC curve of two histograms of scores; NaN before there are labels of both
/// kinds. Scores outside of the range count in its outermost bins. (labels, scores).
class auc_using_histogram {
 public:
  auc_using_histogram(double lowest, double highest, int nbins = 100)
      : lowest_(lowest), width_(highest - lowest), bins_(static_cast<std::size_t>(nbins)) {
    reset();
  }
  template <numbers L, numbers P>
  double update(const L& labels, const P& scores) {
    const auto l = span_of(labels);
    const auto p = span_of(scores);
    check_same_size("auc_using_histogram", p.size(), l.size());
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double at = std::floor((static_cast<double>(p[i]) - lowest_) / width_ * double(bins_));
      const double last = static_cast<double>(bins_ - 1);
      ++(l[i] != 0 ? positives_ : negatives_)[static_cast<std::size_t>(std::clamp(at, 0.0, last))];
    }
    return value();
  }
  /// How often a positive has the higher score, ties counted half.
  double value() const {
    const double positives = std::accumulate(positives_.begin(), positives_.end(), 0.0);
    const double negatives = std::accumulate(negatives_.begin(), negatives_.end(), 0.0);
    if (positives == 0 || negatives == 0) return std::numeric_limits<double>::quiet_NaN();
    double won = 0, below = 0;
    for (std::size_t i = 0; i < bins_; ++i) {
      won += positives_[i] * (below + negatives_[i] / 2);
      below += negatives_[i];
    }
    return won / (positives * negatives);
  }
  void reset() {
    positives_.assign(bins_, 0);
    negatives_.assign(bins_, 0);
  }

 private:
  double lowest_, width_;
  std::size_t bins_;
  std::vector<double> positives_, negatives_;
};

/// Precision and recall at thresholds i / (n - 1), where a prediction is positive if it is not
/// below. (labels, predictions); predictions lie in [0, 1].
class precision_recall_at_equal_thresholds {
 public:
  struct data {
    std::vector<double> tp, fp, tn, fn, precision, recall, thresholds;
  };
  explicit precision_recall_at_equal_thresholds(int num_thresholds = 201)
      : size_(static_cast<std::size_t>(num_thresholds)) {
    reset();
  }
  template <numbers L, numbers P>
  data update(const L& labels, const P& predictions, const weights& w = {}) {
    constexpr std::string_view name = "precision_recall_at_equal_thresholds";
    const auto l = span_of(labels);
    const auto p = span_of(predictions);
    check_same_size(name, p.size(), l.size());
    w.check(name, p.size());
    for (const auto x : p)
      if (!(x >= 0 && x <= 1))
        throw metric_error(name, "prediction " + std::to_string(x) + " is not in [0, 1]");
    w.for_each(p.size(), [&](std::size_t i, double weight) {
      const float bucket = std::floor(static_cast<float>(p[i]) * static_cast<float>(size_ - 1));
      (l[i] != 0 ? positives_ : negatives_)[static_cast<std::size_t>(bucket)] += weight;
    });
    return value();
  }
  data value() const {
    data d;
    double tp = 0, fp = 0;
    const double positives = std::accumulate(positives_.begin(), positives_.end(), 0.0);
    const double negatives = std::accumulate(negatives_.begin(), negatives_.end(), 0.0);
    for (std::size_t i = size_; i-- > 0;) {
      tp += positives_[i], fp += negatives_[i];
      d.tp.push_back(tp), d.fp.push_back(fp);
      d.tn.push_back(negatives - fp), d.fn.push_back(positives - tp);
      d.precision.push_back(tp / std::max(1e-7, tp + fp));
      d.recall.push_back(tp / std::max(1e-7, positives));
      d.thresholds.push_back(static_cast<double>(i) / static_cast<double>(size_ - 1));
    }
    for (auto* column : {&d.tp, &d.fp, &d.tn, &d.fn, &d.precision, &d.recall, &d.thresholds})
      std::reverse(column->begin(), column->end());
    return d;
  }
  void reset() {
    positives_.assign(size_, 0);
    negatives_.assign(size_, 0);
  }

 private:
  std::size_t size_;
  std::vector<double> positives_, negatives_;
};

}  // namespace slim::metrics
