#pragma once

// Convolutions of any shape as products of matrices, the patches of the image being gathered as
// they are multiplied (Chellapilla et al. 2006, "High performance convolutional neural networks for
// document processing"). All tensors are row-major: x [n, h, w, c], w [kernel_h, kernel_w, c, k],
// y [n, out_h, out_w, k]. Results are the same bits for any number of threads.

#include <cstddef>
#include <numeric>

#include <slim/convolution_shape.hpp>
#include <slim/device.hpp>
#include <slim/kernels/cpu/gemm.hpp>

namespace slim::cpu {

namespace detail {

// Walks the elements [column, column + columns) of a patch by taps: f(tap_row, tap_column,
// channel, count, offset), where offset counts from `column`.
template <class F>
void for_each_run(int kernel_w, int channels, int column, int columns, F&& f) {
  int tap = column / channels, channel = column % channels;
  for (int offset = 0; offset < columns; ++tap, channel = 0) {
    const int count = std::min(channels - channel, columns - offset);
    f(tap / kernel_w, tap % kernel_w, channel, count, offset);
    offset += count;
  }
}

// The matrix [n * out_h * out_w, patch] of the input's patches.
template <class T>
struct patches_operand {
  const convolution_shape& s;
  const T* x;
  const T* end = x + std::size_t(s.input_pixels()) * s.c;

  void rows(T* to, std::ptrdiff_t step, int row, int rows, int column, int columns) const {
    int j = row % s.out_w, i = row / s.out_w % s.out_h, image = row / s.out_w / s.out_h;
    const bool narrow = s.rate_w == 1 && s.c < width<T> && column == 0 && columns == s.patch();
    for (int r = 0; r < rows; ++r, to += step) {
      const int top = i * s.stride_h - s.pad_top, left = j * s.stride_w - s.pad_left;
      const T* picture = x + std::ptrdiff_t(image) * s.h * s.w * s.c;
      if (narrow && left >= 0 && left + s.kernel_w <= s.w) {
        copy_bands(to, picture, top, left);
      } else {
        copy_runs(to, picture, top, left, column, columns);
      }
      if (++j < s.out_w) continue;
      j = 0;
      if (++i < s.out_h) continue;
      i = 0;
      ++image;
    }
  }

  // With few channels: a row of the whole patch at a time, which is contiguous in the image.
  void copy_bands(T* to, const T* picture, int top, int left) const {
    const int band = s.kernel_w * s.c;
    for (int a = 0; a < s.kernel_h; ++a, to += band) {
      const int i = top + a * s.rate_h;
      if (i < 0 || i >= s.h) {
        clear_row(to, band);
      } else {
        copy_row(to, picture + (std::ptrdiff_t(i) * s.w + left) * s.c, band, end);
      }
    }
  }

  void copy_runs(T* to, const T* picture, int top, int left, int column, int columns) const {
    for_each_run(s.kernel_w, s.c, column, columns,
                 [&](int a, int b, int channel, int count, int offset) {
                   const int i = top + a * s.rate_h, j = left + b * s.rate_w;
                   if (i < 0 || i >= s.h || j < 0 || j >= s.w) {
                     clear_row(to + offset, count);
                   } else {
                     const T* from = picture + (std::ptrdiff_t(i) * s.w + j) * s.c + channel;
                     copy_row(to + offset, from, count, end);
                   }
                 });
  }
};

// Along one axis, the input coordinates first_pixel + i * stride (i < pixels), which all read the
// outputs by the same taps: first_tap + j * tap_step (j < taps).
struct gradient_axis {
  int first_pixel, pixels, first_tap, tap_step, taps;

