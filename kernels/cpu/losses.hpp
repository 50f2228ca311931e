// Losses on the CPU: one pass over memory and no temporary tensors, a register at a time where the
// function takes registers.
#pragma once

#include <slim/losses/functions.hpp>

#include "../eigen/losses.hpp"
#include "elementwise.hpp"

namespace slim {
namespace cpu {

/// Sums of a register's worth of partial sums over a few thousand elements, then in double.
struct loss_sums {
  /// Of losses, each times its weight.
  template <class T>
  static double of(const T* losses, const T* weights, long first, long last) {
    return in_blocks<T>(
        first, last, [&](long i) { return vec<T>::loadu(losses + i) * vec<T>::loadu(weights + i); },
        [&](long i) { return static_cast<double>(losses[i]) * static_cast<double>(weights[i]); });
  }
  template <class T>
  static double of(const T* losses, long first, long last) {
    return in_blocks<T>(
        first, last, [&](long i) { return vec<T>::loadu(losses + i); },
        [&](long i) { return static_cast<double>(losses[i]); });
  }

 private:
  static constexpr long block = 4096;

  template <class T, class Registers, class Single>
  static double in_blocks(long first, long last, Registers registers, Single single) {
    double sum = 0;
    for (long end; first < last; first = end) {
      end = std::min(first + block, last);
      vec<T> sums = vec<T>::zero();
      for (; first + width<T> <= end; first += width<T>) sums += registers(first);
      sum += static_cast<double>(sums.sum());
      for (; first < end; ++first) sum += single(first);
    }
    return sum;
  }
};

/// f of two registers, element by element if it takes only single numbers.
template <class T, class F>
vec<T> on_registers(F f, vec<T> a, vec<T> b) {
  if constexpr (requires { f(a, b); }) {
    return f(a, b);
  } else {
    alignas(64) T buffer[width<T>], other[width<T>];
    a.store(buffer);
    b.store(other);
    for (int i = 0; i < width<T>; ++i) buffer[i] = f(buffer[i], other[i]);
    return vec<T>::load(buffer);
  }
}

template <class F, class T>
void elementwise_loss(const kernel_call& call) {
  const auto f = [](auto p, auto y) -> decltype(F::value(p, y)) { return F::value(p, y); };
  for_all(call, call.in(0).as<const T>(), call.in(1).as<const T>(), call.out().as<T>(),
          [&](vec<T> p, vec<T> y) { return on_registers<T>(f, p, y); });
}

/// f's derivative by predictions or labels.
template <class F, op::wrt By>
struct slope_of {
  template <class V>
  auto operator()(V p, V y) const -> decltype(F::value.gradient(p, y)) {
    return F::value.gradient(p, y);
  }
};
template <class F>
struct slope_of<F, op::wrt::labels> {
  template <class V>
  auto operator()(V p, V y) const -> decltype(F::value.label_gradient(p, y)) {
    return F::value.label_gradient(p, y);
  }
};
template <class F, op::wrt By, class T>
void elementwise_loss_backward(const kernel_call& call) {
  const T *p = call.in(0).as<const T>(), *y = call.in(1).as<const T>();
  const T* dlosses = call.in(2).as<const T>();
  T* gradient = call.out().as<T>();
  reference::in_ranges(call.device(), call.out().dims.count(), reference::elements_a_shard,
                       [&](long first, long last) {
                         for_each_vec<T>(static_cast<int>(last - first), [&](int i, int n) {
                           const long at = first + i;
                           const vec<T> slope = on_registers<T>(
                               slope_of<F, By>(), load_some(p + at, n), load_some(y + at, n));
                           store_some(slope * load_some(dlosses + at, n), gradient + at, n);
                         });
                       });
}

/// The products along the axis, inner elements side by side.
template <class T>
void cosine_distance(const kernel_call& call) {
  const reference::around_axis a(call.in(0).dims, call.a().integer);
  const T *p = call.in(0).as<const T>(), *y = call.in(1).as<const T>();
  T* losses = call.out().as<T>();
  reference::in_ranges(call.device(), a.outer, a.outer_a_shard(), [&](long first, long last) {
    for (long o = first; o < last; ++o) {
      T* distances = losses + o * a.inner;
      std::fill_n(distances, a.inner, T(1));
      for (long j = 0, at = o * a.each(); j < a.extent; ++j)
        for (long i = 0; i < a.inner; ++i, ++at) distances[i] -= p[at] * y[at];
    }
  });
}
template <class T>
void cosine_distance_backward(const kernel_call& call) {
  const reference::around_axis a(call.out().dims, call.a().integer);
  const T *factor = call.in(0).as<const T>(), *dlosses = call.in(1).as<const T>();
  T* dx = call.out().as<T>();
  reference::in_ranges(call.device(), a.outer, a.outer_a_shard(), [&](long first, long last) {
    for (long o = first; o < last; ++o)
      for (long j = 0, at = o * a.each(); j < a.extent; ++j)
        for (long i = 0; i < a.inner; ++i, ++at) dx[at] = -factor[at] * dlosses[o * a.inner + i];
  });
}

template <class T>
void pairwise_squared_error(const kernel_call& call) {
  const long n = call.out().dims[0], m = call.in(0).dims.count() / n;
  reference::in_ranges(call.device(), n, 1, [&](long i, long) {
    call.out().as<T>()[i] = static_cast<T>(slim::pairwise_squared_error<T>(
        call.in(0).as<const T>() + i * m, call.in(1).as<const T>() + i * m, m, nullptr, T(0)));
  });
}
template <class T>
void pairwise_squared_error_backward(const kernel_call& call) {
  const long n = call.in(2).dims[0], m = call.in(0).dims.count() / n;
  reference::in_ranges(call.device(), n, 1, [&](long i, long) {
    slim::pairwise_squared_error<T>(call.in(0).as<const T>() + i * m,
                                    call.in(1).as<const T>() + i * m, m, call.out().as<T>() + i * m,
                                    call.in(2).as<const T>()[i]);
  });
}

}  // namespace cpu

template <class T>
struct kernel_of<op::weighted_mean, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &reference::weighted_mean<T, cpu::loss_sums>, 0};
  }
};
template <class T>
struct kernel_of<op::weighted_mean_weights_backward, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &reference::weighted_mean_weights_backward<T, cpu::loss_sums>, 0};
  }
};
template <class F, class T>
struct kernel_of<op::elementwise_loss<F>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::elementwise_loss<F, T>, 0};
  }
};
template <class F, op::wrt By, class T>
struct kernel_of<op::elementwise_loss_backward<F, By>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::elementwise_loss_backward<F, By, T>, 0};
  }
};
template <class T>
struct kernel_of<op::cosine_distance, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::cosine_distance<T>, 0};
  }
};
template <class T>
struct kernel_of<op::cosine_distance_backward, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::cosine_distance_backward<T>, 0};
  }
};
template <class T>
struct kernel_of<op::pairwise_squared_error, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"rows", &cpu::pairwise_squared_error<T>, 0};
  }
};
template <class T>
struct kernel_of<op::pairwise_squared_error_backward, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"rows", &cpu::pairwise_squared_error_backward<T>, 0};
  }
};

}  // namespace slim
