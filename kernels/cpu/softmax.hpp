// Softmax and cross entropy on the CPU: like their Eigen expressions, but row by row, without the
// temporary memory that those take.
#pragma once

#include <algorithm>
#include <cmath>

#include "../eigen/softmax.hpp"
#include "contraction.hpp"

namespace slim {
namespace cpu {

/// f(r, r * k, k) for every row of the last axis, shared by threads.
template <class F>
void for_each_row(const kernel_call& call, F f) {
  const long k = call.in(0).dims.back();
  reference::in_ranges(call.device(), call.in(0).dims.leading(), 1,
                       [&](long r, long) { f(r, r * k, k); });
}

template <class T>
void softmax(const kernel_call& call) {
  for_each_row(call, [&](long, long at, long k) {
    const T* x = call.in(0).as<const T>() + at;
    T *y = call.out().as<T>() + at, sum = 0;
    const T top = *std::max_element(x, x + k);
    for (long j = 0; j < k; ++j) sum += y[j] = std::exp(x[j] - top);
    for (long j = 0; j < k; ++j) y[j] /= sum;
  });
}
template <class T>
void log_softmax(const kernel_call& call) {
  for_each_row(call, [&](long, long at, long k) {
    const T* x = call.in(0).as<const T>() + at;
    T *y = call.out().as<T>() + at, sum = 0;
    const T top = *std::max_element(x, x + k);
    for (long j = 0; j < k; ++j) sum += std::exp(x[j] - top);
    const T norm = top + std::log(sum);
    for (long j = 0; j < k; ++j) y[j] = x[j] - norm;
  });
}
/// (y, dy) -> (dy - sum(dy y)) y.
template <class T>
void softmax_backward(const kernel_call& call) {
  for_each_row(call, [&](long, long at, long k) {
    const T *y = call.in(0).as<const T>() + at, *dy = call.in(1).as<const T>() + at;
    T *dx = call.out().as<T>() + at, sum = 0;
    for (long j = 0; j < k; ++j) sum += y[j] * dy[j];
    for (long j = 0; j < k; ++j) dx[j] = (dy[j] - sum) * y[j];
  });
}
/// (y, dy) -> dy - exp(y) sum(dy).
template <class T>
void log_softmax_backward(const kernel_call& call) {
  for_each_row(call, [&](long, long at, long k) {
    const T *y = call.in(0).as<const T>() + at, *dy = call.in(1).as<const T>() + at;
    T *dx = call.out().as<T>() + at, sum = 0;
    for (long j = 0; j < k; ++j) sum += dy[j];
    for (long j = 0; j < k; ++j) dx[j] = dy[j] - std::exp(y[j]) * sum;
  });
}
template <class T>
void cross_entropy_rows(const kernel_call& call) {
  const tensor labels = call.in(1);
  for_each_row(call, [&](long r, long at, long k) {
    const reference::target_row<T> target{labels, r, k, call.a().number};
    const T* log_p = call.in(0).as<const T>() + at;
    T entropy = 0;
    for (long j = 0; j < k; ++j)
      if (const T wanted = target(j); wanted != T(0)) entropy -= wanted * log_p[j];
    call.out().as<T>()[r] = entropy;
  });
}
template <class T>
void cross_entropy_rows_backward(const kernel_call& call) {
  const tensor labels = call.in(1);
  for_each_row(call, [&](long r, long at, long k) {
    const reference::target_row<T> target{labels, r, k, call.a().number};
    const T slope = -call.in(2).as<const T>()[r];
    T* dx = call.out().as<T>() + at;
    for (long j = 0; j < k; ++j) dx[j] = target(j) * slope;
  });
}

/// (logits [n, k], labels[, weights]) -> loss[, gradient]: rows one after another, so that the sum
/// has one order.
template <class T>
void softmax_cross_entropy(const kernel_call& call) {
  const tensor logits = call.in(0), labels = call.in(1);
  const long n = logits.dims[0], k = logits.dims[1];
  const reference::row_weights<T> weight(call.inputs() > 2 ? call.in(2).as<const T>() : nullptr,
                                         call.a().second, n);
  T* log_p = call.workspace<T>();
  T loss = 0;
  for (long r = 0; r < n; ++r) {
    const T* x = logits.as<const T>() + r * k;
    const reference::target_row<T> target{labels, r, k, call.a().number};
    const T entropy = cross_entropy_row(x, k, target, log_p);
    loss += weight(r) * entropy;
    if (call.outputs() < 2) continue;
    T* gradient = call.out(1).as<T>() + r * k;
    for (long j = 0; j < k; ++j) gradient[j] = (std::exp(log_p[j]) - target(j)) * weight(r);
  }
  *call.out().as<T>() = loss;
}

}  // namespace cpu

template <class T>
struct kernel_of<op::softmax, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"rows", &cpu::softmax<T>, 0};
  }
};
template <class T>
struct kernel_of<op::log_softmax, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"rows", &cpu::log_softmax<T>, 0};
  }
};
template <class T>
struct kernel_of<op::softmax_backward, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"rows", &cpu::softmax_backward<T>, 0};
  }
};
template <class T>
struct kernel_of<op::log_softmax_backward, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"rows", &cpu::log_softmax_backward<T>, 0};
  }
};
template <class T>
struct kernel_of<op::cross_entropy_rows, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"rows", &cpu::cross_entropy_rows<T>, 0};
  }
};
template <class T>
struct kernel_of<op::cross_entropy_rows_backward, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"rows", &cpu::cross_entropy_rows_backward<T>, 0};
  }
};
template <class T>
struct kernel_of<op::softmax_cross_entropy, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::choice<T>("rows", &cpu::softmax_cross_entropy<T>,
                          static_cast<std::size_t>(g.input_shape(n, 0).back()));
  }
};

}  // namespace slim