  // Of the `stride` classes, that of coordinates with (coordinate + pad) % stride == phase.
  static constexpr gradient_axis of(int phase, int extent, int pad, int kernel, int rate,
                                    int stride) {
    const int pixel = ((phase - pad) % stride + stride) % stride;
    const int step = stride / std::gcd(rate, stride);
    int tap = 0;
    while (tap < step && tap * rate % stride != phase) ++tap;
    return {pixel, pixel < extent ? divide_up(extent - pixel, stride) : 0, tap, step,
            tap < step && tap < kernel ? divide_up(kernel - tap, step) : 0};
  }
  constexpr int tap(int j) const { return first_tap + j * tap_step; }
};

// The input pixels that see the outputs through the same taps.
struct gradient_phase {
  const convolution_shape& s;
  gradient_axis h, w;

  constexpr gradient_phase(const convolution_shape& s, int row, int column)
      : s(s),
        h(gradient_axis::of(row, s.h, s.pad_top, s.kernel_h, s.rate_h, s.stride_h)),
        w(gradient_axis::of(column, s.w, s.pad_left, s.kernel_w, s.rate_w, s.stride_w)) {}

  constexpr int pixels() const { return s.n * h.pixels * w.pixels; }
  constexpr int depth() const { return h.taps * w.taps * s.k; }

  struct position {
    int image, row, column;
  };
  constexpr position at(int pixel) const {
    const int row = pixel / w.pixels;
    return {row / h.pixels, h.first_pixel + row % h.pixels * s.stride_h,
            w.first_pixel + pixel % w.pixels * s.stride_w};
  }
  // The pixel's number among all of the input's.
  constexpr int number(int pixel) const {
    const position p = at(pixel);
    return (p.image * s.h + p.row) * s.w + p.column;
  }
};

// The matrix [pixels, taps * k] of a phase: for each pixel, the output gradients it had a part in.
template <class T>
struct gradient_patches_operand {
  const gradient_phase& phase;
  const T* dy;
  const T* end = dy + std::size_t(phase.s.output_pixels()) * phase.s.k;

  void rows(T* to, std::ptrdiff_t step, int row, int rows, int column, int columns) const {
    const convolution_shape& s = phase.s;
    for (int r = 0; r < rows; ++r, to += step) {
      const auto at = phase.at(row + r);
      const T* picture = dy + std::ptrdiff_t(at.image) * s.out_h * s.out_w * s.k;
      for_each_run(phase.w.taps, s.k, column, columns,
                   [&](int a, int b, int channel, int count, int offset) {
                     const int p = at.row + s.pad_top - phase.h.tap(a) * s.rate_h;
                     const int q = at.column + s.pad_left - phase.w.tap(b) * s.rate_w;
                     const int i = p / s.stride_h, j = q / s.stride_w;
                     if (p < 0 || q < 0 || i >= s.out_h || j >= s.out_w) {
                       clear_row(to + offset, count);
                     } else {
                       const T* from = picture + (std::ptrdiff_t(i) * s.out_w + j) * s.k + channel;
                       copy_row(to + offset, from, count, end);
                     }
                   });
    }
  }
};

// The weights of a phase's taps as the right operand [taps * k, c] of the data gradient.
template <class T>
struct transposed_weights_operand {
  const gradient_phase& phase;
  const T* w;

  void panel(T* to, int row, int rows, int column, int columns) const {
    const convolution_shape& s = phase.s;
    if (columns < tile_columns<T>) std::fill(to, to + rows * tile_columns<T>, T(0));
    for_each_run(
        phase.w.taps, s.k, row, rows, [&](int a, int b, int channel, int count, int offset) {
          const int tap = phase.h.tap(a) * s.kernel_w + phase.w.tap(b);
          transpose(to + offset * tile_columns<T>, tile_columns<T>,
                    w + (std::ptrdiff_t(tap) * s.c + column) * s.k + channel, s.k, count, columns);
        });
  }
};

// Finishes the rows of a phase where they belong in the whole gradient.
template <class Finish>
struct phase_finish {
  const gradient_phase& phase;
  const Finish& whole;

