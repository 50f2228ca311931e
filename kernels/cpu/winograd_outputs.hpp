#pragma once

// What becomes of Winograd's outputs: each kind makes, for a tile and a register of channels, of
// which `count` exist, a place that receives the tile's rows from top to bottom; prefetch asks for
// a tile's memory beforehand.

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
                         window(M, row, column, s.out_h, s.out_w),
                         std::min(tile_columns<T>, s.k - channel));
}

// y = Act(value + bias + residual).
template <int M, class Act, class T>
struct winograd_activation {
  const T* bias;      // nullable
  const T* residual;  // shaped like y, nullable
  T* y;

  struct place {
    vec<T> bias;
    const T* residual;
    T* to;
    std::ptrdiff_t row_step, pixel_step;
    int rows, columns, count;

    void row(int i, const vec<T> (&values)[M]) const {
      if (i >= rows) return;
      unroll<M>([&](auto j) {
        if (j >= columns) return;
        const std::ptrdiff_t offset = i * row_step + j * pixel_step;
        vec<T> sum = values[j] + bias;
        if (residual != nullptr) sum += load_some(residual + offset, count);
        store_some(activate<Act>(sum), to + offset, count);
      });
    }
  };

  [[gnu::always_inline]] void prefetch(const convolution_shape& s, int image, int row, int column,
                                       int channel) const {
    prefetch_outputs<M, true>(y, s, image, row, column, channel);
    if (residual != nullptr) prefetch_outputs<M, false>(residual, s, image, row, column, channel);
  }

  place at(const convolution_shape& s, int image, int row, int column, int channel,
           int count) const {
    const std::ptrdiff_t pixel = (std::ptrdiff_t(image) * s.out_h + row) * s.out_w + column;
    const std::ptrdiff_t offset = pixel * s.k + channel;
    return {bias == nullptr ? vec<T>::zero() : load_some(bias + channel, count),
            residual == nullptr ? nullptr : residual + offset,
            y + offset,
            std::ptrdiff_t(s.out_w) * s.k,
            s.k,
            s.out_h - row,
            s.out_w - column,
            count};
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
    int rows, columns, count;

    void row(int i, const vec<T> (&values)[M]) const {
      if (i >= rows) return;
      unroll<M>([&](auto j) {
        const std::ptrdiff_t offset = i * row_step + j * pixel_step;
        if (j >= columns) return;
        vec<T> value = values[j];
        if (y_previous != nullptr)
          value = activate_backward<Act>(value, load_some(y_previous + offset, count));
        store_some(value, to + offset, count);
      });
    }
  };

  [[gnu::always_inline]] void prefetch(const convolution_shape& s, int image, int row, int column,
                                       int channel) const {
    prefetch_outputs<M, true>(dx, s, image, row, column, channel);
    if (y_previous == nullptr) return;
    prefetch_outputs<M, false>(y_previous, s, image, row, column, channel);
  }

  place at(const convolution_shape& s, int image, int row, int column, int channel,
           int count) const {
    const std::ptrdiff_t pixel = (std::ptrdiff_t(image) * s.out_h + row) * s.out_w + column;
    const std::ptrdiff_t offset = pixel * s.k + channel;
    return {y_previous == nullptr ? nullptr : y_previous + offset,
            dx + offset,
            std::ptrdiff_t(s.out_w) * s.k,
            s.k,
            s.out_h - row,
            s.out_w - column,
            count};
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
    int count;
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
      store_some(best, to + offset, count);
      if (argmax == nullptr) return;
      alignas(64) T numbers[width<T>];
      index.store(numbers);
      for (int l = 0; l < std::min(count, width<T>); ++l)
        argmax[offset + l] = std::uint8_t(int(numbers[l]));
    }
  };

  [[gnu::always_inline]] void prefetch(const convolution_shape& s, int image, int row, int column,
                                       int channel) const {
    convolution_shape halved = s;
    halved.out_h /= 2;
    halved.out_w /= 2;
    prefetch_outputs<M / 2, true>(pooled, halved, image, row / 2, column / 2, channel);
  }

  place at(const convolution_shape& s, int image, int row, int column, int channel,
           int count) const {
    const int out_h = s.out_h / 2, out_w = s.out_w / 2;
    const std::ptrdiff_t pixel = (std::ptrdiff_t(image) * out_h + row / 2) * out_w + column / 2;
    const std::ptrdiff_t offset = pixel * s.k + channel;
    return {bias == nullptr ? vec<T>::zero() : load_some(bias + channel, count),
            pooled + offset,
            argmax == nullptr ? nullptr : argmax + offset,
            std::ptrdiff_t(out_w) * s.k,
            s.k,
            out_h - row / 2,
            out_w - column / 2,
            count,
            {}};
  }
};

}  // namespace slim::cpu::detail
