#pragma once

// The gradient of a convolution to its weights, as sums of outer products whose left operand is
// read where it lies (convolution_direct.hpp): for one row of a window's taps, the elements that
// neighbouring outputs read lie a constant step apart. The outputs are summed in shards whose
// number depends on the shape only: results are the same bits for any number of threads.

#include <cstddef>

#include <slim/kernels/cpu/convolution_direct.hpp>

namespace slim::cpu {

namespace detail {

// c[rows, tile_columns] += transpose(a) * b: a has `segments` times `depth` rows, `a_step` apart
// within a segment and `segment_step` between them; b and c are contiguous.
template <int rows, class T>
void add_outer_products(int segments, std::ptrdiff_t segment_step, int depth, const T* a,
                        std::ptrdiff_t a_step, const T* b, T* c) {
  constexpr int w = width<T>;
  vec<T> sum[rows][2];
  unroll<rows>(
      [&](auto i) { unroll<2>([&](auto v) { sum[i][v] = vec<T>::loadu(c + (2 * i + v) * w); }); });
  for (int s = 0; s < segments; ++s, a += segment_step) {
    const T* at = a;
    for (int j = 0; j < depth; ++j, at += a_step, b += 2 * w) {
      const vec<T> b0 = vec<T>::loadu(b), b1 = vec<T>::loadu(b + w);
      unroll<rows>([&](auto i) {
        const vec<T> x = vec<T>::broadcast(at + i);
        sum[i][0] = multiply_add(x, b0, sum[i][0]);
        sum[i][1] = multiply_add(x, b1, sum[i][1]);
      });
    }
  }
  unroll<rows>([&](auto i) { unroll<2>([&](auto v) { sum[i][v].storeu(c + (2 * i + v) * w); }); });
}

// How the gradient is divided; depends on the extents only.
template <class T>
struct direct_filter_plan {
  static constexpr int panel = tile_columns<T>;
  static constexpr std::size_t sum_bytes = std::size_t{512} << 10;  // of a task

  const convolution_shape& s;
  direct_plan<T> forward{s};
  int blocks = s.n * forward.row_blocks;  // of output rows, which shards share out
  int columns = task_columns();
  int column_blocks = divide_up(s.k, columns);
  int shards = std::max(1, std::min(divide_up(reduce_tasks, column_blocks), blocks));
  int shard_blocks = divide_up(blocks, shards);
  int height = best_height(forward.row_elements);

  constexpr int task_columns() const {
    const int fit = int(sum_bytes / sizeof(T)) / (s.patch() * panel);
    return std::min(std::max(1, fit) * panel, round_up(s.k, panel));
  }
  constexpr std::size_t shard_size() const {
    return round_up_size(s.weights() + std::size_t(s.k), line<T>);
  }
  constexpr std::size_t workspace() const {
    return shards == 1 ? 0 : std::size_t(shards) * shard_size();
  }
  // Scratch: the band of the picture, the sums and the gradients of a panel.
  constexpr std::size_t scratch() const {
    return std::size_t(forward.max_band) + std::size_t(columns) * (s.patch() + 1) +
           std::size_t(forward.rows) * s.out_w * panel;
  }
};

// One shard's sum for some panels of output channels.
template <class T>
class direct_filter_task {
  static constexpr int panel = tile_columns<T>;

 public:
  direct_filter_task(const convolution_shape& s, const direct_filter_plan<T>& plan, const T* x,
                     const T* dy, T* scratch)
      : s_(s),
        plan_(plan),
        x_(x),
        dy_(dy),
        band_(scratch),
        sums_(band_ + plan.forward.max_band),
        column_sums_(sums_ + std::ptrdiff_t(plan.columns) * s.patch()),
        gradients_(column_sums_ + plan.columns) {}

  // dw and db (nullable) are those of the shard.
  void run(int shard, int column, int columns, T* dw, T* db) {
    std::fill(sums_, gradients_, T(0));
    const int end = std::min(plan_.blocks, (shard + 1) * plan_.shard_blocks);
    for (int block = shard * plan_.shard_blocks; block < end; ++block)
      add_block(block, column, columns);
    for (int j = 0; j < columns; j += panel) {
      const int count = std::min(panel, columns - j);
      const T* from = sums_ + std::ptrdiff_t(j) * s_.patch();
      for (int i = 0; i < s_.patch(); ++i, from += panel)
        std::copy(from, from + count, dw + std::ptrdiff_t(i) * s_.k + column + j);
      if (db != nullptr) std::copy(column_sums_ + j, column_sums_ + j + count, db + column + j);
    }
  }

