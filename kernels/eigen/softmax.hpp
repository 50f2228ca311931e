// Reference kernels of softmax and cross entropy, over rows [n, k].
#pragma once

#include <slim/losses/functions.hpp>
#include <slim/losses/weighting.hpp>
#include <slim/op/softmax.hpp>

#include "support.hpp"

namespace slim {
namespace reference {

/// x - its row's maximum - log(sum(exp)) of one row: log softmax.
template <class T, class Row>
void log_softmax_row(const Row& x, map<T, 1> y) {
  Eigen::Tensor<T, 0> top, sum;
  top.device(on_this_thread) = x.maximum();
  y.device(on_this_thread) = x - x.constant(top());
  sum.device(on_this_thread) = y.exp().sum();
  y.device(on_this_thread) = y - y.constant(std::log(sum()));
}

template <class T>
void log_softmax(const kernel_call& call, bool exponentiate) {
  const long k = call.in(0).dims.back();
  const T* x = call.in(0).as<const T>();
  T* y = call.out().as<T>();
  in_ranges(call.device(), call.in(0).dims.leading(), 1, [&](long r, long) {
    auto out = row(y, r * k, (r + 1) * k);
    log_softmax_row<T>(row(x, r * k, (r + 1) * k), out);
    if (exponentiate) out.device(on_this_thread) = out.exp();
  });
}

/// The target of row r as an expression's values: labels, smoothed; or one-hot.
template <class T>
struct target_row {
  const tensor& labels;
  long r, k;
  double smoothing;

  T operator()(long j) const {
    if (labels.type == element::int32) return T(labels.as<const int>()[r] == j);
    return smoothed(labels.as<const T>()[r * k + j], smoothing, k);
  }
};
template <class T>
auto targets(const tensor& labels, long r, long k, double smoothing, const const_map<T, 1>& like) {
  return like.generate([t = target_row<T>{labels, r, k, smoothing}](
                           const Eigen::array<index, 1>& at) { return t(at[0]); });
}

/// The weight of each of n rows divided by the number of non-zero ones.
template <class T>
struct row_weights {
  loss_weights<T> weight;
  double divisor;

  row_weights(const T* weights, double scale, long n)
      : weight{weights, scale, 1}, divisor(weight.present(0, n)) {}
  T operator()(long r) const { return weight.slope(r, divisor); }
};

}  // namespace reference

template <class T>
struct kernel_of<op::softmax, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) { reference::log_softmax<T>(call, true); }
};
template <class T>
struct kernel_of<op::log_softmax, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) { reference::log_softmax<T>(call, false); }
};

template <class T>
struct kernel_of<op::softmax_backward, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const long k = call.in(0).dims.back();
    const T *y = call.in(0).as<const T>(), *dy = call.in(1).as<const T>();
    T* dx = call.out().as<T>();
    in_ranges(call.device(), call.in(0).dims.leading(), 1, [&](long r, long) {
      const auto value = row(y, r * k, (r + 1) * k), gradient = row(dy, r * k, (r + 1) * k);
      Eigen::Tensor<T, 0> sum;
      sum.device(on_this_thread) = (value * gradient).sum();
      row(dx, r * k, (r + 1) * k).device(on_this_thread) =
          (gradient - gradient.constant(sum())) * value;
    });
  }
};
template <class T>
struct kernel_of<op::log_softmax_backward, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const long k = call.in(0).dims.back();
    const T *y = call.in(0).as<const T>(), *dy = call.in(1).as<const T>();
    T* dx = call.out().as<T>();
    in_ranges(call.device(), call.in(0).dims.leading(), 1, [&](long r, long) {
      const auto value = row(y, r * k, (r + 1) * k), gradient = row(dy, r * k, (r + 1) * k);
      Eigen::Tensor<T, 0> sum;
      sum.device(on_this_thread) = gradient.sum();
      row(dx, r * k, (r + 1) * k).device(on_this_thread) =
          gradient - value.exp() * value.constant(sum());
    });
  }
};

template <class T>
struct kernel_of<op::cross_entropy_rows, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const tensor labels = call.in(1);
    const long k = call.in(0).dims.back();
    const T* log_p = call.in(0).as<const T>();
    T* loss = call.out().as<T>();
    in_ranges(call.device(), call.in(0).dims[0], 1, [&](long r, long) {
      const auto p = row(log_p, r * k, (r + 1) * k);
      Eigen::Tensor<T, 0> sum;
      sum.device(on_this_thread) = (targets<T>(labels, r, k, call.a().number, p) * p).sum();
      loss[r] = -sum();
    });
  }
};
template <class T>
struct kernel_of<op::cross_entropy_rows_backward, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const tensor labels = call.in(1);
    const long k = call.in(0).dims.back();
    const T *log_p = call.in(0).as<const T>(), *drows = call.in(2).as<const T>();
    T* dx = call.out().as<T>();
    in_ranges(call.device(), call.in(0).dims[0], 1, [&](long r, long) {
      const auto p = row(log_p, r * k, (r + 1) * k);
      row(dx, r * k, (r + 1) * k).device(on_this_thread) =
          targets<T>(labels, r, k, call.a().number, p) * p.constant(-drows[r]);
    });
  }
};

template <class T>
struct kernel_of<op::scale, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const T factor = *call.in(1).as<const T>();
    const T* x = call.in(0).as<const T>();
    T* y = call.out().as<T>();
    in_ranges(call.device(), call.out().dims.count(), elements_a_shard, [&](long a, long b) {
      row(y, a, b).device(on_this_thread) = row(x, a, b) * row(x, a, b).constant(factor);
    });
  }
};

/// (logits, labels[, weights]) -> loss[, gradient]: one row at a time; the loss's rows are summed
/// in order.
template <class T>
struct kernel_of<op::softmax_cross_entropy, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const tensor logits = call.in(0), labels = call.in(1);
    const long n = logits.dims[0], k = logits.dims[1];
    const row_weights<T> weight(call.inputs() > 2 ? call.in(2).as<const T>() : nullptr,
                                call.a().second, n);
    Eigen::Tensor<T, 1> log_p(k);
    T loss = 0;
    for (long r = 0; r < n; ++r) {
      const auto x = row(logits.as<const T>(), r * k, (r + 1) * k);
      log_softmax_row<T>(x, map<T, 1>(log_p.data(), k));
      const auto wanted = targets<T>(labels, r, k, call.a().number, x);
      Eigen::Tensor<T, 0> sum;
      sum.device(on_this_thread) = (wanted * log_p).sum();
      loss -= weight(r) * sum();
      if (call.outputs() < 2) continue;
      row(call.out(1).template as<T>(), r * k, (r + 1) * k).device(on_this_thread) =
          (log_p.exp() - wanted) * log_p.constant(weight(r));
    }
    *call.out().as<T>() = loss;
  }
};

}  // namespace slim
