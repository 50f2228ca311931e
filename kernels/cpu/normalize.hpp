// Normalisation without variables on the CPU. Where the summed axis is the last one, rows are
// reduced in registers; otherwise a register holds neighbours, each with a sum of its own.
#pragma once

#include <algorithm>
#include <cmath>

#include "../eigen/normalize.hpp"
#include "simd.hpp"

namespace slim {
namespace cpu {

/// f(first element, elements a register) for each register's worth of lines of `axis`, shared by
/// threads: lines run along the axis, `axis.inner` elements a step.
template <class T, class F>
void for_each_line(cpu_device& device, const reference::around_axis& axis, F f) {
  reference::in_ranges(device, axis.outer, axis.outer_a_shard(), [&](long begin, long end) {
    for (long o = begin; o < end; ++o)
      for_each_vec<T>(static_cast<int>(axis.inner), [&](int i, int lanes) {
        f(o * axis.extent * axis.inner + i, lanes);
      });
  });
}

/// Sums f(k) of registers over [0, length), in a row of memory: a register of neighbours at a time.
template <class T, class F>
T sum_of_row(long length, F f) {
  vec<T> sum = vec<T>::zero();
  for_each_vec<T>(static_cast<int>(length), [&](int i, int count) { sum += f(i, count); });
  return sum.sum();
}

/// The squares and products of one register of lines, or of one row.
template <class T>
struct line_sums {
  vec<T> squares = vec<T>::zero(), products = vec<T>::zero();
};

template <class T>
line_sums<T> sums_of_lines(const T* x, const T* dy, long length, long inner, int lanes) {
  line_sums<T> s;
  if (inner == 1) {
    s.squares = vec<T>(sum_of_row<T>(length, [&](int i, int n) {
      const vec<T> v = load_some(x + i, n);
      return v * v;
    }));
    s.products = vec<T>(sum_of_row<T>(
        length, [&](int i, int n) { return load_some(x + i, n) * load_some(dy + i, n); }));
    return s;
  }
  for (long k = 0; k < length; ++k) {
    const vec<T> v = load_some(x + k * inner, lanes);
    s.squares = multiply_add(v, v, s.squares);
    s.products = multiply_add(v, load_some(dy + k * inner, lanes), s.products);
  }
  return s;
}

/// out = f(x, dy) along lines as sums_of_lines takes them.
template <class T, class F>
void map_lines(const T* x, const T* dy, T* out, long length, long inner, int lanes, F f) {
  const auto one = [&](long at, int n) {
    store_some(f(load_some(x + at, n), load_some(dy + at, n)), out + at, n);
  };
  if (inner == 1)
    for_each_vec<T>(static_cast<int>(length), [&](int i, int n) { one(i, n); });
  else
    for (long k = 0; k < length; ++k) one(k * inner, lanes);
}

template <class T>
vec<T> square_root(vec<T> x) {
  return Eigen::internal::psqrt(x.value);
}

/// y = x / sqrt(epsilon + sum(x^2)).
template <class T>
void unit_norm(const kernel_call& call) {
  const reference::around_axis axis(call.in(0).dims, call.a().integer);
  const vec<T> epsilon(T(call.a().number));
  for_each_line<T>(call.device(), axis, [&](long at, int lanes) {
    const T* x = call.in(0).as<const T>() + at;
    const line_sums<T> s = sums_of_lines(x, x, axis.extent, axis.inner, lanes);
    const vec<T> norm = square_root(s.squares + epsilon);
    map_lines(x, x, call.out().as<T>() + at, axis.extent, axis.inner, lanes,
              [&](vec<T> v, vec<T>) { return v / norm; });
  });
}

/// dx = (dy - x sum(x dy) / (epsilon + sum(x^2))) / sqrt(epsilon + sum(x^2)).
template <class T>
void unit_norm_backward(const kernel_call& call) {
  const reference::around_axis axis(call.in(0).dims, call.a().integer);
  const vec<T> epsilon(T(call.a().number));
  for_each_line<T>(call.device(), axis, [&](long at, int lanes) {
    const T *x = call.in(0).as<const T>() + at, *dy = call.in(1).as<const T>() + at;
    const line_sums<T> s = sums_of_lines(x, dy, axis.extent, axis.inner, lanes);
    const vec<T> squares = s.squares + epsilon, norm = square_root(squares);
    const vec<T> along = s.products / squares;
    map_lines(x, dy, call.out().as<T>() + at, axis.extent, axis.inner, lanes,
              [&](vec<T> v, vec<T> slope) { return (slope - v * along) / norm; });
  });
}

/// base^exponent for positive bases.
template <class T>
vec<T> power(vec<T> base, T exponent) {
  if (exponent == T(-0.5)) return vec<T>(T(1)) / square_root(base);
  if (exponent == T(-0.75)) {
    const vec<T> root = square_root(base);
    return vec<T>(T(1)) / (root * square_root(root));
  }
  alignas(64) T buffer[width<T>];
  base.store(buffer);
  for (T& value : buffer) value = std::pow(value, exponent);
  return vec<T>::load(buffer);
}

/// A pixel's channels with zeros on both sides, so that every channel has all its neighbours.
template <class T>
struct padded_channels {
  T* data;
  int channels, radius;

