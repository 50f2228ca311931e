// Metrics of the k largest scores of examples that have several labels each.
#pragma once

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include "weights.hpp"

namespace slim::metrics {

/// The class of the largest score of each row of scores [n, classes], the lower one of a tie: what
/// streaming_accuracy and its like take as predictions. Throws metric_error unless rows are whole.
template <numbers P>
std::vector<int> argmax(const P& scores, std::size_t classes) {
  const auto p = span_of(scores);
  if (classes == 0 || p.size() % classes != 0)
    throw metric_error("argmax", std::to_string(p.size()) + " scores are no rows of " +
                                     std::to_string(classes) + " classes");
  std::vector<int> all;
  for (auto row = p.begin(); row != p.end(); row += std::ptrdiff_t(classes))
    all.push_back(static_cast<int>(std::max_element(row, row + std::ptrdiff_t(classes)) - row));
  return all;
}

namespace detail {

inline bool has(const std::vector<std::int64_t>& all, std::int64_t c) {
  return std::find(all.begin(), all.end(), c) != all.end();
}

/// A sum of weighted shares as numerator and denominator.
struct share {
  double above = 0, below = 0;
  void add(double a, double b) { above += a, below += b; }
};

// What a metric adds for one example: of the k best classes, the best first, and its labels. Only
// class_id counts if that is given.
struct recall_of_labels {
  static constexpr double of_nothing = std::numeric_limits<double>::quiet_NaN();
  std::optional<std::int64_t> class_id{};
  void operator()(const std::vector<std::int64_t>& best, const std::vector<std::int64_t>& labels,
                  double weight, share& sum) const {
    for (const std::int64_t label : labels)
      if (!class_id || *class_id == label) sum.add(has(best, label) ? weight : 0, weight);
  }
};
struct precision_of_best {
  static constexpr double of_nothing = std::numeric_limits<double>::quiet_NaN();
  std::optional<std::int64_t> class_id{};
  void operator()(const std::vector<std::int64_t>& best, const std::vector<std::int64_t>& labels,
                  double weight, share& sum) const {
    for (const std::int64_t c : best)
      if (!class_id || *class_id == c) sum.add(has(labels, c) ? weight : 0, weight);
  }
};
struct average_precision_of_best {
  static constexpr double of_nothing = 0;
  void operator()(const std::vector<std::int64_t>& best, const std::vector<std::int64_t>& labels,
                  double weight, share& sum) const {
    double precisions = 0, hits = 0;
    for (std::size_t i = 0; i < best.size(); ++i)
      if (has(labels, best[i])) precisions += ++hits / static_cast<double>(i + 1);
    const double most = static_cast<double>(std::min(best.size(), labels.size()));
    sum.add(weight * safe_ratio(precisions, most), weight);
  }
};

/// A metric of n examples' k best classes [n, k] and labels [n, labels an example]: classes that
/// are different from each other; a negative label is none.
template <class Add>
class ranking_metric {
 public:
  double value() const { return sum_.below == 0 ? Add::of_nothing : sum_.above / sum_.below; }
  void reset() { sum_ = {}; }

 protected:
  ranking_metric(std::string_view name, Add add) : name_(name), add_(add) {}

  /// How many examples there are; throws metric_error unless values and labels fit each other.
  template <class L>
  std::size_t rows(std::size_t values, std::size_t each, const L& labels, const weights& w) const {
    const std::size_t n = each == 0 ? 0 : values / each;
    if (n * each != values || (n == 0 ? !labels.empty() : labels.size() % n != 0))
      throw metric_error(name_, std::to_string(labels.size()) + " labels do not fit " +
                                    std::to_string(values) + " values, " + std::to_string(each) +
                                    " an example");
    w.check(name_, n);
    return n;
  }
  template <class L>
  void add(const std::vector<std::int64_t>& best, const L& labels, double weight) {
    wanted_.clear();
    for (const auto label : labels)
      if (label >= 0) wanted_.push_back(static_cast<std::int64_t>(label));
    add_(best, wanted_, weight, sum_);
  }

