// Batch normalisation on the CPU: one pass over memory for the statistics, one to normalise. Rows are
// summed in blocks that stay in the cache, and the blocks' statistics joined in double (Chan, Golub
// and LeVeque, The American Statistician, 1983). Shards are fixed, so bits do not depend on threads.
#pragma once

#include "../eigen/batch_norm.hpp"
#include "contraction.hpp"
#include "elementwise.hpp"

namespace slim {
namespace cpu {

inline constexpr int norm_shards = 16;

/// Rows [first, last) of one of the fixed shards.
struct row_range {
  long first, last;
};
constexpr row_range shard_of(long rows, int shard) {
  return {rows * shard / norm_shards, rows * (shard + 1) / norm_shards};
}
/// Rows whose elements stay in the first caches.
constexpr long rows_a_block(long c) { return c > 8192 ? 1 : 8192 / c; }

/// What a shard knows: two numbers a channel in double, and two in T for the block at hand.
template <class T>
struct channel_workspace {
  static constexpr std::size_t elements(int c) {
    const std::size_t doubles = round_up_size(std::size_t(2 * c) * sizeof(double), 64);
    const std::size_t blocks = round_up_size(std::size_t(2 * c) * sizeof(T), 64);
    return norm_shards * (doubles + blocks) / sizeof(T);
  }
  channel_workspace(const kernel_call& call, int c, int shard) {
    std::byte* at = call.workspace<std::byte>() +
                    std::size_t(shard) * (elements(c) / norm_shards * sizeof(T));
    first = reinterpret_cast<double*>(at), second = first + c;
    block_first = reinterpret_cast<T*>(at + round_up_size(std::size_t(2 * c) * sizeof(double), 64));
    block_second = block_first + c;
  }
  double *first, *second;
  T *block_first, *block_second;
};

/// The mean and the sum of squared distances from it of each channel, over a range of rows.
template <class T>
void range_statistics(const T* x, int c, row_range range, const channel_workspace<T>& w) {
  std::fill_n(w.first, 2 * c, 0.0);
  const long step = rows_a_block(c);
  for (long first = range.first; first < range.last; first += step) {
    const long last = std::min(first + step, range.last);
    const T share = T(1) / T(last - first);
    std::fill_n(w.block_first, 2 * c, T(0));
    for (long r = first; r < last; ++r)
      for_each_vec<T>(c, [&](int i, int n) {
        store_some(load_some(w.block_first + i, n) + load_some(x + r * c + i, n),
                   w.block_first + i, n);
      });
    for (int i = 0; i < c; ++i) w.block_first[i] *= share;
    for (long r = first; r < last; ++r)
      for_each_vec<T>(c, [&](int i, int n) {
        const vec<T> apart = load_some(x + r * c + i, n) - load_some(w.block_first + i, n);
        store_some(multiply_add(apart, apart, load_some(w.block_second + i, n)),
                   w.block_second + i, n);
      });
    const double before = double(first - range.first), count = double(last - first);
    for (int i = 0; i < c; ++i) {
      const double apart = double(w.block_first[i]) - w.first[i];
      w.first[i] += apart * count / (before + count);
      w.second[i] += double(w.block_second[i]) + apart * apart * before * count / (before + count);
    }
  }
}

/// The mean and the biased variance of each channel of x [rows, c].
template <class T>
void batch_statistics(const kernel_call& call, T* mean, T* variance) {
  const tensor x = call.in(0);
  const int c = x.dims.back();
  const long rows = x.dims.leading();
  call.device().parallel(norm_shards, [&](int shard, int) {
    range_statistics(x.as<const T>(), c, shard_of(rows, shard),
                     channel_workspace<T>(call, c, shard));
  });
  for (int i = 0; i < c; ++i) {
    double joined = 0, squares = 0, before = 0;
    for (int shard = 0; shard < norm_shards; ++shard) {
      const channel_workspace<T> w(call, c, shard);
      const row_range range = shard_of(rows, shard);
      const double count = double(range.last - range.first);
      if (count == 0) continue;
      const double apart = w.first[i] - joined;
      joined += apart * count / (before + count);
      squares += w.second[i] + apart * apart * before * count / (before + count);
      before += count;
    }
    mean[i] = static_cast<T>(joined);
    variance[i] = static_cast<T>(squares / double(rows));
  }
}

/// f(pointers to a register's worth of a row, channel, count) for all rows.
template <class T, class F>
void for_each_row_vec(const kernel_call& call, const shape& dims, F f) {
  const int c = dims.back();
  reference::in_ranges(call.device(), dims.leading(), reference::elements_a_shard / c + 1,
                       [&](long first, long last) {
                         for (long at = first * c; at < last * c; at += c)
                           for_each_vec<T>(c, [&](int i, int n) { f(at + i, i, n); });
                       });
}

/// gamma / sqrt(variance + epsilon); gamma is the optional input behind `fixed` others.
template <class T>
void write_scale(const kernel_call& call, const T* variance, int fixed, int c, T* scale) {
  const int gamma = op::detail::optional_input(call.a(), fixed, op::batch_norm_parts::gamma);
  for (int i = 0; i < c; ++i) {
    const double g = gamma < 0 ? 1.0 : double(call.in(gamma).as<const T>()[i]);
    scale[i] = static_cast<T>(g / std::sqrt(double(variance[i]) + call.a().number));
  }
}
/// The same, into the workspace.
template <class T>
T* scale_of(const kernel_call& call, const T* variance, int fixed, int c) {
  T* scale = call.workspace<T>();
  write_scale(call, variance, fixed, c, scale);
  return scale;
}

/// y = A((x - mean) * scale + beta).
template <class A, class T>
void normalize(const kernel_call& call, const T* mean, const T* variance) {
  const tensor x = call.in(0);
  const int c = x.dims.back();
  const T* scale = scale_of(call, variance, 3, c);
  const int at = op::detail::optional_input(call.a(), 3, op::batch_norm_parts::beta);
  const T* beta = at < 0 ? nullptr : call.in(at).as<const T>();
  const T* from = x.as<const T>();
  T* to = call.out().as<T>();
  for_each_row_vec<T>(call, x.dims, [&](long i, int channel, int n) {
    const vec<T> apart = load_some(from + i, n) - load_some(mean + channel, n);
    const vec<T> shift = beta == nullptr ? vec<T>::zero() : load_some(beta + channel, n);
    store_some(activate<functor<A>, T>(multiply_add(apart, load_some(scale + channel, n), shift)),
               to + i, n);
  });
}

template <class A, class T>
void batch_norm(const kernel_call& call) {
  T *mean = call.out(1).template as<T>(), *variance = call.out(2).template as<T>();
  batch_statistics(call, mean, variance);
  normalize<A, T>(call, mean, variance);
}
template <class T>
void batch_norm_inference(const kernel_call& call) {
  normalize<no_activation, T>(call, call.in(1).as<const T>(), call.in(2).as<const T>());
}

/// sum(dy) and sum(dy * (x - mean)) of each channel, over a range of rows.
template <class T>
void range_gradients(const kernel_call& call, int c, row_range range,
                     const channel_workspace<T>& w) {
  const T *x = call.in(0).as<const T>(), *dy = call.in(1).as<const T>();
  const T* mean = call.in(2).as<const T>();
  std::fill_n(w.first, 2 * c, 0.0);
  const long step = rows_a_block(c);
  for (long first = range.first; first < range.last; first += step) {
    std::fill_n(w.block_first, 2 * c, T(0));
    for (long r = first; r < std::min(first + step, range.last); ++r)
      for_each_vec<T>(c, [&](int i, int n) {
        const vec<T> slope = load_some(dy + r * c + i, n);
        const vec<T> apart = load_some(x + r * c + i, n) - load_some(mean + i, n);
        store_some(load_some(w.block_first + i, n) + slope, w.block_first + i, n);
        store_some(multiply_add(slope, apart, load_some(w.block_second + i, n)),
                   w.block_second + i, n);
      });
    for (int i = 0; i < 2 * c; ++i) w.first[i] += double(w.block_first[i]);
  }
}

/// Writes dgamma and dbeta.
template <class T>
void parameter_gradients(const kernel_call& call, T* dgamma, T* dbeta) {
  const int c = call.in(0).dims.back();
  const long rows = call.in(0).dims.leading();
  const T* variance = call.in(3).as<const T>();
  call.device().parallel(norm_shards, [&](int shard, int) {
    range_gradients(call, c, shard_of(rows, shard), channel_workspace<T>(call, c, shard));
  });
  for (int i = 0; i < c; ++i) {
    double slope = 0, along = 0;
    for (int shard = 0; shard < norm_shards; ++shard) {
      const channel_workspace<T> w(call, c, shard);
      slope += w.first[i], along += w.second[i];
    }
    dbeta[i] = static_cast<T>(slope);
    dgamma[i] = static_cast<T>(along / std::sqrt(double(variance[i]) + call.a().number));
  }
}

/// dx = scale * (dy - mean(dy) - normalized x * mean(dy * normalized x)), or scale * dy where the
/// statistics are constants.
template <bool ThroughStatistics, class T>
void batch_norm_backward(const kernel_call& call) {
  const tensor x = call.in(0);
  const int c = x.dims.back();
  const long rows = x.dims.leading();
  T *dgamma = call.out(1).template as<T>(), *dbeta = call.out(2).template as<T>();
  parameter_gradients(call, dgamma, dbeta);
  const T *from = x.as<const T>(), *dy = call.in(1).as<const T>(), *mean = call.in(2).as<const T>();
  T* scale = scale_of(call, call.in(3).as<const T>(), 4, c);
  T* to = call.out().as<T>();
  if constexpr (!ThroughStatistics) {
    for_each_row_vec<T>(call, x.dims, [&](long i, int channel, int n) {
      store_some(load_some(dy + i, n) * load_some(scale + channel, n), to + i, n);
    });
  } else {
    T *offset = scale + c, *pull = offset + c;
    for (int i = 0; i < c; ++i) {
      const double deviation = std::sqrt(double(call.in(3).as<const T>()[i]) + call.a().number);
      offset[i] = static_cast<T>(double(dbeta[i]) / double(rows));
      pull[i] = static_cast<T>(double(dgamma[i]) / (double(rows) * deviation));
    }
    for_each_row_vec<T>(call, x.dims, [&](long i, int channel, int n) {
      const vec<T> apart = load_some(from + i, n) - load_some(mean + channel, n);
      const vec<T> slope = load_some(dy + i, n) - load_some(offset + channel, n) -
                           apart * load_some(pull + channel, n);
      store_some(slope * load_some(scale + channel, n), to + i, n);
    });
  }
}

/// y = A(x * scale + shift).
template <class A, class T>
void scale_shift(const kernel_call& call) {
  const T *x = call.in(0).as<const T>(), *scale = call.in(1).as<const T>();
  const T* shift = call.in(2).as<const T>();
  T* y = call.out().as<T>();
  for_each_row_vec<T>(call, call.out().dims, [&](long i, int channel, int n) {
    const vec<T> scaled = multiply_add(load_some(x + i, n), load_some(scale + channel, n),
                                       load_some(shift + channel, n));
    store_some(activate<functor<A>, T>(scaled), y + i, n);
  });
}

/// gamma / sqrt(variance + epsilon). These three run when variables have changed.
template <class T>
void batch_norm_scale(const kernel_call& call) {
  write_scale(call, call.in(0).as<const T>(), 1, call.out().dims[0], call.out().as<T>());
}

/// beta + (bias - mean) * scale.
template <class T>
void batch_norm_shift(const kernel_call& call) {
  const auto optional = [&](int part) {
    const int at = op::detail::optional_input(call.a(), 2, part);
    return at < 0 ? nullptr : call.in(at).as<const T>();
  };
  const T *mean = call.in(0).as<const T>(), *scale = call.in(1).as<const T>();
  const T *beta = optional(op::batch_norm_parts::beta), *bias = optional(op::batch_norm_parts::bias);
  for (int i = 0; i < call.out().dims[0]; ++i) {
    const double from = bias == nullptr ? 0.0 : double(bias[i]);
    const double moved = (from - double(mean[i])) * double(scale[i]);
    call.out().as<T>()[i] = static_cast<T>(beta == nullptr ? moved : double(beta[i]) + moved);
  }
}

/// w [rows, c] * scale [c].
template <class T>
void scale_columns(const kernel_call& call) {
  const T *w = call.in(0).as<const T>(), *scale = call.in(1).as<const T>();
  const int c = call.in(1).dims[0];
  T* scaled = call.out().as<T>();
  for_each_row_vec<T>(call, shape{static_cast<int>(call.out().dims.count() / c), c},
                      [&](long i, int channel, int n) {
                        store_some(load_some(w + i, n) * load_some(scale + channel, n),
                                   scaled + i, n);
                      });
}

template <class T>
void update_moving_average(const kernel_call& call) {
  const reference::moving_average<T> average(call);
  const T* batch = call.in(1).as<const T>();
  T* moving = call.out().as<T>();
  for (int i = 0; i < call.out().dims[0]; ++i) moving[i] = average(moving[i], batch[i]);
}

/// f(a + b).
template <class A, class T>
void add_activation(const kernel_call& call) {
  for_all(call, call.in(0).as<const T>(), call.in(1).as<const T>(), call.out().as<T>(),
          [](vec<T> a, vec<T> b) { return activate<functor<A>, T>(a + b); });
}

template <class T>
constexpr kernel_choice batch_norm_choice(const graph& g, const node_row& n,
                                          void (*run)(const kernel_call&)) {
  return choice<T>("two passes", run, channel_workspace<T>::elements(g.input_shape(n, 0).back()));
}

}  // namespace cpu

template <class T>
struct kernel_of<op::batch_norm, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::batch_norm_choice<T>(g, n, &cpu::batch_norm<no_activation, T>);
  }
};
template <class A, class T>
struct kernel_of<op::fused_batch_norm<A>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::batch_norm_choice<T>(g, n, &cpu::batch_norm<A, T>);
  }
};
template <class T>
struct kernel_of<op::batch_norm_inference, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::batch_norm_choice<T>(g, n, &cpu::batch_norm_inference<T>);
  }
};
template <class T>
struct kernel_of<op::batch_norm_backward, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::batch_norm_choice<T>(g, n, &cpu::batch_norm_backward<true, T>);
  }
};
template <class T>
struct kernel_of<op::batch_norm_inference_backward, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::batch_norm_choice<T>(g, n, &cpu::batch_norm_backward<false, T>);
  }
};
template <class T>
struct kernel_of<op::scale_shift, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::scale_shift<no_activation, T>, 0};
  }
};
template <class A, class T>
struct kernel_of<op::fused_scale_shift<A>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::scale_shift<A, T>, 0};
  }
};
template <class T>
struct kernel_of<op::batch_norm_scale, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"channels", &cpu::batch_norm_scale<T>, 0};
  }
};
template <class T>
struct kernel_of<op::batch_norm_shift, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"channels", &cpu::batch_norm_shift<T>, 0};
  }
};
template <class T>
struct kernel_of<op::scale_columns, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::scale_columns<T>, 0};
  }
};
template <class T>
struct kernel_of<op::update_moving_average, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"channels", &cpu::update_moving_average<T>, 0};
  }
};
template <class A, class T>
struct kernel_of<op::fused_add<A>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::add_activation<A, T>, 0};
  }
};

}  // namespace slim
