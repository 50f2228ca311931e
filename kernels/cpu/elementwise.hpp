// Element-wise ops on the CPU, a register at a time where the functor takes registers. Ops that are
// not here run on their Eigen expressions, which on DefaultDevice slices are one pass over memory
// without allocation, too. (Broadcast and generated expressions would take temporary memory.)
#pragma once

#include "../eigen/elementwise.hpp"
#include "contraction.hpp"

namespace slim {
namespace cpu {

/// Rows of c elements that are worked on as one, so that few channels still fill registers.
template <class T>
constexpr int rows_together(int c) {
  return c < width<T> ? width<T> : 1;
}
/// Elements of one number a channel, repeated for as many rows.
template <class T>
inline constexpr int most_repeated = width<T> * width<T>;

/// dy [rows, c] -> [c]: a fixed number of row shards in the workspace, added up in order.
inline constexpr int bias_shards = 16;

/// The sum of rows [first, last) of dy, into sum [c].
template <class T>
void sum_of_rows(const T* dy, int c, long first, long last, T* sum) {
  const int together = rows_together<T>(c), block = together * c;
  T repeated[most_repeated<T>];
  T* const sums = together == 1 ? sum : repeated;
  std::fill_n(sums, block, T(0));
  long r = first;
  for (; r + together <= last; r += together)
    for_each_vec<T>(block, [&](int i, int count) {
      store_some(load_some(sums + i, count) + load_some(dy + r * c + i, count), sums + i, count);
    });
  if (together == 1) return;
  for (long i = r * c; i < last * c; ++i) sums[i - r * c] += dy[i];
  std::copy_n(sums, c, sum);
  for (int i = c; i < block; ++i) sum[i % c] += sums[i];
}

template <class T>
void bias_backward(const kernel_call& call) {
  const tensor dy = call.in(0);
  const int c = dy.dims.back();
  const long rows = dy.dims.leading();
  T* partial = call.workspace<T>();
  call.device().parallel(bias_shards, [&](int shard, int) {
    sum_of_rows(dy.as<const T>(), c, rows * shard / bias_shards, rows * (shard + 1) / bias_shards,
                partial + long{shard} * c);
  });
  T* db = call.out().as<T>();
  std::copy_n(partial, c, db);
  for (int shard = 1; shard < bias_shards; ++shard)
    for (int i = 0; i < c; ++i) db[i] += partial[long{shard} * c + i];
}

/// out = f(first register, second) for all elements, in shards.
template <class T, class F>
void for_all(const kernel_call& call, const T* a, const T* b, T* out, F f) {
  reference::in_ranges(call.device(), call.out().dims.count(), reference::elements_a_shard,
                       [&](long first, long last) {
                         for_each_vec<T>(static_cast<int>(last - first), [&](int i, int count) {
                           const long at = first + i;
                           store_some(f(load_some(a + at, count), load_some(b + at, count)),
                                      out + at, count);
                         });
                       });
}

template <class A, class T>
void activation_forward(const kernel_call& call) {
  const T* x = call.in(0).as<const T>();
  for_all(call, x, x, call.out().as<T>(),
          [](vec<T> v, vec<T>) { return activate<functor<A>, T>(v); });
}

template <class A, class T>
void activation_backward(const kernel_call& call) {
  for_all(call, call.in(1).as<const T>(), call.in(0).as<const T>(), call.out().as<T>(),
          [](vec<T> dy, vec<T> saved) { return activate_backward<functor<A>, T>(dy, saved); });
}

/// f(a + b).
template <class A, class T>
void add_activation(const kernel_call& call) {
  for_all(call, call.in(0).as<const T>(), call.in(1).as<const T>(), call.out().as<T>(),
          [](vec<T> a, vec<T> b) { return activate<functor<A>, T>(a + b); });
}

/// A regularizer's penalty and derivative, on registers where it can.
template <class R, class T>
vec<T> penalty(vec<T> w) {
  if constexpr (requires { R::value(w); }) {
    return R::value(w);
  } else {
    alignas(64) T buffer[width<T>];
    w.store(buffer);
    for (T& x : buffer) x = R::value(x);
    return vec<T>::load(buffer);
  }
}
template <class R, class T>
vec<T> penalty_gradient(vec<T> w) {
  if constexpr (requires { R::value.gradient(w); }) {
    return R::value.gradient(w);
  } else {
    alignas(64) T buffer[width<T>];
    w.store(buffer);
    for (T& x : buffer) x = R::value.gradient(x);
    return vec<T>::load(buffer);
  }
}

/// The sum of all penalties: a register's worth of sums over a few thousand elements, then in
/// double, in a fixed order.
template <class R, class T>
void regularizer_forward(const kernel_call& call) {
  constexpr int shards = 64, block = 4096;
  double partial[shards];
  const T* w = call.in(0).as<const T>();
  const long count = call.in(0).dims.count();
  call.device().parallel(shards, [&](int shard, int) {
    const long last = count * (shard + 1) / shards;
    double sum = 0;
    for (long first = count * shard / shards; first < last; first += block) {
      vec<T> sums = vec<T>::zero();
      for_each_vec<T>(static_cast<int>(std::min<long>(block, last - first)), [&](int i, int n) {
        if (n == width<T>)
          sums += penalty<R, T>(vec<T>::loadu(w + first + i));
        else
          for (int k = i; k < i + n; ++k) sum += static_cast<double>(R::value(w[first + k]));
      });
      sum += static_cast<double>(sums.sum());
    }
    partial[shard] = sum;
  });
  double sum = 0;
  for (double p : partial) sum += p;
  *call.out().as<T>() = static_cast<T>(sum);
}

template <class R, class T>
void regularizer_backward(const kernel_call& call) {
  const T* w = call.in(0).as<const T>();
  const vec<T> scale(*call.in(1).as<const T>());
  const auto slope = [&](vec<T> v) { return scale * penalty_gradient<R, T>(v); };
  if (call.inputs() > 2)
    for_all(call, w, call.in(2).as<const T>(), call.out().as<T>(),
            [&](vec<T> v, vec<T> running) { return running + slope(v); });
  else
    for_all(call, w, w, call.out().as<T>(), [&](vec<T> v, vec<T>) { return slope(v); });
}

/// y [rows, c] = x + biases [c].
template <class T>
void bias_add(const kernel_call& call) {
  const int c = call.out().dims.back();
  const T *x = call.in(0).as<const T>(), *bias = call.in(1).as<const T>();
  T* y = call.out().as<T>();
  const int block = rows_together<T>(c) * c;
  T repeated[most_repeated<T>];
  if (block > c)
    for (int i = 0; i < block; ++i) repeated[i] = bias[i % c];
  const T* const biases = block > c ? repeated : bias;
  reference::in_ranges(call.device(), call.out().dims.leading(),
                       reference::elements_a_shard / c + 1, [&](long first, long last) {
                         for (long at = first * c; at < last * c; at += block)
                           for_each_vec<T>(static_cast<int>(std::min<long>(block, last * c - at)),
                                           [&](int i, int n) {
                                             store_some(load_some(x + at + i, n) +
                                                            load_some(biases + i, n),
                                                        y + at + i, n);
                                           });
                       });
}

/// y = x * mask / keep_prob; the same of a gradient. The mask is the reference's, without its
/// conversions: a uniform number is below keep_prob where its 53 bits are below `kept`.
template <class T>
void dropout(const kernel_call& call) {
  const auto key = mix(random_at(call.random_key(), static_cast<std::uint64_t>(call.a().integer)));
  const auto kept = static_cast<std::uint64_t>(std::ceil(call.a().number * 0x1.0p53));
  const T factors[] = {T(0), T(1 / call.a().number)};
  const T* x = call.in(0).as<const T>();
  T* y = call.out().as<T>();
  reference::in_ranges(call.device(), call.out().dims.count(), reference::elements_a_shard,
                       [=](long first, long last) {
                         for (long i = first; i < last; ++i) {
                           const std::uint64_t bits =
                               random_of_mixed(key, static_cast<std::uint64_t>(i));
                           y[i] = x[i] * factors[(bits >> 11) < kept];
                         }
                       });
}

}  // namespace cpu

template <class T>
struct kernel_of<op::bias_add, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::bias_add<T>, 0};
  }
};
template <class T>
struct kernel_of<op::add, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::add_activation<no_activation, T>, 0};
  }
};
template <class A, class T>
struct kernel_of<op::fused_add<A>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::add_activation<A, T>, 0};
  }
};
template <class T>
struct kernel_of<op::dropout, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::dropout<T>, 0};
  }
};
template <class T>
struct kernel_of<op::dropout_backward, T, backend::cpu> : kernel_of<op::dropout, T, backend::cpu> {
};
template <class A, class T>
struct kernel_of<op::activation<A>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::activation_forward<A, T>, 0};
  }
};
template <class A, class T>
struct kernel_of<op::activation_backward<A>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::activation_backward<A, T>, 0};
  }
};
template <class R, class T>
struct kernel_of<op::regularizer<R>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::regularizer_forward<R, T>, 0};
  }
};
template <class R, class T>
struct kernel_of<op::regularizer_backward<R>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::regularizer_backward<R, T>, 0};
  }
};

template <class T>
struct kernel_of<op::bias_backward, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::choice<T>("one pass", &cpu::bias_backward<T>,
                          std::size_t(cpu::bias_shards) * std::size_t(g.input_shape(n, 0).back()));
  }
};

}  // namespace slim