 private:
  std::string_view name_;
  Add add_;
  share sum_{};
  std::vector<std::int64_t> wanted_{};
};

/// With scores [n, classes], of which the k largest are the best; ties go to the lower class.
template <class Add>
class at_k : public ranking_metric<Add> {
 public:
  template <numbers P, numbers L>
  double update(const P& scores, const L& labels, const weights& w = {}) {
    const auto p = span_of(scores);
    const auto l = span_of(labels);
    const std::size_t n = this->rows(p.size(), classes_, l, w);
    std::vector<std::int64_t> best(classes_);
    w.for_each(n, [&](std::size_t row, double weight) {
      best.resize(classes_);
      std::iota(best.begin(), best.end(), 0);
      const auto score = [&](std::int64_t c) { return p[row * classes_ + std::size_t(c)]; };
      std::partial_sort(
          best.begin(), best.begin() + std::ptrdiff_t(k_), best.end(),
          [&](auto a, auto b) { return score(a) > score(b) || (score(a) == score(b) && a < b); });
      best.resize(k_);
      this->add(best, l.subspan(row * (l.size() / n), l.size() / n), weight);
    });
    return this->value();
  }

 protected:
  at_k(std::string_view name, std::size_t classes, std::size_t k, Add add)
      : ranking_metric<Add>(name, add), classes_(classes), k_(std::min(k, classes)) {}

 private:
  std::size_t classes_, k_;
};

/// With the k best classes themselves [n, k], the best first.
template <class Add>
class at_top_k : public ranking_metric<Add> {
 public:
  template <numbers P, numbers L>
  double update(const P& top_k_predictions, const L& labels, const weights& w = {}) {
    const auto p = span_of(top_k_predictions);
    const auto l = span_of(labels);
    const std::size_t n = this->rows(p.size(), k_, l, w);
    std::vector<std::int64_t> best;
    w.for_each(n, [&](std::size_t row, double weight) {
      const auto first = p.begin() + std::ptrdiff_t(row * k_);
      best.assign(first, first + std::ptrdiff_t(k_));
      this->add(best, l.subspan(row * (l.size() / n), l.size() / n), weight);
    });
    return this->value();
  }

 protected:
  at_top_k(std::string_view name, std::size_t k, Add add) : ranking_metric<Add>(name, add), k_(k) {}

 private:
  std::size_t k_;
};

}  // namespace detail

/// The share of labels that are among the k best; NaN before any. With a class_id only that class
/// counts.
struct streaming_sparse_recall_at_k : detail::at_k<detail::recall_of_labels> {
  streaming_sparse_recall_at_k(std::size_t classes, std::size_t k,
                               std::optional<std::int64_t> class_id = {})
      : at_k("sparse_recall_at_k", classes, k, {class_id}) {}
};
struct sparse_recall_at_top_k : detail::at_top_k<detail::recall_of_labels> {
  explicit sparse_recall_at_top_k(std::size_t k, std::optional<std::int64_t> class_id = {})
      : at_top_k("sparse_recall_at_top_k", k, {class_id}) {}
};

/// The share of the k best that are labels; NaN before any. With a class_id only that class counts.
struct streaming_sparse_precision_at_k : detail::at_k<detail::precision_of_best> {
  streaming_sparse_precision_at_k(std::size_t classes, std::size_t k,
                                  std::optional<std::int64_t> class_id = {})
      : at_k("sparse_precision_at_k", classes, k, {class_id}) {}
};
struct streaming_sparse_precision_at_top_k : detail::at_top_k<detail::precision_of_best> {
  explicit streaming_sparse_precision_at_top_k(std::size_t k,
                                               std::optional<std::int64_t> class_id = {})
      : at_top_k("sparse_precision_at_top_k", k, {class_id}) {}
};

/// The mean over examples of the precisions at those of the k best that are labels, divided by the
/// lesser of k and the number of labels; 0 before any: it is a mean.
struct streaming_sparse_average_precision_at_k : detail::at_k<detail::average_precision_of_best> {
  streaming_sparse_average_precision_at_k(std::size_t classes, std::size_t k)
      : at_k("sparse_average_precision_at_k", classes, k, {}) {}
};
struct streaming_sparse_average_precision_at_top_k
    : detail::at_top_k<detail::average_precision_of_best> {
  explicit streaming_sparse_average_precision_at_top_k(std::size_t k)
      : at_top_k("sparse_average_precision_at_top_k", k, {}) {}
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
