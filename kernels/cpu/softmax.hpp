// The fused loss on the CPU: like its Eigen expression, with the workspace planned beforehand.
#pragma once

#include "../eigen/softmax.hpp"
#include "contraction.hpp"

namespace slim {
namespace cpu {

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
    const T top = *std::max_element(x, x + k);
    T sum = 0, entropy = 0;
    for (long j = 0; j < k; ++j) sum += std::exp(x[j] - top);
    const T norm = top + std::log(sum);
    for (long j = 0; j < k; ++j) {
      log_p[j] = x[j] - norm;
      const T wanted = target(j);
      if (wanted != T(0)) entropy -= wanted * log_p[j];
    }
    loss += weight(r) * entropy;
    if (call.outputs() < 2) continue;
    T* gradient = call.out(1).as<T>() + r * k;
    for (long j = 0; j < k; ++j) gradient[j] = (std::exp(log_p[j]) - target(j)) * weight(r);
  }
  *call.out().as<T>() = loss;
}

}  // namespace cpu

template <class T>
struct kernel_of<op::softmax_cross_entropy, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::choice<T>("rows", &cpu::softmax_cross_entropy<T>,
                          static_cast<std::size_t>(g.input_shape(n, 0).back()));
  }
};

}  // namespace slim
