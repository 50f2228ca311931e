// Metrics of the k largest scores of examples that have several labels each.
#pragma once

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include "weights.hpp"

namespace slim::metrics {

/// What the three metrics share: scores [n, classes] and labels [n, labels an example], classes
/// that are different from each other; a negative label is none. With a class_id only that class
/// counts.
class top_k_metric {
 public:
  double value() const {
    return below_ == 0 ? std::numeric_limits<double>::quiet_NaN() : above_ / below_;
  }
  void reset() { above_ = below_ = 0; }

 protected:
  top_k_metric(std::string_view name, std::size_t classes, std::size_t k,
               std::optional<std::int64_t> class_id)
      : name_(name), classes_(classes), k_(std::min(k, classes)), class_id_(class_id) {}

  /// Adds weight * f(the k best classes, the best first; the labels) to the ratio's two parts.
  template <numbers P, numbers L, class F>
  double accumulate(const P& scores, const L& labels, const weights& w, F f) {
    const auto p = span_of(scores);
    const auto l = span_of(labels);
    const std::size_t n = p.size() / classes_;
    if (n * classes_ != p.size() || (n == 0 ? !l.empty() : l.size() % n != 0))
      throw metric_error(name_, std::to_string(l.size()) + " labels do not fit " +
                                    std::to_string(p.size()) + " scores of " +
                                    std::to_string(classes_) + " classes");
    w.check(name_, n);
    std::vector<std::int64_t> order(classes_), best, wanted;
    w.for_each(n, [&](std::size_t row, double weight) {
      const auto score = [&](std::int64_t c) { return p[row * classes_ + std::size_t(c)]; };
      std::iota(order.begin(), order.end(), 0);
      std::partial_sort(
          order.begin(), order.begin() + std::ptrdiff_t(k_), order.end(),
          [&](auto a, auto b) { return score(a) > score(b) || (score(a) == score(b) && a < b); });
      best.assign(order.begin(), order.begin() + std::ptrdiff_t(k_));
      wanted.clear();
      const std::size_t each = l.size() / n;
      for (std::size_t i = row * each; i < (row + 1) * each; ++i)
        if (const auto label = static_cast<std::int64_t>(l[i]); label >= 0 && counts(label))
          wanted.push_back(label);
      f(best, wanted, weight);
    });
    return value();
  }
  bool counts(std::int64_t c) const { return !class_id_ || *class_id_ == c; }
  void add(double above, double below) { above_ += above, below_ += below; }
  std::size_t k() const { return k_; }
  double below() const { return below_; }

  static bool has(const std::vector<std::int64_t>& all, std::int64_t c) {
    return std::find(all.begin(), all.end(), c) != all.end();
  }

 private:
  std::string_view name_;
  std::size_t classes_, k_;
  std::optional<std::int64_t> class_id_;
  double above_ = 0, below_ = 0;
};

/// The share of labels that are among the k best; NaN before any.
class streaming_sparse_recall_at_k : public top_k_metric {
 public:
  streaming_sparse_recall_at_k(std::size_t classes, std::size_t k,
                               std::optional<std::int64_t> class_id = {})
      : top_k_metric("sparse_recall_at_k", classes, k, class_id) {}
  template <numbers P, numbers L>
  double update(const P& scores, const L& labels, const weights& w = {}) {
    return accumulate(scores, labels, w, [&](const auto& best, const auto& wanted, double weight) {
      for (const std::int64_t label : wanted) add(has(best, label) ? weight : 0, weight);
    });
  }
};

/// The share of the k best that are labels; NaN before any.
class streaming_sparse_precision_at_k : public top_k_metric {
 public:
  streaming_sparse_precision_at_k(std::size_t classes, std::size_t k,
                                  std::optional<std::int64_t> class_id = {})
      : top_k_metric("sparse_precision_at_k", classes, k, class_id) {}
  template <numbers P, numbers L>
  double update(const P& scores, const L& labels, const weights& w = {}) {
    return accumulate(scores, labels, w, [&](const auto& best, const auto& wanted, double weight) {
      for (const std::int64_t c : best)
        if (counts(c)) add(has(wanted, c) ? weight : 0, weight);
    });
  }
};

/// The mean over examples of the precisions at those of the k best that are labels, divided by the
/// lesser of k and the number of labels.
class streaming_sparse_average_precision_at_k : public top_k_metric {
 public:
  streaming_sparse_average_precision_at_k(std::size_t classes, std::size_t k)
      : top_k_metric("sparse_average_precision_at_k", classes, k, {}) {}
  template <numbers P, numbers L>
  double update(const P& scores, const L& labels, const weights& w = {}) {
    return accumulate(scores, labels, w, [&](const auto& best, const auto& wanted, double weight) {
      double sum = 0, hits = 0;
      for (std::size_t i = 0; i < best.size(); ++i)
        if (has(wanted, best[i])) sum += ++hits / static_cast<double>(i + 1);
      const double most = static_cast<double>(std::min(k(), wanted.size()));
      add(weight * safe_ratio(sum, most), weight);
    });
  }
  /// 0 before any: it is a mean.
  double value() const { return below() == 0 ? 0 : top_k_metric::value(); }
};

/// All values so far, the first max_size of them if that is given.
template <class T>
class streaming_concat {
 public:
  explicit streaming_concat(std::optional<std::size_t> max_size = {}) : max_size_(max_size) {}
  /// Returns how many there are.
  template <numbers Values>
  std::size_t update(const Values& values) {
    const auto more = span_of(values);
    const std::size_t room = max_size_ ? *max_size_ - all_.size() : more.size();
    all_.insert(all_.end(), more.begin(),
                more.begin() + std::ptrdiff_t(std::min(room, more.size())));
    return all_.size();
  }
  const std::vector<T>& value() const { return all_; }
  void reset() { all_.clear(); }

 private:
  std::optional<std::size_t> max_size_;
  std::vector<T> all_;
};

}  // namespace slim::metrics
