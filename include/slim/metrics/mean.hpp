// Metrics that are weighted means. Sums are kept in double: TensorFlow's, in float32, stop counting
// at 2^24.
#pragma once

#include <cmath>
#include <utility>
#include <vector>

#include "weights.hpp"

namespace slim::metrics {

/// The weighted mean of all values so far: TF-Slim's streaming_mean, and what the others are made
/// of. State: total and count.
class streaming_mean {
 public:
  explicit streaming_mean(std::string_view name = "mean") : name_(name) {}

  /// Takes in a batch; returns the new mean.
  template <numbers Values>
  double update(const Values& values, const weights& w = {}) {
    const auto all = span_of(values);
    return accumulate(all.size(), w, [&](std::size_t i) { return static_cast<double>(all[i]); });
  }
  double value() const { return safe_ratio(total_, count_); }
  void reset() { total_ = count_ = 0; }

  std::string_view name() const { return name_; }
  double total() const { return total_; }
  double count() const { return count_; }

 protected:
  /// The same of n values that f gives.
  template <class F>
  double accumulate(std::size_t n, const weights& w, F f) {
    w.check(name_, n);
    double total = 0, count = 0;
    w.for_each(n, [&](std::size_t i, double weight) {
      total += weight * f(i);
      count += weight;
    });
    total_ += total, count_ += count;
    return value();
  }
  /// Of f(prediction, label).
  template <numbers P, numbers L, class F>
  double accumulate_pairs(const P& predictions, const L& labels, const weights& w, F f) {
    const auto p = span_of(predictions);
    const auto l = span_of(labels);
    check_same_size(name_, p.size(), l.size());
    return accumulate(p.size(), w, [&](std::size_t i) { return f(p[i], l[i]); });
  }

 private:
  std::string_view name_;
  double total_ = 0, count_ = 0;
};

/// The share of predictions that equal their labels. Both are numbers of classes.
struct streaming_accuracy : streaming_mean {
  streaming_accuracy() : streaming_mean("accuracy") {}
  template <numbers P, numbers L>
  double update(const P& predictions, const L& labels, const weights& w = {}) {
    return accumulate_pairs(predictions, labels, w,
                            [](auto p, auto l) { return std::cmp_equal(p, l) ? 1.0 : 0.0; });
  }
};

/// Of one batch, not streaming.
template <numbers P, numbers L>
double accuracy(const P& predictions, const L& labels, const weights& w = {}) {
  return streaming_accuracy().update(predictions, labels, w);
}

struct streaming_mean_absolute_error : streaming_mean {
  streaming_mean_absolute_error() : streaming_mean("mean_absolute_error") {}
  template <numbers P, numbers L>
  double update(const P& predictions, const L& labels, const weights& w = {}) {
    return accumulate_pairs(predictions, labels, w,
                            [](double p, double l) { return std::abs(p - l); });
  }
};

struct streaming_mean_squared_error : streaming_mean {
  explicit streaming_mean_squared_error(std::string_view name = "mean_squared_error")
      : streaming_mean(name) {}
  template <numbers P, numbers L>
  double update(const P& predictions, const L& labels, const weights& w = {}) {
    return accumulate_pairs(predictions, labels, w,
                            [](double p, double l) { return (p - l) * (p - l); });
  }
};

struct streaming_root_mean_squared_error : streaming_mean_squared_error {
  streaming_root_mean_squared_error() : streaming_mean_squared_error("root_mean_squared_error") {}
  template <numbers P, numbers L>
  double update(const P& predictions, const L& labels, const weights& w = {}) {
    return std::sqrt(streaming_mean_squared_error::update(predictions, labels, w));
  }
  double value() const { return std::sqrt(streaming_mean::value()); }
};

/// The mean of |label - prediction| / normalizer; 0 where the normalizer is.
struct streaming_mean_relative_error : streaming_mean {
  streaming_mean_relative_error() : streaming_mean("mean_relative_error") {}
  template <numbers P, numbers L, numbers N>
  double update(const P& predictions, const L& labels, const N& normalizer, const weights& w = {}) {
    const auto p = span_of(predictions);
    const auto l = span_of(labels);
    const auto n = span_of(normalizer);
    check_same_size(name(), p.size(), l.size());
    check_same_size(name(), p.size(), n.size());
    return accumulate(p.size(), w, [&](std::size_t i) {
      return safe_ratio(std::abs(double(l[i]) - double(p[i])), double(n[i]));
    });
  }
};

/// The share of values below a threshold.
class streaming_percentage_less : public streaming_mean {
 public:
  explicit streaming_percentage_less(double threshold)
      : streaming_mean("percentage_below_threshold"), threshold_(threshold) {}
  template <numbers Values>
  double update(const Values& values, const weights& w = {}) {
    const auto all = span_of(values);
    return accumulate(all.size(), w,
                      [&](std::size_t i) { return double(all[i]) < threshold_ ? 1.0 : 0.0; });
  }

