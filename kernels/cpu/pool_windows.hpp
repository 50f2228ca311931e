// The windows of a pooling layer, seen from the output (what is inside the image) and from the
// input (which windows hold an element).
#pragma once

#include <numeric>

#include <slim/device.hpp>
#include <slim/shape.hpp>

#include "simd.hpp"

namespace slim::cpu {

/// The elements of one axis of a window that lie inside the image: [first, last).
struct window_range {
  int first, last;
  constexpr int count() const { return last - first; }
};
constexpr window_range inside(int out, int stride, int pad, int kernel, int rate, int in) {
  const int start = out * stride - pad;
  int first = 0, last = kernel;
  while (first < kernel && start + first * rate < 0) ++first;
  while (last > first && start + (last - 1) * rate >= in) --last;
  return {first, last};
}
constexpr window_range rows_inside(const window& w, int out, int in_h) {
  return inside(out, w.stride_h, w.pad_top, w.kernel_h, w.rate_h, in_h);
}
constexpr window_range columns_inside(const window& w, int out, int in_w) {
  return inside(out, w.stride_w, w.pad_left, w.kernel_w, w.rate_w, in_w);
}

/// The windows of one axis that hold an element of the input: `count` of them from number `first`
/// on, `step` apart. The element is number `element` of the first one, `element_step` less of the
/// next.
struct holding_windows {
  int first = 0, count = 0, step = 1, element = 0, element_step = 0;
};
constexpr holding_windows holding(int at, int stride, int pad, int kernel, int rate, int out) {
  const int place = at + pad, reach = (kernel - 1) * rate;
  const int last = std::min(place / stride, out - 1);
  int first = place > reach ? divide_up(place - reach, stride) : 0;
  if (rate == 1) return {first, std::max(last - first + 1, 0), 1, place - first * stride, stride};
  const int step = rate / std::gcd(stride, rate);
  while (first <= last && (place - first * stride) % rate != 0) ++first;
  const int count = first > last ? 0 : (last - first) / step + 1;
  return {first, count, step, (place - first * stride) / rate, step * stride / rate};
}
constexpr holding_windows holding_row(const window& w, int row) {
  return holding(row, w.stride_h, w.pad_top, w.kernel_h, w.rate_h, w.out_h);
}
constexpr holding_windows holding_column(const window& w, int column) {
  return holding(column, w.stride_w, w.pad_left, w.kernel_w, w.rate_w, w.out_w);
}

}  // namespace slim::cpu
