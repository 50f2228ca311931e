#pragma once

// How Winograd's tiles are divided and laid out: shared by the passes in winograd.hpp and
// winograd_filter.hpp. W is a winograd<M, R>.

#include <cstddef>

#include <slim/convolution_shape.hpp>
#include <slim/device.hpp>
#include <slim/kernels/cpu/gemm.hpp>
#include <slim/kernels/cpu/winograd_transform.hpp>

namespace slim::cpu {

/// Whether the kernels of W can run this convolution: a square window of W's size, stride 1, rate
/// 1, and less padding than the window is wide.
template <class W>
constexpr bool winograd_supports(const convolution_shape& s) {
  return s.kernel_h == W::taps && s.kernel_w == W::taps && s.stride_h == 1 && s.stride_w == 1 &&
         s.rate_h == 1 && s.rate_w == 1 && s.pad_top >= 0 && s.pad_top < W::taps &&
         s.pad_left >= 0 && s.pad_left < W::taps;
}

namespace detail {

// Tiles of M x M outputs cover the output pictures in row-major order, all pictures in a row.
template <class W>
struct tile_grid {
  int n, rows, columns;

  explicit constexpr tile_grid(const convolution_shape& s)
      : n(s.n), rows(divide_up(s.out_h, W::outputs)), columns(divide_up(s.out_w, W::outputs)) {}
  constexpr int tiles() const { return n * rows * columns; }

  struct position {
    int image, row, column;  // of the tile's first output
  };
  constexpr position at(int tile) const {
    const int row = tile / columns;
    return {row / rows, row % rows * W::outputs, tile % columns * W::outputs};
  }
  // How many of the tiles [first, end) lie in the same row of the grid as the first.
  constexpr int in_row(int first, int end) const {
    return std::min(end - first, columns - first % columns);
  }
};

// The part of a size x size window at (top, left) that lies inside a picture of h x w pixels.
struct window {
  int first_row, end_row, first_column, end_column;

  window(int size, int top, int left, int h, int w)
      : first_row(std::max(0, -top)),
        end_row(std::min(size, h - top)),
        first_column(std::max(0, -left)),
        end_column(std::min(size, w - left)) {}
  bool whole(int size) const {
    return first_row == 0 && first_column == 0 && end_row == size && end_column == size;
  }
  bool has_row(int i) const { return i >= first_row && i < end_row; }
  bool has_column(int j) const { return j >= first_column && j < end_column; }
};

// Transforms a register of channels, of which `count` exist, of a window of a picture; pixels
// outside of it are zero. emit(i, row) receives the rows. `at` points to the window's first pixel,
// inside or not.
template <class Transform, class T, class Emit>
[[gnu::always_inline]] inline void transform_window(const T* at, std::ptrdiff_t row_step,
                                                    std::ptrdiff_t pixel_step, const window& part,
                                                    int count, Emit&& emit) {
  if (count >= width<T> && part.whole(Transform::from)) {
    transform_square<Transform, T>(
        [&](int i, int j) { return vec<T>::loadu(at + i * row_step + j * pixel_step); }, emit);
  } else {
    transform_square<Transform, T>(
        [&](int i, int j) {
          return part.has_row(i) && part.has_column(j)
                     ? load_some(at + i * row_step + j * pixel_step, count)
                     : vec<T>::zero();
        },
        emit);
  }
}

// Asks for the pixels of a picture that lie in a window, ahead of their use: `columns` elements
// each from `at`, the window's first pixel, on. The hardware does not see the pattern. Into the
// second-level cache: in the first, a window's pixels often fall into the same sets.
// (Prefetching functions must be inlined: g++ drops calls to what has no effect but a prefetch.)
template <bool write, class T>
[[gnu::always_inline]] inline void prefetch_window(const T* at, std::ptrdiff_t row_step,
                                                   std::ptrdiff_t pixel_step, const window& part,
                                                   int columns) {
  for (int i = part.first_row; i < part.end_row; ++i) {
    for (int j = part.first_column; j < part.end_column; ++j) {
      const T* pixel = at + i * row_step + j * pixel_step;
      for (int l = 0; l < columns; l += line<T>) __builtin_prefetch(pixel + l, write, 2);
    }
  }
}

// The taps of a few rows of a panel of weights, side by side: [row][tap][panel], with zeros in the
// columns that the panel has too many. In w itself they lie so far apart, often by a power of two,
// that they would drive each other out of the caches.
template <class W, class T>
struct staged_weights {
  static constexpr int rows = 16;
  static constexpr int taps = W::taps * W::taps;
  static constexpr int panel = tile_columns<T>;
  alignas(64) T elements[rows * taps * panel];

  const T* at(int row, int tap) const { return elements + (row * taps + tap) * panel; }
  T* at(int row, int tap) { return elements + (row * taps + tap) * panel; }

  // w points to the first row's panel in the first tap; `columns` of it exist.
  void load(const T* w, std::ptrdiff_t tap_step, std::ptrdiff_t row_step, int count, int columns) {
    for (int tap = 0; tap < taps; ++tap, w += tap_step) {
      for (int row = 0; row < count; ++row) {
        const T* from = w + row * row_step;
        if (tap + 1 < taps) prefetch(from + tap_step);
        for (int l = 0; l < panel; l += width<T>) {
          (l < columns ? load_some(from + l, columns - l) : vec<T>::zero()).store(at(row, tap) + l);
        }
      }
    }
  }

  // Multiplies every column by its scale.
  void multiply(const T* scale, int count, int columns) {
    for_each_vec<T>(columns, [&](int l, int some) {
      const vec<T> factor = load_some(scale + l, some);
      for (int i = l; i < count * taps * panel; i += panel)
        (vec<T>::load(elements + i) * factor).store(elements + i);
    });
  }

  void store(T* w, std::ptrdiff_t tap_step, std::ptrdiff_t row_step, int count, int columns) const {
    for (int tap = 0; tap < taps; ++tap, w += tap_step) {
      for (int row = 0; row < count; ++row) {
        for_each_vec<T>(columns, [&](int l, int elements) {
          store_some(vec<T>::load(at(row, tap) + l), w + row * row_step + l, elements);
        });
      }
    }
  }

 private:
  [[gnu::always_inline]] static void prefetch(const T* w) {
    for (int l = 0; l < panel; l += line<T>) __builtin_prefetch(w + l, 0, 2);
  }
};

}  // namespace detail
}  // namespace slim::cpu
