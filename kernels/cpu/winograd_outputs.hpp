#pragma once

// What becomes of Winograd's outputs: each kind makes, for a tile and a register of channels, a
// place that receives the tile's rows from top to bottom; prefetch asks for a tile's memory
// beforehand.

#include <cstddef>
#include <cstdint>

#include <slim/convolution_shape.hpp>
#include <slim/kernels/cpu/winograd_tiles.hpp>

namespace slim::cpu::detail {

template <int M, bool write, class T>
[[gnu::always_inline]] inline void prefetch_outputs(const T* y, const convolution_shape& s,
                                                    int image, int row, int column, int channel) {
  const std::ptrdiff_t pixel = (std::ptrdiff_t(image) * s.out_h + row) * s.out_w + column;
  prefetch_window<write>(y + pixel * s.k + channel, std::ptrdiff_t(s.out_w) * s.k, s.k,
                         window(M, row, column, s.out_h, s.out_w), tile_columns<T>);
}

// y = Act(value + bias).
template <int M, class Act, class T>
struct winograd_activation {
  const T* bias;  // nullable
  T* y;

  struct place {
    vec<T> bias;
    T* to;
    std::ptrdiff_t row_step, pixel_step;
    int rows, columns;

    void row(int i, const vec<T> (&values)[M]) const {
      if (i >= rows) return;
      T* pixel = to + i * row_step;
      unroll<M>([&](auto j) {
        if (j < columns) activate<Act>(values[j] + bias).storeu(pixel + j * pixel_step);
      });
    }
  };

  [[gnu::always_inline]] void prefetch(const convolution_shape& s, int image, int row, int column,
                                       int channel) const {
    prefetch_outputs<M, true>(y, s, image, row, column, channel);
  }

  place at(const convolution_shape& s, int image, int row, int column, int channel) const {
    const std::ptrdiff_t pixel = (std::ptrdiff_t(image) * s.out_h + row) * s.out_w + column;
    return {bias == nullptr ? vec<T>::zero() : vec<T>::loadu(bias + channel),
            y + pixel * s.k + channel,
            std::ptrdiff_t(s.out_w) * s.k,
            s.k,
            s.out_h - row,
            s.out_w - column};
  }
};

// dx = value, or Act::backward(value, y_previous).
template <int M, class Act, class T>
struct winograd_gradient {
  const T* y_previous;  // nullable
  T* dx;

  struct place {
    const T* y_previous;
    T* to;
    std::ptrdiff_t row_step, pixel_step;
    int rows, columns;

    void row(int i, const vec<T> (&values)[M]) const {
      if (i >= rows) return;
      unroll<M>([&](auto j) {
        const std::ptrdiff_t offset = i * row_step + j * pixel_step;
        if (j >= columns) return;
        if (y_previous == nullptr) {
          values[j].storeu(to + offset);
        } else {
          activate_backward<Act>(values[j], vec<T>::loadu(y_previous + offset)).storeu(to + offset);
        }
      });
    }
  };

  [[gnu::always_inline]] void prefetch(const convolution_shape& s, int image, int row, int column,
                                       int channel) const {
    prefetch_outputs<M, true>(dx, s, image, row, column, channel);
    if (y_previous == nullptr) return;
    prefetch_outputs<M, false>(y_previous, s, image, row, column, channel);
  }

  place at(const convolution_shape& s, int image, int row, int column, int channel) const {
    const std::ptrdiff_t pixel = (std::ptrdiff_t(image) * s.out_h + row) * s.out_w + column;
    const std::ptrdiff_t offset = pixel * s.k + channel;
    return {y_previous == nullptr ? nullptr : y_previous + offset,
            dx + offset,
            std::ptrdiff_t(s.out_w) * s.k,
            s.k,
            s.out_h - row,
            s.out_w - column};
  }
};

// pooled = the largest of each 2 x 2 window of Act(value + bias), argmax = the first such of them.
template <int M, class Act, class T>
struct winograd_max_pool {
  static_assert(M % 2 == 0);
  const T* bias;  // nullable
  T* pooled;
  std::uint8_t* argmax;  // nullable

  struct place {
    vec<T> bias;
    T* to;
    std::uint8_t* argmax;
    std::ptrdiff_t row_step, pixel_step;
    int rows, columns;  // of windows
    vec<T> above[M];

    void row(int i, const vec<T> (&values)[M]) {
      if (i % 2 == 0) {
        unroll<M>([&](auto j) { above[j] = activate<Act>(values[j] + bias); });
      } else if (i / 2 < rows) {
        unroll<M / 2>([&](auto j) {
          if (j < columns) {
            window(above[2 * j], above[2 * j + 1], activate<Act>(values[2 * j] + bias),
                   activate<Act>(values[2 * j + 1] + bias), i / 2 * row_step + j * pixel_step);
          }
        });
      }
    }

    void window(vec<T> a, vec<T> b, vec<T> c, vec<T> d, std::ptrdiff_t offset) const {
      vec<T> best = a, index = vec<T>::zero();
      const auto compare = [&](vec<T> x, T number) {
        const mask<T> better = x > best;
        best = select(better, x, best);
        index = select(better, vec<T>(number), index);
      };
      compare(b, T(1));
      compare(c, T(2));
      compare(d, T(3));
      best.storeu(to + offset);
      if (argmax == nullptr) return;
      alignas(64) T numbers[width<T>];
      index.store(numbers);
      for (int l = 0; l < width<T>; ++l) argmax[offset + l] = std::uint8_t(int(numbers[l]));
    }
  };

  [[gnu::always_inline]] void prefetch(const convolution_shape& s, int image, int row, int column,
                                       int channel) const {
    convolution_shape halved = s;
    halved.out_h /= 2;
    halved.out_w /= 2;
    prefetch_outputs<M / 2, true>(pooled, halved, image, row / 2, column / 2, channel);
  }

  place at(const convolution_shape& s, int image, int row, int column, int channel) const {
    const int out_h = s.out_h / 2, out_w = s.out_w / 2;
    const std::ptrdiff_t pixel = (std::ptrdiff_t(image) * out_h + row / 2) * out_w + column / 2;
    const std::ptrdiff_t offset = pixel * s.k + channel;
    return {bias == nullptr ? vec<T>::zero() : vec<T>::loadu(bias + channel),
            pooled + offset,
            argmax == nullptr ? nullptr : argmax + offset,
            std::ptrdiff_t(out_w) * s.k,
            s.k,
            out_h - row / 2,
            out_w - column / 2,
            {}};
  }
};

}  // namespace slim::cpu::detail
