// How the reference kernels see tensors: Eigen's column-major maps with the axes reversed, which is
// the same memory as our row-major tensors. Shards are fixed, so the bits do not depend on threads;
// each is evaluated on Eigen's DefaultDevice, over a slice.
#pragma once

#include <slim/eigen.hpp>

#include <slim/device.hpp>
#include <slim/graph/program.hpp>

namespace slim::reference {

template <class T, int Rank>
using map = Eigen::TensorMap<Eigen::Tensor<T, Rank>>;
template <class T, int Rank>
using const_map = Eigen::TensorMap<Eigen::Tensor<const T, Rank>>;
using index = Eigen::Index;
using index_pair = Eigen::IndexPair<index>;

inline const Eigen::DefaultDevice on_this_thread{};

/// Elements as one long row, [first, last).
template <class T>
const_map<T, 1> row(const T* data, long first, long last) {
  return {data + first, last - first};
}
template <class T>
map<T, 1> row(T* data, long first, long last) {
  return {data + first, last - first};
}
/// [rows, columns] of memory as (columns, rows).
template <class T>
const_map<T, 2> matrix(const T* data, long rows, long columns) {
  return {data, columns, rows};
}
template <class T>
map<T, 2> matrix(T* data, long rows, long columns) {
  return {data, columns, rows};
}
/// Image number i of [n, h, w, c] as (c, w, h, 1).
template <class T>
const_map<T, 4> image_of(const tensor& t, int i) {
  const long size = t.dims.count() / t.dims[0];
  return {t.as<const T>() + i * size, t.dims[3], t.dims[2], t.dims[1], 1};
}

/// Calls f(first, last) over ranges of at most `length` elements of [0, count), shared by threads.
template <class F>
void in_ranges(cpu_device& device, long count, long length, F f) {
  device.parallel(static_cast<int>((count + length - 1) / length), [&](int task, int) {
    const long first = task * length;
    f(first, first + length < count ? first + length : count);
  });
}
inline constexpr long elements_a_shard = 1 << 15;

/// A tensor of [outer, extent, inner] elements around one of its axes.
struct around_axis {
  long outer = 1, extent = 1, inner = 1;

  around_axis(const shape& s, int axis) : extent(s[axis]) {
    for (int i = 0; i < axis; ++i) outer *= s[i];
    for (int i = axis + 1; i < s.rank; ++i) inner *= s[i];
  }
  long each() const { return extent * inner; }
  long outer_a_shard() const { return elements_a_shard / each() + 1; }

  /// The part at one outer index as (inner, extent).
  template <class T>
  auto slice(T* data, long at) const {
    return matrix(data + at * each(), extent, inner);
  }
  /// Parts [first, last) as (inner, extent, parts).
  template <class T>
  auto parts(T* data, long first, long last) const {
    return Eigen::TensorMap<Eigen::Tensor<T, 3>>(data + first * each(), inner, extent,
                                                 last - first);
  }
};

/// A kernel_choice of the reference.
constexpr kernel_choice expression(void (*run)(const kernel_call&)) {
  return {"eigen", run, 0};
}

/// Applies an activation A (a `constant`), or its gradient, to single numbers.
template <class A, class T>
struct activate {
  T operator()(T x) const { return A::value(x); }
};
template <class A, class T>
struct activate_gradient {
  T operator()(T saved, T dy) const { return dy * A::value.gradient(saved); }
};

}  // namespace slim::reference
