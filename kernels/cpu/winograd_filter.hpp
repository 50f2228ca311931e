#pragma once

// The gradient of an R x R convolution to its weights by Winograd's minimal filtering, transposed:
//   dw = G^T [sum over tiles of (B^T d B) * (A dy A^T)] G,
// after Lavin & Gray 2015, arXiv:1509.09308. Each plane of the sum is a product of matrices
// [c, tiles] * [tiles, k]. Results are the same bits for any number of threads.

#include <cassert>
#include <limits>

#include <slim/kernels/cpu/winograd_inputs.hpp>
#include <slim/kernels/cpu/winograd_tiles.hpp>

namespace slim::cpu {

namespace detail {

// The transformed inputs V are laid out [plane][c / width][tile][width], the transformed gradients
// Z [plane][k / panel][tile][panel]. Depends on the extents only.
template <class W, class T>
struct winograd_filter_plan {
  static constexpr int planes = W::planes;
  static constexpr int panel = tile_columns<T>;
  static constexpr int group = 16;      // tiles that a task transforms
  static constexpr int channels = 128;  // at most, that a task transforms
  static constexpr int depth = 256;     // tiles that a micro-kernel sums
  static constexpr int max_rows = 4608 / planes / 32 * 32;
  static constexpr std::size_t shared_bytes = std::size_t{4} << 20;
  static constexpr int min_tiles = 160;

  int tiles, c, k;  // the channels rounded up to whole registers and panels
  int max_tiles = std::max(
      min_tiles, int(shared_bytes / (sizeof(T) * planes * std::size_t(c + k))) / group * group);
  int super_blocks = divide_up(tiles, max_tiles);
  int super_tiles = round_up(divide_up(tiles, super_blocks), group);
  std::ptrdiff_t v_plane = std::ptrdiff_t(super_tiles) * c + line<T>;
  std::ptrdiff_t z_plane = std::ptrdiff_t(super_tiles) * k + line<T>;
  int groups = super_tiles / group;
  int c_blocks = divide_up(c, channels), k_blocks = divide_up(k, channels);

  // Rows of the product that a task computes: fewer if there would be too few tasks to share.
  int rows = c >= 16 * max_rows || divide_up(c, max_rows) * (k / panel) >= 8 ? std::min(max_rows, c)
                                                                             : panel;
  int row_blocks = divide_up(c, rows), panels = k / panel;
  std::ptrdiff_t sum_plane = std::ptrdiff_t(rows) * panel + line<T>;
  std::ptrdiff_t sum_size = planes * sum_plane;

  constexpr winograd_filter_plan(const convolution_shape& s)
      : tiles(tile_grid<W>(s).tiles()), c(round_up(s.c, width<T>)), k(round_up(s.k, panel)) {}

  // With several super-blocks the sums live in the workspace, else in scratch.
  constexpr bool keeps_sums() const { return super_blocks > 1; }
  constexpr std::size_t sums() const {
    return keeps_sums() ? std::size_t(row_blocks) * panels * std::size_t(sum_size) : 0;
  }
  // For as many tiles as a super-block of this or a smaller batch may have.
  constexpr std::size_t workspace() const {
    const int most = std::min(max_tiles, round_up(tiles, group));
    return std::size_t(planes) *
               (std::size_t(most) * (c + k) + 2 * line<T>)+std::size_t(most / group) * k +
           sums();
  }
};

template <class W, class T>
class winograd_filter_gradient {
  using plan_t = winograd_filter_plan<W, T>;
  static constexpr int size = W::size;
  static constexpr int planes = W::planes;
  static constexpr int panel = tile_columns<T>;

 public:
  winograd_filter_gradient(const convolution_shape& s, const T* x, const T* dy, T* dw, T* db,
                           T* workspace, cpu_device& device)
      : s_(s),
        plan_(s),
        grid_(s),
        x_(x),
        dy_(dy),
        dw_(dw),
        db_(db),
        v_(workspace),
        z_(v_ + planes * plan_.v_plane),
        sums_(z_ + planes * plan_.z_plane),
        db_partial_(sums_ + plan_.sums()),
        device_(device) {
    assert(winograd_supports<W>(s));
  }

