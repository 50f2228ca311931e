// Losses without a network: of predictions and labels in memory, as numbers of any contiguous range
// (std::vector, std::span, a model's tensor_view).
//
//   float loss = slim::losses::mean_squared_error(predictions, labels);
//   slim::losses::log_loss(predictions, labels, weights, gradient);
//
// Each returns TF-Slim's weighted mean and, where `gradient` is not empty, writes the derivative by
// each prediction there. Weights are a constant, or a range of one weight for every block of as
// many losses: one an example, or one a loss. Tensors are row-major. Sizes that do not fit throw
// slim::error, which names them; nothing is written then.
#pragma once

#include <ranges>
#include <span>
#include <string>
#include <vector>

#include "../error.hpp"
#include "../shape.hpp"
#include "functions.hpp"
#include "weighting.hpp"

namespace slim::losses {

/// A range of floats or doubles in one piece of memory.
template <class R>
concept numbers = std::ranges::contiguous_range<R> && std::ranges::sized_range<R> &&
    std::floating_point<std::ranges::range_value_t<R>>;
template <numbers R>
using value_of = std::ranges::range_value_t<R>;

/// A constant, a range, or their product.
template <class T>
class weights {
 public:
  weights(double constant = 1) : constant_(constant) {}
  template <numbers R>
  requires std::same_as<value_of<R>, T> weights(const R& values, double constant = 1)
      : constant_(constant),
        values_(std::ranges::data(values), std::ranges::size(values)),
        given_(true) {}

  /// The weights of `count` losses. Throws slim::error if they are not whole blocks.
  loss_weights<T> of(std::string_view loss, long count) const {
    if (!given_) return {nullptr, constant_, count > 0 ? count : 1};
    const long size = static_cast<long>(values_.size());
    if (size == 0 || count % size != 0)
      throw error(std::string(loss) + ": " + std::to_string(size) + " weights do not fit " +
                  std::to_string(count) + " losses");
    return {values_.data(), constant_, count / size};
  }

