#pragma once

// 3 x 3 convolutions of stride 1 by Winograd's minimal filtering (Lavin & Gray 2015,
// arXiv:1509.09308) on tiles of M x M outputs, M = 2, 4 or 6: 2.25, 4 or 5.06 times fewer
// multiplications than the direct sum. All tensors are row-major: x [n, h, w, c], w [3, 3, c, k],
// y [n, out_h, out_w, k]. Results are the same bits for any number of threads.
//
// The tiles go in super-blocks, so that their transformed inputs V stay in the shared cache:
//   1. V = B^T d B for all tiles of the super-block, into the workspace;
//   2. a task for each chunk of tiles and each panel of output channels: transforms the panel's
//      weights, multiplies plane by plane, transforms and finishes the outputs, all in scratch.
// Transforming the weights again for each chunk costs a few per cent and saves writing them
// to memory and reading them back.

#include <cassert>
#include <cstdint>

#include <slim/kernels/cpu/winograd_outputs.hpp>
#include <slim/kernels/cpu/winograd_tiles.hpp>

namespace slim::cpu {

namespace detail {

// V is laid out [chunk][channel block][plane][tile block][channels / width][tile_rows][width]: a
// micro-kernel reads it in order. Depends on the extents only.
template <int M, class T>
struct winograd_plan {
  static constexpr int planes = winograd<M>::planes;
  // Both operands and the product of a task have to fit in the second-level cache.
  static constexpr int max_chunk = 4608 / planes / tile_rows * tile_rows;
  static constexpr int max_channels = 4608 / planes / 32 * 32;
  static constexpr std::size_t shared_bytes = std::size_t{2} << 20;

  static constexpr int u_plane = max_channels * tile_columns<T> + line<T>;
  static constexpr int product_plane = max_chunk * tile_columns<T> + line<T>;
  static_assert(std::size_t(planes) * (u_plane + product_plane) * sizeof(T) <=
                cpu_device::scratch_bytes);

  int tiles, channels;
  int chunk = std::min(max_chunk, round_up(tiles, tile_rows));
  int block_channels = std::min(max_channels, channels);
  int channel_blocks = divide_up(channels, block_channels);
  // A line more than it takes keeps the planes from falling into the same sets of the cache.
  std::ptrdiff_t plane_step = std::ptrdiff_t(chunk) * block_channels + line<T>;
  std::ptrdiff_t block_step = planes * plane_step;
  std::ptrdiff_t chunk_step = channel_blocks * block_step;
  int max_chunks = std::max(1, int(shared_bytes / (std::size_t(chunk_step) * sizeof(T))));
  int super_blocks = divide_up(tiles, max_chunks * chunk);
  int super_tiles = round_up(divide_up(tiles, super_blocks), tile_rows);

  constexpr winograd_plan(const convolution_shape& s)
      : tiles(tile_grid<M>(s).tiles()), channels(s.c) {}
  constexpr std::size_t workspace() const {
    return std::size_t(std::min(max_chunks, divide_up(tiles, chunk))) * std::size_t(chunk_step);
  }
};

template <int M, class T, class Output>
class winograd_convolution {
  using plan_t = winograd_plan<M, T>;
  using grid_t = tile_grid<M>;
  static constexpr int size = winograd<M>::size;
  static constexpr int planes = winograd<M>::planes;
  static constexpr int panel = tile_columns<T>;

 public:
  winograd_convolution(const convolution_shape& s, const T* x, const T* w, const Output& output,
                       T* v, cpu_device& device)
      : s_(s), plan_(s), grid_(s), x_(x), w_(w), output_(output), v_(v), device_(device) {
    assert(winograd_supports<T>(s));
  }

  void run() {
    for (int first = 0; first < plan_.tiles; first += plan_.super_tiles) {
      run_super_block(first, std::min(plan_.tiles, first + plan_.super_tiles));
    }
  }

 private:
  void run_super_block(int first, int end) {
    const int chunks = divide_up(end - first, plan_.chunk);
    const int chunk = round_up(divide_up(end - first, chunks), tile_rows);
    const int tile_blocks = chunk / tile_rows;
    const int pieces = tile_blocks * plan_.channel_blocks;
    device_.parallel(chunks * pieces, [&](int task, int) {
      const int tile = first + task / pieces * chunk + task % tile_blocks * tile_rows;
      T* to = v_ + task / pieces * plan_.chunk_step;
      const int block = task % pieces / tile_blocks;
      if (tile < end) transform_inputs(tile, end, task % tile_blocks, block, to);
    });
    const int panels = s_.k / panel;
    device_.parallel(chunks * panels, [&](int task, int worker) {
      const int tile = first + task / panels * chunk, tiles = std::min(chunk, end - tile);
      if (tiles <= 0) return;
      T* u = reinterpret_cast<T*>(device_.scratch(worker));
      T* product = u + planes * plan_t::u_plane;
      multiply(v_ + task / panels * plan_.chunk_step, tiles, task % panels * panel, u, product);
      transform_outputs(tile, tiles, task % panels * panel, product);
    });
  }

