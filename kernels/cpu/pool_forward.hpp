// Pooling forward: one pass over memory, a row of output pixels a task, channels in registers.
#pragma once

#include <limits>

#include <slim/graph/program.hpp>

#include "bytes.hpp"
#include "pool_windows.hpp"

namespace slim::cpu {

/// The part of a window that lies inside the image.
template <class T>
struct window_part {
  const T* corner;
  window_range rows, columns;
  long row_step, column_step;  ///< between elements

  int elements() const { return rows.count() * columns.count(); }
};

/// f(window's part, number of the output's first channel) for every window.
template <class T, class F>
void for_each_window(const kernel_call& call, F f) {
  const tensor x = call.in(0), y = call.out();
  const window& w = call.a().win;
  const int in_h = x.dims[1], in_w = x.dims[2], c = x.dims[3];
  call.device().parallel(y.dims[0] * w.out_h, [&](int task, int) {
    const int image = task / w.out_h, i = task % w.out_h;
    const T* from = x.as<const T>() + long{image} * in_h * in_w * c;
    window_part<T> part;
    part.rows = rows_inside(w, i, in_h);
    part.row_step = long{w.rate_h} * in_w * c, part.column_step = long{w.rate_w} * c;
    const long top = i * w.stride_h - w.pad_top + part.rows.first * w.rate_h;
    for (int j = 0; j < w.out_w; ++j) {
      part.columns = columns_inside(w, j, in_w);
      const long left = j * w.stride_w - w.pad_left + part.columns.first * w.rate_w;
      part.corner = from + (top * in_w + left) * c;
      f(part, (long{task} * w.out_w + j) * c);
    }
  });
}

/// f(pointer, row, column) for the elements of a part, in order; unrolled if the
/// part is known to be of Size x Size elements.
template <int Size, class T, class F>
[[gnu::always_inline]] inline void for_each_element(const window_part<T>& part, const T* corner,
                                                    F f) {
  if constexpr (Size > 0) {
    unroll<Size>([&](auto a) __attribute__((always_inline)) {
      unroll<Size>([&](auto b) __attribute__((always_inline)) {
        f(corner + a * part.row_step + b * part.column_step, a, b);
      });
    });
  } else {
    for (int a = 0; a < part.rows.count(); ++a, corner += part.row_step)
      for (int b = 0; b < part.columns.count(); ++b) f(corner + b * part.column_step, a, b);
  }
}

/// Calls f(integral_constant of Size) with the Size that for_each_element unrolls a part by.
template <class T, class F>
void by_size(const window_part<T>& part, F f) {
  const int rows = part.rows.count(), columns = part.columns.count();
  if (rows == 3 && columns == 3) return f(std::integral_constant<int, 3>());
  if (rows == 2 && columns == 2) return f(std::integral_constant<int, 2>());
  f(std::integral_constant<int, 0>());
}

/// The maximum over a window's part and the number of the first such element, for `c` channels.
template <int Size, bool Winners, class T>
void max_of_window(const window_part<T> part, int kernel_w, int c, T* y, std::uint8_t* winners) {
  const int first = part.rows.first * kernel_w + part.columns.first;
  for_each_vec<T>(c, [=](int channel, int count) __attribute__((always_inline)) {
    vec<T> top = load_some(part.corner + channel, count), winner = vec<T>(T(first));
    const auto look = [&](const T* at, int a, int b) __attribute__((always_inline)) {
      const vec<T> x = load_some(at, count);
      if constexpr (Winners) {
        const mask<T> better = x > top;
        top = select(better, x, top);
        winner = select(better, vec<T>(T(first + a * kernel_w + b)), winner);
      } else {
        top = max(x, top);
      }
    };
    for_each_element<Size>(part, part.corner + channel, look);
    store_some(top, y + channel, count);
    if constexpr (Winners) store_bytes(winner, winners + channel, count);
  });
}

/// y = the maximum over each window, -inf if none of it is inside the image. With a second output
/// also the number of its first maximum, a byte.
template <bool Winners, class T>
void max_pool_forward(const kernel_call& call) {
  const int c = call.out().dims[3], kernel_w = call.a().win.kernel_w;
  T* y = call.out().as<T>();
  std::uint8_t* winners = nullptr;
  if constexpr (Winners) winners = call.out(1).template as<std::uint8_t>();
  for_each_window<T>(call, [=](const window_part<T>& part, long to) {
    if (part.elements() == 0) {
      std::fill_n(y + to, c, -std::numeric_limits<T>::infinity());
      if constexpr (Winners) std::fill_n(winners + to, c, std::uint8_t(0));
      return;
    }
    by_size(part, [&](auto size) {
      max_of_window<size(), Winners>(part, kernel_w, c, y + to, Winners ? winners + to : nullptr);
    });
  });
}

/// y = the mean of each window's elements inside the image.
template <class T>
void avg_pool_forward(const kernel_call& call) {
  const int c = call.out().dims[3];
  T* y = call.out().as<T>();
  for_each_window<T>(call, [=](const window_part<T>& part, long to) {
    const vec<T> share(T(1) / T(part.elements()));
    for_each_vec<T>(c, [&](int channel, int count) {
      vec<T> sum = vec<T>::zero();
      for_each_element<0>(part, part.corner + channel,
                          [&](const T* at, int, int) { sum += load_some(at, count); });
      store_some(sum * share, y + to + channel, count);
    });
  });
}

}  // namespace slim::cpu