 private:
  double constant_;
  std::span<const T> values_;
  bool given_ = false;
};

namespace detail {

template <class A, class B>
void require_equal(std::string_view loss, std::string_view a, A size, std::string_view b, B other) {
  if (static_cast<long>(size) == static_cast<long>(other)) return;
  throw error(std::string(loss) + ": " + std::to_string(size) + " " + std::string(a) + ", but " +
              std::to_string(other) + " " + std::string(b));
}

/// The sizes of labels and, unless empty, gradient.
template <class T>
void require_fit(std::string_view loss, std::span<const T> p, std::span<const T> y,
                 std::span<T> gradient) {
  require_equal(loss, "predictions", p.size(), "labels", y.size());
  if (!gradient.empty())
    require_equal(loss, "predictions", p.size(), "elements of the gradient", gradient.size());
}
inline void require_shape(std::string_view loss, std::size_t size, const shape& dims) {
  require_equal(loss, "predictions", size, "elements of the shape", dims.count());
}
inline void require_good(std::string_view loss, std::string_view fault) {
  if (!fault.empty()) throw error(std::string(loss) + ": " + std::string(fault));
}

template <numbers R>
std::span<const value_of<R>> span_of(const R& r) {
  return {std::ranges::data(r), std::ranges::size(r)};
}

/// The mean of `count` losses, loss(i); then slope(i, d mean / d loss(i)) for each, if wanted.
template <class T, class Loss, class Slope>
T mean(const loss_weights<T>& weight, long count, bool slopes, Loss loss, Slope slope) {
  partial_mean all{0, weight.present(0, count)};
  for_parts_of_rows(0, count, weight.inner, [&](long r, long begin, long end) {
    double sum = 0;
    for (long i = begin; i < end; ++i) sum += static_cast<double>(loss(i));
    all.sum += weight(r) * sum;
  });
  if (slopes)
    for_parts_of_rows(0, count, weight.inner, [&](long r, long begin, long end) {
      for (long i = begin; i < end; ++i) slope(i, weight.slope(r, all.present));
    });
  return static_cast<T>(all.mean());
}

template <class F, class T>
T elementwise(const F& f, std::span<const T> p, std::span<const T> y, const weights<T>& w,
              std::span<T> gradient) {
  require_good(F::name, fault_of(f));
  require_fit(F::name, p, y, gradient);
  const long count = static_cast<long>(p.size());
  return mean(
      w.of(F::name, count), count, !gradient.empty(),
      [&, x = p.data(), label = y.data()](long i) { return f(x[i], label[i]); },
      [&, x = p.data(), label = y.data(), g = gradient.data()](long i, T slope) {
        g[i] = slope * f.gradient(x[i], label[i]);
      });
}

/// Both cross entropies; target(r) is row r's function of a class. The gradient's rows hold log p
/// until they hold the gradient.
template <class T, class Target>
T cross_entropy(std::string_view name, std::span<const T> logits, const shape& dims, Target target,
                const weights<T>& w, std::span<T> gradient) {
  const long n = dims[0], k = dims[1];
  std::vector<T> spare(static_cast<std::size_t>(k));
  const bool slopes = !gradient.empty();
  const auto log_p = [&](long r) { return slopes ? gradient.data() + r * k : spare.data(); };
  return mean(
      w.of(name, n), n, slopes,
      [&](long r) { return cross_entropy_row(logits.data() + r * k, k, target(r), log_p(r)); },
      [&](long r, T slope) {
        const auto wanted = target(r);
        T* row = log_p(r);
        for (long j = 0; j < k; ++j) row[j] = (std::exp(row[j]) - wanted(j)) * slope;
      });
}
inline void require_matrix(std::string_view name, std::size_t size, const shape& dims) {
  if (dims.rank != 2)
    throw error(std::string(name) + ": logits are [rows, classes], not of rank " +
                std::to_string(dims.rank));
  require_shape(name, size, dims);
}
inline void require_classes(std::string_view name, std::span<const int> labels, int classes) {
  for (std::size_t i = 0; i < labels.size(); ++i)
    if (labels[i] < 0 || labels[i] >= classes)
      throw error(std::string(name) + ": labels[" + std::to_string(i) + "] = " +
                  std::to_string(labels[i]) + " is not in [0, " + std::to_string(classes) + ")");
}

}  // namespace detail

/// f(p, y) of every element, by an f such as those of losses/functions.hpp.
template <auto F, numbers P>
value_of<P> elementwise(const P& predictions, std::span<const value_of<P>> labels,
                        const weights<value_of<P>>& w = {}, std::span<value_of<P>> gradient = {}) {
  return detail::elementwise(F, detail::span_of(predictions), labels, w, gradient);
}
template <numbers P>
value_of<P> absolute_difference(const P& predictions, std::span<const value_of<P>> labels,
                                const weights<value_of<P>>& w = {},
                                std::span<value_of<P>> gradient = {}) {
  return elementwise<absolute_difference_fn{}>(predictions, labels, w, gradient);
}
template <numbers P>
value_of<P> mean_squared_error(const P& predictions, std::span<const value_of<P>> labels,
                               const weights<value_of<P>>& w = {},
                               std::span<value_of<P>> gradient = {}) {
  return elementwise<squared_error_fn{}>(predictions, labels, w, gradient);
}
template <numbers P>
value_of<P> log_loss(const P& predictions, std::span<const value_of<P>> labels,
                     const weights<value_of<P>>& w = {}, std::span<value_of<P>> gradient = {},
                     double epsilon = 1e-7) {
  return detail::elementwise(log_loss_fn{epsilon}, detail::span_of(predictions), labels, w,
                             gradient);
}
template <numbers P>
value_of<P> sigmoid_cross_entropy(const P& logits, std::span<const value_of<P>> labels,
                                  const weights<value_of<P>>& w = {},
                                  std::span<value_of<P>> gradient = {},
                                  double label_smoothing = 0) {
  return detail::elementwise(sigmoid_cross_entropy_fn{label_smoothing}, detail::span_of(logits),
                             labels, w, gradient);
}

/// hinge_loss of every element, unreduced, written to `losses` of the logits' size; `gradient` gets
/// the derivative of each by its logit.
template <numbers P>
void hinge_loss(const P& logits, std::span<const value_of<P>> labels, std::span<value_of<P>> losses,
                std::span<value_of<P>> gradient = {}) {
  constexpr hinge_fn f;
  const auto x = detail::span_of(logits);
  detail::require_fit(f.name, x, labels, gradient);
  detail::require_equal(f.name, "predictions", x.size(), "losses", losses.size());
  for (std::size_t i = 0; i < x.size(); ++i) losses[i] = f(x[i], labels[i]);
  for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] = f.gradient(x[i], labels[i]);
}

/// The weighted mean of losses; `gradient` gets its derivative by each of them.
template <numbers L>
value_of<L> compute_weighted_loss(const L& losses, const weights<value_of<L>>& w = {},
                                  std::span<value_of<L>> gradient = {}) {
  constexpr std::string_view name = "compute_weighted_loss";
  const auto given = detail::span_of(losses);
  if (!gradient.empty())
    detail::require_equal(name, "losses", given.size(), "elements of the gradient",
                          gradient.size());
  const long count = static_cast<long>(given.size());
  return detail::mean(
      w.of(name, count), count, !gradient.empty(), [x = given.data()](long i) { return x[i]; },
      [g = gradient.data()](long i, value_of<L> slope) { g[i] = slope; });
}