  void run() {
    for (int first = 0; first < plan_.tiles; first += plan_.super_tiles) {
      const int tiles = std::min(plan_.super_tiles, plan_.tiles - first);
      transform(first, tiles);
      const bool last = first + tiles == plan_.tiles;
      device_.parallel(plan_.row_blocks * plan_.panels, [&](int task, int worker) {
        T* sum = plan_.keeps_sums() ? sums_ + task * plan_.sum_size
                                    : reinterpret_cast<T*>(device_.scratch(worker));
        const int row = task / plan_.panels * plan_.rows, column = task % plan_.panels * panel;
        multiply(row, column, tiles, first > 0, sum);
        if (last) transform_sum(row, column, sum);
      });
    }
    if (db_ != nullptr) combine_bias_gradient();
  }

 private:
  void transform(int first, int tiles) {
    const int blocks = plan_.c_blocks + plan_.k_blocks;
    device_.parallel(divide_up(tiles, plan_t::group) * blocks, [&](int task, int) {
      const int group = task / blocks, block = task % blocks;
      const int begin = group * plan_t::group, end = std::min(tiles, begin + plan_t::group);
      if (block < plan_.c_blocks) {
        transform_inputs(first, begin, end, block * plan_t::channels);
      } else {
        const int k = (block - plan_.c_blocks) * plan_t::channels;
        transform_gradients(first, begin, end, k, db_partial_ + std::ptrdiff_t(group) * plan_.k);
      }
    });
  }

  struct picture_window {
    const T* at;
    window part;
  };
  picture_window gradient_window(int tile, int channel) const {
    const auto at = grid_.at(tile);
    return {dy_ + ((std::ptrdiff_t(at.image) * s_.out_h + at.row) * s_.out_w + at.column) * s_.k +
                channel,
            window(W::outputs, at.row, at.column, s_.out_h, s_.out_w)};
  }

  // The tiles [begin, end) of the super-block that starts at tile `first`, up to `channels`
  // channels.
  void transform_inputs(int first, int begin, int end, int channel) const {
    using inputs_t = winograd_inputs<W, T>;
    const int last = std::min(s_.c, channel + plan_t::channels);
    inputs_t inputs(s_, x_);
    for (; channel < last; channel += inputs_t::channels) {
      T* to = v_ + std::ptrdiff_t(channel) * plan_.super_tiles;
      const auto place = [&](int tile) { return to + (tile - first) * width<T>; };
      const int number = std::min(inputs_t::channels, last - channel);
      for (int tile = first + begin; tile < first + end;) {
        const int count = grid_.in_row(tile, first + end);
        inputs.transform(tile, count, channel, number, plan_.v_plane,
                         std::ptrdiff_t(plan_.super_tiles) * width<T>, place);
        tile += count;
      }
    }
  }

  // Also adds the gradients up: each pixel belongs to one tile only.
  void transform_gradients(int first, int begin, int end, int channel, T* partial) const {
    const std::ptrdiff_t row_step = std::ptrdiff_t(s_.out_w) * s_.k;
    const int channels = std::min(plan_t::channels, plan_.k - channel);
    for (int tile = begin; tile < end; ++tile) {
      const picture_window here = gradient_window(first + tile, channel);
      const picture_window next = gradient_window(first + tile + 1, channel);
      if (tile + 1 < end) prefetch_window<false>(next.at, row_step, s_.k, next.part, channels);
      for (int l = channel; l < channel + channels; l += width<T>) {
        T* to =
            z_ + std::ptrdiff_t(l / panel * panel) * plan_.super_tiles + tile * panel + l % panel;
        const T* from = here.at + l - channel;
        const int count = std::max(0, s_.k - l);
        transform_window<typename W::output_gradient>(
            from, row_step, s_.k, here.part, count, [&](int i, const vec<T>(&row)[size]) {
              T* plane = to + i * size * plan_.z_plane;
              unroll<size>([&](auto j) { row[j].storeu(plane + j * plan_.z_plane); });
            });
        const bool start = first == 0 && tile == begin;
        const vec<T> before = start ? vec<T>::zero() : vec<T>::loadu(partial + l);
        (before + sum_window(from, row_step, here.part, count)).storeu(partial + l);
      }
    }
  }

  vec<T> sum_window(const T* from, std::ptrdiff_t row_step, const window& part, int count) const {
    vec<T> sum = vec<T>::zero();
    for (int i = 0; i < part.end_row; ++i) {
      for (int j = 0; j < part.end_column; ++j)
        sum += load_some(from + i * row_step + j * s_.k, count);
    }
    return sum;
  }

