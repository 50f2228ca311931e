// Metrics of confusion matrices and of second moments.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "weights.hpp"

namespace slim::metrics {

/// Weighted counts [label, prediction] of pairs of classes.
class confusion_matrix {
 public:
  explicit confusion_matrix(int num_classes)
      : size_(static_cast<std::size_t>(num_classes)), counts_(size_ * size_) {}

  /// Throws metric_error, with nothing counted, at a class that there is not.
  template <numbers P, numbers L>
  void update(const P& predictions, const L& labels, const weights& w = {}) {
    add("confusion_matrix", predictions, labels, w);
  }
  /// The same on behalf of a metric, which messages name.
  template <numbers P, numbers L>
  void add(std::string_view metric, const P& predictions, const L& labels, const weights& w) {
    const auto p = span_of(predictions);
    const auto l = span_of(labels);
    check_same_size(metric, p.size(), l.size());
    w.check(metric, p.size());
    for (const auto c : p) check_class(metric, "prediction", c);
    for (const auto c : l) check_class(metric, "label", c);
    w.for_each(p.size(), [&](std::size_t i, double weight) {
      counts_[static_cast<std::size_t>(l[i]) * size_ + static_cast<std::size_t>(p[i])] += weight;
    });
  }
  double at(std::size_t label, std::size_t prediction) const {
    return counts_[label * size_ + prediction];
  }
  double row(std::size_t label) const {
    double sum = 0;
    for (std::size_t i = 0; i < size_; ++i) sum += at(label, i);
    return sum;
  }
  double column(std::size_t prediction) const {
    double sum = 0;
    for (std::size_t i = 0; i < size_; ++i) sum += at(i, prediction);
    return sum;
  }
  std::size_t size() const { return size_; }
  const std::vector<double>& counts() const { return counts_; }
  void reset() { counts_.assign(counts_.size(), 0); }

 private:
  template <class C>
  void check_class(std::string_view metric, const char* what, C c) const {
    if (c < 0 || static_cast<double>(c) >= static_cast<double>(size_))
      throw metric_error(metric, std::string(what) + " " + std::to_string(c) + " is none of " +
                                     std::to_string(size_) + " classes");
  }

  std::size_t size_;
  std::vector<double> counts_;
};

/// The mean over classes of intersection over union, of those that are there at all.
class streaming_mean_iou {
 public:
  explicit streaming_mean_iou(int num_classes) : matrix_(num_classes) {}

  /// Returns the confusion matrix, as TF-Slim's update does.
  template <numbers P, numbers L>
  const std::vector<double>& update(const P& predictions, const L& labels, const weights& w = {}) {
    matrix_.add("mean_iou", predictions, labels, w);
    return matrix_.counts();
  }
  double value() const {
    double sum = 0, there = 0;
    for (std::size_t c = 0; c < matrix_.size(); ++c) {
      const double both = matrix_.at(c, c), all = matrix_.row(c) + matrix_.column(c) - both;
      sum += safe_ratio(both, all), there += all != 0;
    }
    return safe_ratio(sum, there);
  }
  void reset() { matrix_.reset(); }

 private:
  confusion_matrix matrix_;
};

/// Cohen's kappa (1960): agreement beyond chance. Arguments in the order (labels, predictions).
class cohen_kappa {
 public:
  /// Throws metric_error if there are fewer than two classes.
  explicit cohen_kappa(int num_classes) : matrix_(num_classes) {
    if (num_classes < 2)
      throw metric_error("cohen_kappa", std::to_string(num_classes) + " classes; it takes two");
  }
  template <numbers L, numbers P>
  double update(const L& labels, const P& predictions, const weights& w = {}) {
    matrix_.add("cohen_kappa", predictions, labels, w);
    return value();
  }
  double value() const {
    double total = 0, agreed = 0, chance = 0;
    for (std::size_t c = 0; c < matrix_.size(); ++c)
      total += matrix_.row(c), agreed += matrix_.at(c, c);
    for (std::size_t c = 0; c < matrix_.size(); ++c)
      chance += safe_ratio(matrix_.row(c) * matrix_.column(c), total);
    return safe_ratio(agreed - chance, total - chance);
  }
  void reset() { matrix_.reset(); }

 private:
  confusion_matrix matrix_;
};

/// The covariance of predictions and labels, by Chan, Golub and LeVeque's (1979) merging of
/// batches; NaN before there are two. Divided by count - 1.
class streaming_covariance {
 public:
  template <numbers P, numbers L>
  double update(const P& predictions, const L& labels, const weights& w = {}) {
    const auto p = span_of(predictions);
    const auto l = span_of(labels);
    check_same_size("covariance", p.size(), l.size());
    w.check("covariance", p.size());
    double n = 0, sum_p = 0, sum_l = 0;
    w.for_each(p.size(), [&](std::size_t i, double weight) {
      n += weight, sum_p += weight * double(p[i]), sum_l += weight * double(l[i]);
    });
    const double mean_p = safe_ratio(sum_p, n), mean_l = safe_ratio(sum_l, n);
    double moment = 0;
    w.for_each(p.size(), [&](std::size_t i, double weight) {
      moment += weight * (double(p[i]) - mean_p) * (double(l[i]) - mean_l);
    });
    merge(n, mean_p, mean_l, moment);
    return value();
  }
  double value() const {
    return count_ <= 1 ? std::numeric_limits<double>::quiet_NaN() : moment_ / (count_ - 1);
  }
  void reset() { *this = {}; }
  double count() const { return count_; }

 private:
  void merge(double n, double mean_p, double mean_l, double moment) {
    const double all = count_ + n;
    const double dp = mean_p - mean_p_, dl = mean_l - mean_l_;
    moment_ += moment + dp * dl * safe_ratio(count_ * n, all);
    mean_p_ += dp * safe_ratio(n, all), mean_l_ += dl * safe_ratio(n, all);
    count_ = all;
  }
  double count_ = 0, mean_p_ = 0, mean_l_ = 0, moment_ = 0;
};

/// Pearson's correlation of predictions and labels; NaN before there are two.
class streaming_pearson_correlation {
 public:
  template <numbers P, numbers L>
  double update(const P& predictions, const L& labels, const weights& w = {}) {
    both_.update(predictions, labels, w);
    predictions_.update(predictions, predictions, w);
    labels_.update(labels, labels, w);
    return value();
  }
  double value() const {
    return both_.value() / (std::sqrt(predictions_.value()) * std::sqrt(labels_.value()));
  }
  void reset() { *this = {}; }

 private:
  streaming_covariance both_, predictions_, labels_;
};

}  // namespace slim::metrics