/// Cross entropy of logits and distributions over classes, both of shape `dims` = [rows, classes];
/// weights are one a row.
template <numbers P>
value_of<P> softmax_cross_entropy(const P& logits, std::span<const value_of<P>> labels,
                                  const shape& dims, const weights<value_of<P>>& w = {},
                                  std::span<value_of<P>> gradient = {},
                                  double label_smoothing = 0) {
  constexpr std::string_view name = "softmax_cross_entropy";
  const auto x = detail::span_of(logits);
  detail::require_good(name, sigmoid_cross_entropy_fn{label_smoothing}.fault());
  detail::require_matrix(name, x.size(), dims);
  detail::require_fit(name, x, labels, gradient);
  const long k = dims[1];
  return detail::cross_entropy(
      name, x, dims,
      [&](long r) {
        return
            [&, y = labels.data() + r * k](long j) { return smoothed(y[j], label_smoothing, k); };
      },
      w, gradient);
}
/// Cross entropy of logits of shape `dims` = [rows, classes] and a class number for each row.
template <numbers P>
value_of<P> sparse_softmax_cross_entropy(const P& logits, std::span<const int> labels,
                                         const shape& dims, const weights<value_of<P>>& w = {},
                                         std::span<value_of<P>> gradient = {}) {
  constexpr std::string_view name = "sparse_softmax_cross_entropy";
  const auto x = detail::span_of(logits);
  detail::require_matrix(name, x.size(), dims);
  detail::require_equal(name, "rows", dims[0], "labels", labels.size());
  detail::require_classes(name, labels, dims[1]);
  if (!gradient.empty())
    detail::require_equal(name, "predictions", x.size(), "elements of the gradient",
                          gradient.size());
  return detail::cross_entropy(
      name, x, dims,
      [&](long r) {
        const int wanted = labels[static_cast<std::size_t>(r)];
        return [wanted](long j) { return static_cast<value_of<P>>(j == wanted); };
      },
      w, gradient);
}

/// 1 - sum(p y) over an axis of `dims`, the shape of both; a negative axis counts from the end.
/// Nothing is normalised. Weights go by the shape without that axis.
template <numbers P>
value_of<P> cosine_distance(const P& predictions, std::span<const value_of<P>> labels,
                            const shape& dims, int axis, const weights<value_of<P>>& w = {},
                            std::span<value_of<P>> gradient = {}) {
  constexpr std::string_view name = "cosine_distance";
  using T = value_of<P>;
  const auto p = detail::span_of(predictions);
  detail::require_shape(name, p.size(), dims);
  detail::require_fit(name, p, labels, gradient);
  const int a = axis < 0 ? axis + dims.rank : axis;
  if (a < 0 || a >= dims.rank)
    throw error(std::string(name) + ": there is no axis " + std::to_string(axis) +
                " in a shape of rank " + std::to_string(dims.rank));
  long inner = 1;
  for (int i = a + 1; i < dims.rank; ++i) inner *= dims[i];
  const long extent = dims[a], count = dims.count() / extent;
  const auto at = [=](long i, long j) {
    return static_cast<std::size_t>((i / inner * extent + j) * inner + i % inner);
  };
  return detail::mean(
      w.of(name, count), count, !gradient.empty(),
      [&](long i) {
        T sum = 0;
        for (long j = 0; j < extent; ++j) sum += p[at(i, j)] * labels[at(i, j)];
        return 1 - sum;
      },
      [&](long i, T slope) {
        for (long j = 0; j < extent; ++j) gradient[at(i, j)] = -slope * labels[at(i, j)];
      });
}

/// mean_pairwise_squared_error of `examples` examples, with a weight each: their weighted sum.
template <numbers P>
value_of<P> mean_pairwise_squared_error(const P& predictions, std::span<const value_of<P>> labels,
                                        int examples, const weights<value_of<P>>& w = {},
                                        std::span<value_of<P>> gradient = {}) {
  constexpr std::string_view name = "mean_pairwise_squared_error";
  using T = value_of<P>;
  const auto p = detail::span_of(predictions);
  detail::require_fit(name, p, labels, gradient);
  if (examples < 1 || p.size() % static_cast<std::size_t>(examples) != 0)
    throw error(std::string(name) + ": " + std::to_string(p.size()) +
                " predictions are not whole examples, " + std::to_string(examples) + " of them");
  const loss_weights<T> weight = w.of(name, examples);
  const std::size_t m = p.size() / static_cast<std::size_t>(examples);
  double total = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(examples); ++i) {
    const auto x = p.subspan(i * m, m), y = labels.subspan(i * m, m);
    const double factor = weight(static_cast<long>(i) / weight.inner);
    total += factor * pairwise_squared_error(x.data(), y.data(), static_cast<long>(m),
                                             gradient.empty() ? nullptr : &gradient[i * m],
                                             static_cast<T>(factor));
  }
  return static_cast<T>(total);
}

}  // namespace slim::losses
