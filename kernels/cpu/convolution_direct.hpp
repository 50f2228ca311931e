#pragma once

// Convolutions of any window and stride with whole rows of taps (rate 1 along the width), as
// products whose left operand is read where it lies: in a row-major picture the taps of a window's
// row and all their channels are neighbours, and the windows of neighbouring outputs lie a constant
// step apart. Only the rows of the picture that a task needs are copied, between their padding.
// Results are the same bits for any number of threads.

#include <cstddef>

#include <slim/kernels/cpu/convolution_gemm.hpp>

namespace slim::cpu {

/// Whether direct_convolution_forward can run this convolution: rate 1 along the width, and a band
/// of the picture that fits into scratch memory.
template <class T>
constexpr bool direct_supports(const convolution_shape& s);

namespace detail {

// How a direct convolution is divided; depends on the extents only.
template <class T>
struct direct_plan {
  static constexpr int pixels = 96;           // of output that a task computes, about
  static constexpr int depth = gemm_depth;    // elements of a window that are multiplied at a time
  static constexpr int max_band = 160 << 10;  // elements of the copied rows

  const convolution_shape& s;
  int row_elements = s.kernel_w * s.c;                               // of a window
  int band_width = ((s.out_w - 1) * s.stride_w + s.kernel_w) * s.c;  // with padding
  int rows = rows_of_task();                                         // of output
  int row_blocks = divide_up(s.out_h, rows);
  int height = best_height(s.out_w);
  int columns = task_columns();
  int column_blocks = divide_up(s.k, columns);

  constexpr int band_rows(int out_rows) const {
    return (out_rows - 1) * s.stride_h + (s.kernel_h - 1) * s.rate_h + 1;
  }
  constexpr std::ptrdiff_t band_step() const { return round_up(band_width, line<T>) + line<T>; }
  constexpr bool fits(int out_rows) const { return band_rows(out_rows) * band_step() <= max_band; }
  constexpr int rows_of_task() const {
    int count = std::max(1, std::min(s.out_h, pixels / s.out_w));
    while (count > 1 && !fits(count)) --count;
    return count;
  }
  // Fewer if there would be too few tasks to share.
  constexpr int task_columns() const {
    int count = std::min(gemm_columns, round_up(s.k, tile_columns<T>));
    while (count > tile_columns<T> && s.n * row_blocks * divide_up(s.k, count) < gemm_tasks)
      count = round_up(count / 2, tile_columns<T>);
    return count;
  }
};

// band [rows][band_step] = the rows of the picture that the output rows [row, row + rows) read,
// between their padding.
template <class T>
void copy_band(const convolution_shape& s, const direct_plan<T>& plan, const T* x, int image,
               int row, int rows, T* band) {
  const int top = row * s.stride_h - s.pad_top, height = plan.band_rows(rows);
  const int left = s.pad_left * s.c, width = s.w * s.c;
  const int copied = std::min(width, plan.band_width - left);
  for (int i = 0; i < height; ++i, band += plan.band_step()) {
    if (top + i < 0 || top + i >= s.h) {
      std::fill(band, band + plan.band_width, T(0));
      continue;
    }
    const T* from = x + (std::ptrdiff_t(image) * s.h + top + i) * width;
    std::fill(band, band + left, T(0));
    std::copy(from, from + copied, band + left);
    std::fill(band + left + copied, band + plan.band_width, T(0));
  }
}

template <class T, class Finish>
class direct_task {
  static constexpr int panel = tile_columns<T>;

 public:
  direct_task(const convolution_shape& s, const direct_plan<T>& plan, const T* x, const T* packed,
              const Finish& finish, T* scratch)
      : s_(s),
        plan_(plan),
        x_(x),
        packed_(packed),
        finish_(finish),
        band_(scratch),
        product_(scratch + direct_plan<T>::max_band) {}

  // The output rows [row, row + rows) of a picture, and some panels of channels.
  void run(int image, int row, int rows, int column, int columns) {
    copy_band(s_, plan_, x_, image, row, rows, band_);
    const int elements = plan_.row_elements;
    const int segments = std::max(1, std::min(s_.kernel_h, direct_plan<T>::depth / elements));
    const int step = std::min(elements, direct_plan<T>::depth);
    for (int tap = 0; tap < s_.kernel_h; tap += segments) {
      const int count = std::min(segments, s_.kernel_h - tap);
      for (int first = 0; first < elements; first += step) {
        const part inner{tap, count, first, std::min(step, elements - first)};
        for (int j = 0; j < columns; j += panel)
          multiply(inner, image, row, rows, column, j, std::min(panel, columns - j));
      }
    }
  }