  int channels_of(int block) const {
    return std::min(plan_.block_channels, plan_.channels - block * plan_.block_channels);
  }

  // The tiles of one tile block and the channels of one channel block, into the chunk's V.
  void transform_inputs(int tile, int end, int tile_block, int block, T* v) const {
    const int channels = channels_of(block);
    T* to = v + block * plan_.block_step + std::ptrdiff_t(tile_block) * tile_rows * channels;
    for (int r = 0; r < std::min(tile_rows, end - tile); ++r) {
      const picture_window here = window_of(tile + r, block), next = window_of(tile + r + 1, block);
      if (tile + r + 1 < end) prefetch_window<false>(next.at, row_step(), s_.c, next.part, channels);
      for (int c = 0; c < channels; c += width<T>) {
        transform_input(here.at + c, here.part, to + c * tile_rows + r * width<T>);
      }
    }
  }

  struct picture_window {
    const T* at;
    window part;
  };
  picture_window window_of(int tile, int block) const {
    const auto at = grid_.at(tile);
    const int top = at.row - s_.pad_top, left = at.column - s_.pad_left;
    return {x_ + ((std::ptrdiff_t(at.image) * s_.h + top) * s_.w + left) * s_.c +
                block * plan_.block_channels,
            window(size, top, left, s_.h, s_.w)};
  }
  std::ptrdiff_t row_step() const { return std::ptrdiff_t(s_.w) * s_.c; }

  void transform_input(const T* from, const window& part, T* to) const {
    for (int plane = 0; plane < planes; ++plane) {  // the next channels' place
      __builtin_prefetch(to + plane * plan_.plane_step + tile_rows * width<T>, 1);
    }
    transform_window<typename winograd<M>::input>(
        from, row_step(), s_.c, part, [&](int i, const vec<T>(&row)[size]) {
          T* plane = to + i * size * plan_.plane_step;
          unroll<size>([&](auto j) { row[j].storeu(plane + j * plan_.plane_step); });
        });
  }

  // u [plane][channels][panel] = the transformed weights from `channel` on to the panel at k.
  void transform_weights(int channel, int channels, int k, T* u) const {
    alignas(64) staged_weights<T> staged;
    const T* from = w_ + std::ptrdiff_t(channel) * s_.k + k;
    for (int c = 0; c < channels; ++c, u += panel) {
      const int row = c % staged.rows;
      if (row == 0) {
        staged.load(from + c * std::ptrdiff_t(s_.k), std::ptrdiff_t(s_.c) * s_.k, s_.k,
                    std::min(staged.rows, channels - c));
      }
      for (int l = 0; l < panel; l += width<T>) {
        transform_square<typename winograd<M>::filter, T>(
            [&](int i, int j) { return vec<T>::load(staged.at(row, 3 * i + j) + l); },
            [&](int i, const vec<T>(&taps)[size]) {
              T* plane = u + i * size * plan_t::u_plane + l;
              unroll<size>([&](auto j) { taps[j].storeu(plane + j * plan_t::u_plane); });
            });
      }
    }
  }

  // product [plane][tiles][panel] = V of the chunk times the transformed weights of the panel at k.
  void multiply(const T* v, int tiles, int k, T* u, T* product) const {
    for (int block = 0; block < plan_.channel_blocks; ++block, v += plan_.block_step) {
      const int channels = channels_of(block);
      transform_weights(block * plan_.block_channels, channels, k, u);
      for (int plane = 0; plane < planes; ++plane) {
        const T* a = v + plane * plan_.plane_step;
        T* c = product + plane * plan_t::product_plane;
        for (int tile = 0; tile < tiles; tile += tile_rows) {
          multiply_tile<tile_rows, width<T>, width<T>>(
              channels, a + std::ptrdiff_t(tile) * channels, tile_rows * width<T>,
              u + plane * plan_t::u_plane, panel, c + tile * panel, panel, block > 0);
        }
      }
    }
  }

