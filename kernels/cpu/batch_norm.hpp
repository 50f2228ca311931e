// Batch normalisation on the CPU: one pass over memory for the statistics, one to normalise.
#pragma once

#include "../eigen/batch_norm.hpp"
#include "batch_norm_sums.hpp"
#include "contraction.hpp"
#include "elementwise.hpp"

namespace slim {
namespace cpu {

/// prepare(channel, count) for each register's worth of channels, then what it returns for that
/// part of every row: a function of the part's first element.
template <class T, class Prepare>
void for_each_row_vec(const kernel_call& call, const shape& dims, Prepare prepare) {
  const int c = dims.back();
  reference::in_ranges(
      call.device(), dims.leading(), reference::elements_a_shard / c + 1,
      [&](long first, long last) {
        for_each_rows_vec<T>(c, {first, last}, [=](auto rows, long at, int i, int n)
                                                   __attribute__((always_inline)) {
          const auto each = prepare(i, n);
          unroll<rows>([&](auto k) { each(at + long{k} * c); });
        });
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
  const long ahead = elements_ahead(c);
  for_each_row_vec<T>(call, x.dims, [=](int channel, int n) __attribute__((always_inline)) {
    const vec<T> middle = load_some(mean + channel, n), factor = load_some(scale + channel, n);
    const vec<T> shift = beta == nullptr ? vec<T>::zero() : load_some(beta + channel, n);
    return [=](long i) __attribute__((always_inline)) {
      const vec<T> apart = load_and_fetch(from + i, n, ahead) - middle;
      const vec<T> y = activate<functor<A>, T>(multiply_add(apart, factor, shift));
      store_and_fetch(y, to + i, n, ahead);
    };
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
  const long ahead = elements_ahead(c);
  if constexpr (!ThroughStatistics) {
    for_each_row_vec<T>(call, x.dims, [=](int channel, int n) __attribute__((always_inline)) {
      const vec<T> factor = load_some(scale + channel, n);
      return [=](long i) __attribute__((always_inline)) {
        store_some(load_some(dy + i, n) * factor, to + i, n);
      };
    });
  } else {
    T *offset = scale + c, *pull = offset + c;
    for (int i = 0; i < c; ++i) {
      const double deviation = std::sqrt(double(call.in(3).as<const T>()[i]) + call.a().number);
      offset[i] = static_cast<T>(double(dbeta[i]) / double(rows));
      pull[i] = static_cast<T>(double(dgamma[i]) / (double(rows) * deviation));
    }
    for_each_row_vec<T>(call, x.dims, [=](int channel, int n) __attribute__((always_inline)) {
      const vec<T> middle = load_some(mean + channel, n), factor = load_some(scale + channel, n);
      const vec<T> less = load_some(offset + channel, n), along = load_some(pull + channel, n);
      return [=](long i) __attribute__((always_inline)) {
        const vec<T> apart = load_and_fetch(from + i, n, ahead) - middle;
        const vec<T> slope = load_and_fetch(dy + i, n, ahead) - less - apart * along;
        store_and_fetch(slope * factor, to + i, n, ahead);
      };
    });
  }
}

/// y = A(x * scale + shift).
template <class A, class T>
void scale_shift(const kernel_call& call) {
  const T *x = call.in(0).as<const T>(), *scale = call.in(1).as<const T>();
  const T* shift = call.in(2).as<const T>();
  T* y = call.out().as<T>();
  for_each_row_vec<T>(call, call.out().dims, [=](int channel, int n)
                                                 __attribute__((always_inline)) {
    const vec<T> factor = load_some(scale + channel, n), added = load_some(shift + channel, n);
    return [=](long i) __attribute__((always_inline)) {
      const vec<T> scaled = multiply_add(load_some(x + i, n), factor, added);
      store_some(activate<functor<A>, T>(scaled), y + i, n);
    };
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
  const T* beta = optional(op::batch_norm_parts::beta);
  const T* bias = optional(op::batch_norm_parts::bias);
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
                      [=](int channel, int n) __attribute__((always_inline)) {
                        const vec<T> factor = load_some(scale + channel, n);
                        return [=](long i) __attribute__((always_inline)) {
                          store_some(load_some(w + i, n) * factor, scaled + i, n);
                        };
                      });
}

template <class T>
void update_moving_average(const kernel_call& call) {
  const reference::moving_average<T> average(call);
  const T* batch = call.in(1).as<const T>();
  T* moving = call.out().as<T>();
  for (int i = 0; i < call.out().dims[0]; ++i) moving[i] = average(moving[i], batch[i]);
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

}  // namespace slim