 private:
  void add_block(int block, int column, int columns) {
    const direct_plan<T>& f = plan_.forward;
    const int image = block / f.row_blocks, row = block % f.row_blocks * f.rows;
    const int rows = std::min(f.rows, s_.out_h - row);
    copy_band(s_, f, x_, image, row, rows, band_);
    for (int j = 0; j < columns; j += panel) {
      gather(image, row, rows, column + j, std::min(panel, columns - j));
      add_rows(gradients_, rows * s_.out_w, column_sums_ + j);
      for (int tap = 0; tap < s_.kernel_h; ++tap) multiply(tap, rows, j);
    }
  }

  // gradients_ [rows * out_w][panel] = dy's columns, with zeros beyond `count`.
  void gather(int image, int row, int rows, int column, int count) {
    const T* from = dy_ + (std::ptrdiff_t(image) * s_.out_h + row) * s_.out_w * s_.k + column;
    T* to = gradients_;
    for (int i = 0; i < rows * s_.out_w; ++i, from += s_.k, to += panel) {
      load_some(from, count).storeu(to);
      const int right = count - width<T>;
      (right > 0 ? load_some(from + width<T>, right) : vec<T>::zero()).storeu(to + width<T>);
    }
  }

  void multiply(int tap, int rows, int j) {
    const std::ptrdiff_t step = plan_.forward.band_step();
    const T* left = band_ + tap * s_.rate_h * step;
    T* sum = sums_ + (std::ptrdiff_t(j) * s_.kernel_h + tap * panel) * plan_.forward.row_elements;
    for (int i = 0; i < plan_.forward.row_elements; i += plan_.height)
      with_rows<max_tile_rows>(
          std::min(plan_.height, plan_.forward.row_elements - i), [&](auto exact) {
            add_outer_products<exact>(rows, s_.stride_h * step, s_.out_w, left + i,
                                      std::ptrdiff_t(s_.stride_w) * s_.c,
                                      static_cast<const T*>(gradients_), sum + i * panel);
          });
  }

  const convolution_shape& s_;
  const direct_filter_plan<T>& plan_;
  const T* x_;
  const T* dy_;
  T* band_;
  T* sums_;         // [panels][patch][panel]
  T* column_sums_;  // [columns]
  T* gradients_;
};

}  // namespace detail

/// Whether direct_backward_filter can run this convolution.
template <class T>
constexpr bool direct_filter_supports(const convolution_shape& s) {
  const detail::direct_filter_plan<T> plan{s};
  return s.rate_w == 1 && plan.forward.fits(plan.forward.rows) &&
         plan.scratch() * sizeof(T) <= cpu_device::scratch_bytes;
}

/// Elements of T that direct_backward_filter needs as workspace.
template <class T>
constexpr std::size_t direct_backward_filter_workspace(const convolution_shape& s) {
  return detail::direct_filter_plan<T>{s}.workspace();
}

/// dw [kernel_h, kernel_w, c, k] = the gradient to the weights, db [k] (nullable) = the sum of dy
/// over n, out_h and out_w.
template <class T>
void direct_backward_filter(const convolution_shape& s, const T* x, const T* dy, T* dw, T* db,
                            T* workspace, cpu_device& device) {
  using namespace detail;
  const direct_filter_plan<T> plan{s};
  const bool whole = plan.shards == 1;
  device.parallel(plan.shards * plan.column_blocks, [&](int task, int worker) {
    const int shard = task / plan.column_blocks;
    const int column = task % plan.column_blocks * plan.columns;
    T* partial = workspace + std::size_t(shard) * plan.shard_size();
    direct_filter_task<T>(s, plan, x, dy, reinterpret_cast<T*>(device.scratch(worker)))
        .run(shard, column, std::min(plan.columns, s.k - column), whole ? dw : partial,
             whole || db == nullptr ? db : partial + s.weights());
  });
  if (whole) return;
  combine_shards(workspace, plan.shard_size(), plan.shards, dw, s.weights(), device);
  if (db != nullptr)
    combine_shards(workspace + s.weights(), plan.shard_size(), plan.shards, db, std::size_t(s.k),
                   device);
}

}  // namespace slim::cpu