 private:
  // Elements [first, first + depth) of `segments` rows of a window from row `tap` on.
  struct part {
    int tap, segments, first, depth;
  };

  void multiply(const part& p, int image, int row, int rows, int column, int j, int width) {
    const bool first = p.tap == 0 && p.first == 0;
    const bool last = p.tap + p.segments == s_.kernel_h && p.first + p.depth == plan_.row_elements;
    const T* right = packed_ + std::ptrdiff_t(column + j) * s_.patch() +
                     (std::ptrdiff_t(p.tap) * plan_.row_elements + p.first) * panel;
    for (int r = 0; r < rows; ++r) {
      const T* left = band_ + (r * s_.stride_h + p.tap * s_.rate_h) * plan_.band_step() + p.first;
      const int pixel = (image * s_.out_h + row + r) * s_.out_w;
      for (int i = 0; i < s_.out_w; i += plan_.height) {
        const int count = std::min(plan_.height, s_.out_w - i);
        if (last)
          for (int l = 0; l < count; ++l) finish_.prefetch(pixel + i + l, column + j, width);
        T* sum = first && last ? product_ : product_ + place(rows, j, r, i);
        const tile_product<T> tile{p.segments,
                                   s_.rate_h * plan_.band_step(),
                                   p.depth,
                                   left + std::ptrdiff_t(i) * s_.stride_w * s_.c,
                                   std::ptrdiff_t(s_.stride_w) * s_.c,
                                   right,
                                   sum,
                                   !first};
        with_rows<max_tile_rows>(count, [&](auto exact) { multiply_segments<exact>(tile); });
        if (!last) continue;
        for (int l = 0; l < count; ++l) finish_(pixel + i + l, column + j, sum + l * panel, width);
      }
    }
  }

  // product_ [panels][rows][out_w][panel]
  std::ptrdiff_t place(int rows, int j, int r, int i) const {
    return (std::ptrdiff_t(j / panel) * rows + r) * s_.out_w * panel + std::ptrdiff_t(i) * panel;
  }

  const convolution_shape& s_;
  const direct_plan<T>& plan_;
  const T* x_;
  const T* packed_;
  const Finish& finish_;
  T* band_;
  T* product_;
};

}  // namespace detail

template <class T>
constexpr bool direct_supports(const convolution_shape& s) {
  const detail::direct_plan<T> plan{s};
  const std::size_t product = std::size_t(plan.columns) * plan.rows * s.out_w;
  return s.rate_w == 1 && plan.fits(plan.rows) &&
         (std::size_t(plan.max_band) + product) * sizeof(T) <= cpu_device::scratch_bytes;
}

/// y = Act(convolution(x, w) + bias + residual); bias [k] and residual (shaped like y) may be null.
/// With `packed`, the weights as gemm_convolution_prepare brings them into panels, w is not read.
/// The workspace is that of gemm_convolution_forward.
template <class Act, class T>
void direct_convolution_forward(const convolution_shape& s, const T* x, const T* w, const T* packed,
                                const T* bias, const T* residual, T* y, T* workspace,
                                cpu_device& device) {
  if (packed == nullptr) {
    gemm_convolution_prepare(s, w, static_cast<const T*>(nullptr), workspace, device);
    packed = workspace;
  }
  using finish_t = detail::bias_and_activate<Act, T>;
  const finish_t finish{bias, residual, y, s.k};
  const detail::direct_plan<T> plan{s};
  const int tasks = plan.row_blocks * plan.column_blocks;
  device.parallel(s.n * tasks, [&](int task, int worker) {
    const int row = task % tasks / plan.column_blocks * plan.rows;
    const int column = task % plan.column_blocks * plan.columns;
    detail::direct_task<T, finish_t> one(s, plan, x, packed, finish,
                                         reinterpret_cast<T*>(device.scratch(worker)));
    one.run(task / tasks, row, std::min(plan.rows, s.out_h - row), column,
            std::min(plan.columns, s.k - column));
  });
}

}  // namespace slim::cpu