  void transform_outputs(int first, int tiles, int k, const T* product) const {
    for (int tile = 0; tile < tiles; ++tile, product += panel) {
      const auto at = grid_.at(first + tile), next = grid_.at(first + tile + 1);
      if (tile + 1 < tiles) output_.prefetch(s_, next.image, next.row, next.column, k);
      for (int l = 0; l < panel; l += width<T>) {
        auto place = output_.at(s_, at.image, at.row, at.column, k + l);
        transform_square<typename winograd<M>::output, T>(
            [&](int i, int j) {
              return vec<T>::loadu(product + (i * size + j) * plan_t::product_plane + l);
            },
            [&](int i, const vec<T>(&row)[M]) { place.row(i, row); });
      }
    }
  }

  const convolution_shape s_;
  const plan_t plan_;
  const grid_t grid_;
  const T* x_;
  const T* w_;
  const Output output_;
  T* v_;
  cpu_device& device_;
};

template <int M, class T, class Output>
void winograd_run(const convolution_shape& s, const T* x, const T* w, const Output& output, T* v,
                  cpu_device& device) {
  winograd_convolution<M, T, Output>(s, x, w, output, v, device).run();
}

// The convolution of dy that yields the gradient to x: the taps turned round, c and k exchanged.
constexpr convolution_shape winograd_gradient_shape(const convolution_shape& s) {
  return {s.n, s.out_h, s.out_w, s.k, 3, 3, 1, 1, 1, 1, 2 - s.pad_top, 2 - s.pad_left,
          s.h, s.w, s.c};
}

// to [3, 3, k, c] = the weights w [3, 3, c, k], turned round and transposed.
template <class T>
void turn_weights(const convolution_shape& s, const T* w, T* to, cpu_device& device) {
  constexpr int block = 64;
  const std::ptrdiff_t tap = std::ptrdiff_t(s.c) * s.k;
  const int blocks = divide_up(s.k, block);
  device.parallel(9 * blocks, [&](int task, int) {
    const int k = task % blocks * block;
    transpose(to + (8 - task / blocks) * tap + std::ptrdiff_t(k) * s.c, s.c,
              w + task / blocks * tap + k, s.k, std::min(block, s.k - k), s.c);
  });
}

}  // namespace detail

/// Elements of T that winograd_forward and winograd_forward_max_pool need as workspace.
template <int M, class T>
constexpr std::size_t winograd_forward_workspace(const convolution_shape& s) {
  return detail::winograd_plan<M, T>(s).workspace();
}

/// y = Act(convolution(x, w) + bias); bias [k] may be null.
template <int M, class Act, class T>
void winograd_forward(const convolution_shape& s, const T* x, const T* w, const T* bias, T* y,
                      T* workspace, cpu_device& device) {
  detail::winograd_run<M>(s, x, w, detail::winograd_activation<M, Act, T>{bias, y}, workspace,
                          device);
}

template <int M, class T>
constexpr std::size_t winograd_forward_max_pool_workspace(const convolution_shape& s) {
  return winograd_forward_workspace<M, T>(s);
}

/// pooled [n, out_h / 2, out_w / 2, k] = 2 x 2 max pooling of stride 2 (VALID: an odd last row or
/// column is left out) of Act(convolution(x, w) + bias), which is not written itself. argmax (nullable,
/// shaped like pooled) = which of the window's four was the first largest, in row-major order.
template <int M, class Act, class T>
void winograd_forward_max_pool(const convolution_shape& s, const T* x, const T* w, const T* bias,
                               T* pooled, std::uint8_t* argmax, T* workspace, cpu_device& device) {
  detail::winograd_run<M>(s, x, w, detail::winograd_max_pool<M, Act, T>{bias, pooled, argmax},
                          workspace, device);
}

/// Elements of T that winograd_backward_data needs as workspace.
template <int M, class T>
constexpr std::size_t winograd_backward_data_workspace(const convolution_shape& s) {
  return round_up_size(s.weights(), line<T>) +
         detail::winograd_plan<M, T>(detail::winograd_gradient_shape(s)).workspace();
}

/// dx [n, h, w, c] = the gradient of the convolution (of shape s) to its input, given dy. If
/// y_previous (shaped like x: the output of the activation Act that made x) is not null,
/// dx = Act::backward(dx, y_previous).
template <int M, class Act, class T>
void winograd_backward_data(const convolution_shape& s, const T* dy, const T* w,
                            const T* y_previous, T* dx, T* workspace, cpu_device& device) {
  detail::turn_weights(s, w, workspace, device);
  detail::winograd_run<M>(detail::winograd_gradient_shape(s), dy, workspace,
                          detail::winograd_gradient<M, Act, T>{y_previous, dx},
                          workspace + round_up_size(s.weights(), line<T>), device);
}

}  // namespace slim::cpu
