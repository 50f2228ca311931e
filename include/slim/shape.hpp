// Shapes of tensors, and the arithmetic of sliding windows.
#pragma once

#include <concepts>

#include "text.hpp"

namespace slim {

/// The extents of a row-major tensor, outermost first. Images are [n, height, width, channels].
struct shape {
  static constexpr int max_rank = 6;

  int rank = 0;
  int extents[max_rank]{};

  constexpr shape() = default;
  template <std::convertible_to<int>... E>
    requires(sizeof...(E) > 0 && sizeof...(E) <= max_rank)
  constexpr shape(E... e) : rank(sizeof...(E)), extents{static_cast<int>(e)...} {}

  constexpr int operator[](int axis) const { return extents[axis]; }
  constexpr int back() const { return extents[rank - 1]; }
  /// Number of elements; 1 for a scalar.
  constexpr long count() const {
    long product = 1;
    for (int i = 0; i < rank; ++i) product *= extents[i];
    return product;
  }
  /// The product of all extents but the last.
  constexpr long leading() const {
    long product = 1;
    for (int i = 0; i + 1 < rank; ++i) product *= extents[i];
    return product;
  }
  constexpr shape with(int axis, int extent) const {
    shape s = *this;
    s.extents[axis] = extent;
    return s;
  }
  /// The output of a network that was refused: equal to every shape, so that a static_assert on it
  /// adds no second error.
  static constexpr shape unknown() {
    shape s;
    s.rank = -1;
    return s;
  }
  constexpr bool operator==(const shape& other) const {
    if (rank < 0 || other.rank < 0) return true;
    if (rank != other.rank) return false;
    for (int i = 0; i < rank; ++i)
      if (extents[i] != other.extents[i]) return false;
    return true;
  }
};

constexpr message& operator<<(message& m, const shape& s) {
  m << "[";
  for (int i = 0; i < s.rank; ++i) m << (i ? "," : "") << s[i];
  return m << "]";
}

/// SAME: the output covers the input, ceil(in / stride); VALID: only whole windows. `fixed` has the
/// extents of SAME, but pads by the kernel alone, (kernel - 1) / 2 before: ResNet's conv2d_same.
enum class padding : int { same, valid, fixed };

/// A sliding window over the two spatial axes of an image, with its resolved padding and output.
struct window {
  int kernel_h = 1, kernel_w = 1;
  int stride_h = 1, stride_w = 1;
  int rate_h = 1, rate_w = 1;
  padding pad = padding::valid;
  int pad_top = 0, pad_left = 0;
  int out_h = 0, out_w = 0;

  constexpr bool operator==(const window&) const = default;
};

/// One axis of a window: its output extent (0 where no window fits) and the padding before.
struct window_axis {
  int out;
  int before;
};

/// TensorFlow's rules: SAME pads the odd element at the end.
constexpr window_axis slide(int in, int kernel, int stride, int rate, padding pad) {
  const int covered = (kernel - 1) * rate + 1;
  if (pad == padding::valid) return {in < covered ? 0 : (in - covered) / stride + 1, 0};
  const int out = (in + stride - 1) / stride;
  if (pad == padding::fixed) return {out, (covered - 1) / 2};
  const int missing = (out - 1) * stride + covered - in;
  return {out, missing > 0 ? missing / 2 : 0};
}

/// `w` over an image of `height` x `width`.
constexpr window placed(window w, int height, int width) {
  const window_axis vertical = slide(height, w.kernel_h, w.stride_h, w.rate_h, w.pad);
  const window_axis horizontal = slide(width, w.kernel_w, w.stride_w, w.rate_w, w.pad);
  w.out_h = vertical.out, w.pad_top = vertical.before;
  w.out_w = horizontal.out, w.pad_left = horizontal.before;
  return w;
}

constexpr message& operator<<(message& m, const window& w) {
  return m << w.kernel_h << "x" << w.kernel_w
           << (w.pad == padding::valid ? " VALID window" : " SAME window");
}

}  // namespace slim