  [[gnu::always_inline]] void prefetch(int row, int column, int count) const {
    whole.prefetch(phase.number(row), column, count);
  }
  template <class T>
  void operator()(int row, int column, const T* values, int count) const {
    whole(phase.number(row), column, values, count);
  }
};

// A matrix of weights as the right operand, each column times its scale.
template <class T>
struct scaled_operand {
  matrix_operand<T> weights;
  const T* scale;

  void panel(T* to, int row, int rows, int column, int columns) const {
    weights.panel(to, row, rows, column, columns);
    for_each_vec<T>(columns, [&](int l, int count) {
      const vec<T> factor = load_some(scale + column + l, count);
      for (int i = 0; i < rows; ++i) {
        T* at = to + i * tile_columns<T> + l;
        (vec<T>::loadu(at) * factor).storeu(at);
      }
    });
  }
};

// Asks for the row [at, at + count) to be written (or read) soon. (Always inlined: g++ drops calls
// to what has no effect but a prefetch.)
template <bool write = true, class T>
[[gnu::always_inline]] inline void prefetch_row(const T* at, int count) {
  for (int i = 0; i < count; i += line<T>) __builtin_prefetch(at + i, write, 2);
}

// Finishes a row of outputs: y = Act(product + bias + residual).
template <class Act, class T>
struct bias_and_activate {
  const T* bias;      // nullable
  const T* residual;  // shaped like y, nullable
  T* y;
  int k;

  [[gnu::always_inline]] void prefetch(int row, int column, int count) const {
    prefetch_row(y + std::ptrdiff_t(row) * k + column, count);
    if (residual != nullptr)
      prefetch_row<false>(residual + std::ptrdiff_t(row) * k + column, count);
  }

  void operator()(int row, int column, const T* values, int count) const {
    const std::ptrdiff_t offset = std::ptrdiff_t(row) * k + column;
    for_each_vec<T>(count, [&](int i, int elements) {
      vec<T> sum = load_some(values + i, elements);
      if (bias != nullptr) sum += load_some(bias + column + i, elements);
      if (residual != nullptr) sum += load_some(residual + offset + i, elements);
      store_some(activate<Act>(sum), y + offset + i, elements);
    });
  }
};

// Finishes a row of a data gradient: dx = product, or Act::backward(product, y_previous).
template <class Act, class T>
struct activation_gradient {
  const T* y_previous;  // nullable
  T* dx;
  int c;

  [[gnu::always_inline]] void prefetch(int row, int column, int count) const {
    prefetch_row(dx + std::ptrdiff_t(row) * c + column, count);
    if (y_previous != nullptr)
      prefetch_row<false>(y_previous + std::ptrdiff_t(row) * c + column, count);
  }