 private:
  double threshold_;
};

/// 1 - the mean inner product of rows of `dim` values; 1 before any.
class streaming_mean_cosine_distance : public streaming_mean {
 public:
  explicit streaming_mean_cosine_distance(std::size_t dim)
      : streaming_mean("mean_cosine_distance"), dim_(dim) {}
  template <numbers P, numbers L>
  double update(const P& predictions, const L& labels, const weights& w = {}) {
    const auto p = span_of(predictions);
    const auto l = span_of(labels);
    check_same_size(name(), p.size(), l.size());
    if (p.size() % dim_ != 0)
      throw metric_error(
          name(), std::to_string(p.size()) + " values are no rows of " + std::to_string(dim_));
    accumulate(p.size() / dim_, w, [&](std::size_t row) {
      double sum = 0;
      for (std::size_t i = row * dim_; i < (row + 1) * dim_; ++i)
        sum += double(p[i]) * double(l[i]);
      return sum;
    });
    return value();
  }
  double value() const { return 1 - streaming_mean::value(); }

 private:
  std::size_t dim_;
};

/// The mean of each element of tensors of one size.
class streaming_mean_tensor {
 public:
  /// Weights: one, or one an element. Throws metric_error if the size changes.
  template <numbers Values>
  const std::vector<double>& update(const Values& values, const weights& w = {}) {
    const auto all = span_of(values);
    if (total_.empty()) total_.resize(all.size()), count_.resize(all.size());
    if (total_.size() != all.size())
      throw metric_error("mean_tensor", std::to_string(all.size()) + " values, before there were " +
                                            std::to_string(total_.size()));
    w.check("mean_tensor", all.size());
    w.for_each(all.size(), [&](std::size_t i, double weight) {
      total_[i] += weight * double(all[i]);
      count_[i] += weight;
    });
    return value();
  }
  const std::vector<double>& value() {
    mean_.resize(total_.size());
    for (std::size_t i = 0; i < mean_.size(); ++i) mean_[i] = safe_ratio(total_[i], count_[i]);
    return mean_;
  }
  void reset() { total_.clear(), count_.clear(); }

 private:
  std::vector<double> total_, count_, mean_;
};

/// The share of examples whose label is among the k largest of their predictions [n, classes];
/// those that tie with the k-th count as among them.
class streaming_recall_at_k : public streaming_mean {
 public:
  streaming_recall_at_k(std::size_t classes, std::size_t k)
      : streaming_mean("recall_at_k"), classes_(classes), k_(k) {}
  template <numbers P, numbers L>
  double update(const P& predictions, const L& labels, const weights& w = {}) {
    const auto p = span_of(predictions);
    const auto l = span_of(labels);
    check_same_size(name(), p.size(), l.size() * classes_);
    return accumulate(l.size(), w, [&](std::size_t row) {
      const auto label = static_cast<std::size_t>(l[row]);
      if (label >= classes_) return 0.0;
      const auto scores = p.subspan(row * classes_, classes_);
      std::size_t above = 0;
      bool finite = std::isfinite(double(scores[label]));
      for (const auto s : scores) {
        above += s > scores[label] ? 1 : 0;
        finite = finite && std::isfinite(double(s));
      }
      return finite && above < k_ ? 1.0 : 0.0;
    });
  }

 private:
  std::size_t classes_, k_;
};

}  // namespace slim::metrics