  static constexpr long elements(int channels, int radius) { return channels + 2L * radius; }

  void clear() const { std::fill_n(data, elements(channels, radius), T(0)); }
  T* inner() const { return data + radius; }
  /// The sum of the neighbours of channels [i, i + count).
  vec<T> around(int i, int count) const {
    vec<T> sum = vec<T>::zero();
    for (int shift = 0; shift <= 2 * radius; ++shift) sum += load_some(data + i + shift, count);
    return sum;
  }
};

/// f(first element, two rows of padded channels cleared for this worker) for every pixel.
template <class T, class F>
void for_each_pixel(const kernel_call& call, int radius, F f) {
  const int c = call.out().dims.back();
  const long pixels = call.out().dims.leading(), some = reference::elements_a_shard / c + 1;
  call.device().parallel(static_cast<int>((pixels + some - 1) / some), [&](int task, int worker) {
    T* memory = reinterpret_cast<T*>(call.device().scratch(worker));
    const padded_channels<T> squares{memory, c, radius};
    const padded_channels<T> terms{memory + padded_channels<T>::elements(c, radius), c, radius};
    squares.clear(), terms.clear();
    for (long p = task * some; p < std::min(pixels, (task + 1) * some); ++p)
      f(p * c, squares, terms);
  });
}

template <class T>
void square_channels(const T* x, const padded_channels<T>& squares) {
  for_each_vec<T>(squares.channels, [&](int i, int n) {
    const vec<T> v = load_some(x + i, n);
    store_some(v * v, squares.inner() + i, n);
  });
}

/// bias + alpha * the neighbours' sum of squares.
template <class P, class T>
vec<T> response(const padded_channels<T>& squares, int i, int count) {
  return multiply_add(squares.around(i, count), vec<T>(T(P::value.alpha)),
                      vec<T>(T(P::value.bias)));
}

template <class P, class T>
void local_response_normalization(const kernel_call& call) {
  constexpr op::response_options o = P::value;
  for_each_pixel<T>(call, o.depth_radius, [&](long at, const auto& squares, const auto&) {
    const T* x = call.in(0).as<const T>() + at;
    T* y = call.out().as<T>() + at;
    square_channels(x, squares);
    for_each_vec<T>(squares.channels, [&](int i, int n) {
      store_some(load_some(x + i, n) * power(response<P>(squares, i, n), T(-o.beta)), y + i, n);
    });
  });
}

/// dx = dy s^-beta - 2 alpha beta x * the neighbours' sum of (dy x s^(-beta - 1)). The first term
/// waits in dx until all terms of the sum are known.
template <class P, class T>
void local_response_normalization_backward(const kernel_call& call) {
  constexpr op::response_options o = P::value;
  for_each_pixel<T>(call, o.depth_radius, [&](long at, const auto& squares, const auto& terms) {
    const T *x = call.in(0).as<const T>() + at, *dy = call.in(1).as<const T>() + at;
    T* dx = call.out().as<T>() + at;
    square_channels(x, squares);
    for_each_vec<T>(squares.channels, [&](int i, int n) {
      const vec<T> s = response<P>(squares, i, n);
      const vec<T> direct = load_some(dy + i, n) * power(s, T(-o.beta));
      store_some(direct, dx + i, n);
      store_some(direct * load_some(x + i, n) / s, terms.inner() + i, n);
    });
    const vec<T> scale(T(2 * o.alpha * o.beta));
    for_each_vec<T>(squares.channels, [&](int i, int n) {
      store_some(load_some(dx + i, n) - scale * load_some(x + i, n) * terms.around(i, n), dx + i,
                 n);
    });
  });
}

/// `run`, or the reference where the channels do not fit the scratch memory of a worker.
template <class Op, class P, class T>
constexpr kernel_choice choose_response(const graph& g, const node_row& n,
                                        void (*run)(const kernel_call&)) {
  const long c = g.output_shape(n, 0).back();
  const long elements = 2 * (c + 2L * P::value.depth_radius);
  if (elements * long(sizeof(T)) > long(cpu_device::scratch_bytes))
    return kernel_of<Op, T, backend::eigen>::choose(g, n);
  return {"one pass", run, 0};
}

}  // namespace cpu

template <class T>
struct kernel_of<op::unit_norm, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::unit_norm<T>, 0};
  }
};
template <class T>
struct kernel_of<op::unit_norm_backward, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::unit_norm_backward<T>, 0};
  }
};
template <class P, class T>
struct kernel_of<op::local_response_normalization<P>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::choose_response<op::local_response_normalization<P>, P, T>(
        g, n, &cpu::local_response_normalization<P, T>);
  }
};
template <class P, class T>
struct kernel_of<op::local_response_normalization_backward<P>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::choose_response<op::local_response_normalization_backward<P>, P, T>(
        g, n, &cpu::local_response_normalization_backward<P, T>);
  }
};

}  // namespace slim