  void operator()(int row, int column, const T* values, int count) const {
    const std::ptrdiff_t offset = std::ptrdiff_t(row) * c + column;
    for_each_vec<T>(count, [&](int i, int elements) {
      vec<T> sum = load_some(values + i, elements);
      if (y_previous != nullptr) {
        sum = activate_backward<Act>(sum, load_some(y_previous + offset + i, elements));
      }
      store_some(sum, dx + offset + i, elements);
    });
  }
};

}  // namespace detail

/// Elements of the weights w [kernel_h, kernel_w, c, k] of a convolution, packed beforehand.
template <class T>
constexpr std::size_t gemm_convolution_prepared_size(const convolution_shape& s) {
  return gemm_packed_size<T>(s.k, s.patch());
}

/// packed [gemm_convolution_prepared_size] = the weights w, each column times its scale [k]
/// (nullable), for gemm_convolution_forward.
template <class T>
void gemm_convolution_prepare(const convolution_shape& s, const T* w, const T* scale, T* packed,
                              cpu_device& device) {
  const matrix_operand<T> weights{w, s.k, w + s.weights()};
  if (scale == nullptr)
    gemm_pack(s.k, s.patch(), weights, packed, device);
  else
    gemm_pack(s.k, s.patch(), detail::scaled_operand<T>{weights, scale}, packed, device);
}

/// Elements of T that gemm_convolution_forward needs as workspace.
template <class T>
constexpr std::size_t gemm_convolution_forward_workspace(const convolution_shape& s,
                                                         bool prepared) {
  return prepared ? 0 : gemm_convolution_prepared_size<T>(s);
}

/// y = Act(convolution(x, w) + bias + residual); bias [k] and residual (shaped like y) may be null.
/// With `packed`, the weights packed beforehand, w is not read.
template <class Act, class T>
void gemm_convolution_forward(const convolution_shape& s, const T* x, const T* w, const T* packed,
                              const T* bias, const T* residual, T* y, T* workspace,
                              cpu_device& device) {
  if (packed == nullptr) {
    gemm_convolution_prepare(s, w, static_cast<const T*>(nullptr), workspace, device);
    packed = workspace;
  }
  gemm_packed(s.output_pixels(), s.k, s.patch(), detail::patches_operand<T>{s, x}, packed,
              detail::bias_and_activate<Act, T>{bias, residual, y, s.k}, device);
}

/// Elements of T that gemm_convolution_backward_data needs as workspace.
template <class T>
constexpr std::size_t gemm_convolution_backward_data_workspace(const convolution_shape& s) {
  return gemm_workspace<T>(s.input_pixels(), s.c, s.kernel_h * s.kernel_w * s.k);
}

namespace detail {

// Pixels that no output reads.
template <class T, class Finish>
void finish_zeros(int pixels, int c, const Finish& finish, cpu_device& device) {
  constexpr int panel = tile_columns<T>;
  static constexpr T zeros[panel] = {};
  device.parallel(divide_up(c, panel), [&](int task, int) {
    const int column = task * panel;
    for (int row = 0; row < pixels; ++row) finish(row, column, zeros, std::min(panel, c - column));
  });
}

}  // namespace detail

/// dx = the gradient of the convolution (of shape s) to its input, given dy [n, out_h, out_w, k].
/// If y_previous (shaped like x: the output of the activation Act that made x) is not null,
/// dx = Act::backward(dx, y_previous). A stride parts the pixels into phases, each with the taps it
/// has: nothing is multiplied by the zeros between the outputs.
template <class Act, class T>
void gemm_convolution_backward_data(const convolution_shape& s, const T* dy, const T* w,
                                    const T* y_previous, T* dx, T* workspace, cpu_device& device) {
  using namespace detail;
  using finish_t = activation_gradient<Act, T>;
  const finish_t whole{y_previous, dx, s.c};
  for (int i = 0; i < s.stride_h * s.stride_w; ++i) {
    const gradient_phase phase(s, i / s.stride_w, i % s.stride_w);
    const phase_finish<finish_t> finish{phase, whole};
    if (phase.pixels() == 0) continue;
    if (phase.depth() == 0)
      finish_zeros<T>(phase.pixels(), s.c, finish, device);
    else
      gemm(phase.pixels(), s.c, phase.depth(), gradient_patches_operand<T>{phase, dy},
           transposed_weights_operand<T>{phase, w}, finish, workspace, device);
  }
}

/// Elements of T that gemm_convolution_backward_filter needs as workspace.
template <class T>
constexpr std::size_t gemm_convolution_backward_filter_workspace(const convolution_shape& s) {
  return gemm_transposed_workspace<T>(s.patch(), s.k, s.output_pixels());
}

/// dw [kernel_h, kernel_w, c, k] = the gradient to the weights, db [k] (nullable) = the sum of dy
/// over n, out_h, out_w. The pixels are summed in shards whose number depends on the shape only.
template <class T>
void gemm_convolution_backward_filter(const convolution_shape& s, const T* x, const T* dy, T* dw,
                                      T* db, T* workspace, cpu_device& device) {
  gemm_transposed(s.patch(), s.k, s.output_pixels(), detail::patches_operand<T>{s, x},
                  matrix_operand<T>{dy, s.k, dy + std::size_t(s.output_pixels()) * s.k}, dw, db,
                  workspace, device);
}

}  // namespace slim::cpu