  // sum [plane][rows][panel] (+)= V^T Z over the super-block's tiles.
  void multiply(int row, int column, int tiles, bool accumulate, T* sum) const {
    constexpr int tile_r = transposed_tile_rows<T>;
    const int rows = std::min(plan_.rows, plan_.c - row);
    for (int plane = 0; plane < planes; ++plane) {
      const T* a = v_ + plane * plan_.v_plane;
      const T* b = z_ + plane * plan_.z_plane + std::ptrdiff_t(column) * plan_.super_tiles;
      T* c = sum + plane * plan_.sum_plane;
      for (int t = 0; t < tiles; t += plan_t::depth) {
        for (int r = 0; r < rows; r += tile_r) {
          const int channel = row + r, inside = channel % width<T>;
          multiply_tile<tile_r, 1, 1>(
              std::min(plan_t::depth, tiles - t),
              a + std::ptrdiff_t(channel - inside) * plan_.super_tiles + t * width<T> + inside,
              width<T>, b + t * panel, panel, c + r * panel, panel, accumulate || t > 0);
        }
      }
    }
  }

  // A tap that rounding alone can have made becomes 0, as it is by definition where no gradient
  // meets an input: Adam and its like would make a whole step of it.
  void transform_sum(int row, int column, const T* sum) const {
    constexpr int taps = W::taps;
    constexpr T rounding = 8 * std::numeric_limits<T>::epsilon();
    staged_weights<W, T> staged;
    const int rows = std::min(plan_.rows, s_.c - row);
    const int columns = std::min(panel, s_.k - column);
    T* to = dw_ + std::ptrdiff_t(row) * s_.k + column;
    for (int r = 0; r < rows; ++r, sum += panel) {
      const int at = r % staged.rows;
      for (int l = 0; l < panel; l += width<T>) {
        vec<T> largest = vec<T>::zero();
        transform_square<typename W::filter_gradient, T>(
            [&](int i, int j) {
              const vec<T> x = vec<T>::loadu(sum + (i * size + j) * plan_.sum_plane + l);
              largest = max(largest, abs(x));
              return x;
            },
            [&](int i, const vec<T>(&line)[taps]) {
              unroll<taps>([&](auto j) {
                const auto noise = abs(line[j]) < largest * vec<T>(rounding);
                select(noise, vec<T>::zero(), line[j]).store(staged.at(at, taps * i + j) + l);
              });
            });
      }
      if (at + 1 == staged.rows || r + 1 == rows) {
        staged.store(to + std::ptrdiff_t(r - at) * s_.k, std::ptrdiff_t(s_.c) * s_.k, s_.k, at + 1,
                     columns);
      }
    }
  }

  void combine_bias_gradient() {
    for (int l = 0; l < s_.k; l += width<T>) {
      vec<T> sum = vec<T>::zero();
      for (int group = 0;
           group < divide_up(std::min(plan_.tiles, plan_.super_tiles), plan_t::group); ++group) {
        sum += vec<T>::loadu(db_partial_ + std::ptrdiff_t(group) * plan_.k + l);
      }
      store_some(sum, db_ + l, s_.k - l);
    }
  }

  const convolution_shape s_;
  const plan_t plan_;
  const tile_grid<W> grid_;
  const T* x_;
  const T* dy_;
  T* dw_;
  T* db_;
  T* v_;
  T* z_;
  T* sums_;
  T* db_partial_;
  cpu_device& device_;
};

}  // namespace detail

/// Elements of T that winograd_backward_filter needs as workspace.
template <class W, class T>
constexpr std::size_t winograd_backward_filter_workspace(const convolution_shape& s) {
  return detail::winograd_filter_plan<W, T>(s).workspace();
}

/// dw [3, 3, c, k] = the gradient of the convolution (of shape s) to its weights, given x and dy;
/// db [k] (nullable) = the sum of dy over n, out_h and out_w.
template <class W, class T>
void winograd_backward_filter(const convolution_shape& s, const T* x, const T* dy, T* dw, T* db,
                              T* workspace, cpu_device& device) {
  detail::winograd_filter_gradient<W, T>(s, x, dy, dw, db, workspace, device).run();
}

}  // namespace slim::cpu
