#pragma once

// The products at the heart of winograd.hpp. The tiles go in super-blocks, so that their
// transformed inputs V stay in the shared cache:
//   1. V = B^T d B for all tiles of the super-block, into the workspace;
//   2. a task for each chunk of tiles and each panel of output channels: transforms the panel's
//      weights, multiplies plane by plane, transforms and finishes the outputs, all in scratch.
// Transforming the weights again for each chunk costs a few per cent and saves writing them
// to memory and reading them back. With many tiles of few channels a task does both for its chunk.

#include <cassert>
#include <cstddef>

#include <slim/kernels/cpu/winograd_tiles.hpp>

namespace slim::cpu::detail {

// V is laid out [chunk][channel block][plane][tile block][channels / width][tile_rows][width]: a
// micro-kernel reads it in order. Depends on the extents only.
template <int M, class T>
struct winograd_plan {
  static constexpr int planes = winograd<M>::planes;
  // Both operands and the product of a task have to fit in the second-level cache.
  static constexpr int max_chunk = 4608 / planes / tile_rows * tile_rows;
  static constexpr int max_channels = 4608 / planes / 32 * 32;
  static constexpr std::size_t shared_bytes = std::size_t{4} << 20;
  static constexpr std::size_t private_bytes = std::size_t{608} << 10;
  static constexpr int min_private_chunk = 48;  // tiles that pay for transforming weights
  static constexpr int min_private_chunks = 16;

  static constexpr int u_plane = max_channels * tile_columns<T> + line<T>;
  static constexpr int product_plane = max_chunk * tile_columns<T> + line<T>;
  static_assert(std::size_t(planes) * (u_plane + product_plane) * sizeof(T) + private_bytes <=
                cpu_device::scratch_bytes);

  int tiles, channels;
  int block_channels = std::min(max_channels, channels);
  int channel_blocks = divide_up(channels, block_channels);
  // With few channels a task can hold V of enough tiles in its scratch.
  int private_chunk =
      std::min(max_chunk, (int(private_bytes / sizeof(T)) / planes - line<T>) / channels) /
      tile_rows * tile_rows;
  bool has_private_tiles = channel_blocks == 1 && private_chunk >= min_private_chunk &&
                           tiles >= min_private_chunks * private_chunk;
  int chunk = has_private_tiles ? private_chunk : shared_chunk();
  std::ptrdiff_t plane_step = plane_size(chunk);
  std::ptrdiff_t block_step = planes * plane_step;
  std::ptrdiff_t chunk_step = channel_blocks * block_step;
  int super_blocks = divide_up(tiles, max_chunks() * shared_chunk());
  int super_tiles = round_up(divide_up(tiles, super_blocks), tile_rows);

  constexpr winograd_plan(const convolution_shape& s)
      : tiles(tile_grid<M>(s).tiles()), channels(s.c) {}

  constexpr int shared_chunk() const { return std::min(max_chunk, round_up(tiles, tile_rows)); }
  // A line more than it takes keeps the planes from falling into the same sets of the cache.
  constexpr std::ptrdiff_t plane_size(int chunk) const {
    return std::ptrdiff_t(chunk) * block_channels + line<T>;
  }
  constexpr std::size_t shared_chunk_size() const {
    return std::size_t(channel_blocks) * planes * std::size_t(plane_size(shared_chunk()));
  }
  constexpr int max_chunks() const {
    return std::max(1, int(shared_bytes / (shared_chunk_size() * sizeof(T))));
  }
  // Also enough for a smaller batch, which may share V where this one does not.
  constexpr std::size_t workspace() const {
    return std::size_t(std::min(max_chunks(), divide_up(tiles, shared_chunk()))) *
           shared_chunk_size();
  }
};

// The products of a convolution: everything but what becomes of them.
template <int M, class T>
class winograd_product {
  using plan_t = winograd_plan<M, T>;
  using grid_t = tile_grid<M>;
  static constexpr int size = winograd<M>::size;
  static constexpr int planes = winograd<M>::planes;
  static constexpr int panel = tile_columns<T>;

 public:
  winograd_product(const convolution_shape& s, const T* x, const T* w, T* v, cpu_device& device)
      : s_(s), plan_(s), grid_(s), x_(x), w_(w), v_(v), device_(device) {
    assert(winograd_supports<T>(s));
  }

  // Calls finish(first, tiles, k, product) for each chunk of tiles from `first` on and each panel
  // of output channels from k on. Element (plane, tile, l) of the product is
  // product[plane * winograd_plan::product_plane + tile * panel + l].
  template <class Finish>
  void run(const Finish& finish) {
    if (plan_.has_private_tiles) return run_private(finish);
    for (int first = 0; first < plan_.tiles; first += plan_.super_tiles) {
      run_super_block(first, std::min(plan_.tiles, first + plan_.super_tiles), finish);
    }
  }

 private:
  // A task does all of a chunk of tiles, with V in its scratch.
  template <class Finish>
  void run_private(const Finish& finish) {
    device_.parallel(divide_up(plan_.tiles, plan_.chunk), [&](int task, int worker) {
      const int first = task * plan_.chunk, tiles = std::min(plan_.chunk, plan_.tiles - first);
      T* u = reinterpret_cast<T*>(device_.scratch(worker));
      T* product = u + planes * plan_t::u_plane;
      T* v = product + planes * plan_t::product_plane;
      for (int tile = 0; tile < tiles; tile += tile_rows) {
        transform_inputs(first + tile, first + tiles, tile / tile_rows, 0, v);
      }
      for (int k = 0; k < s_.k; k += panel) {
        multiply(v, tiles, k, u, product);
        finish(first, tiles, k, product);
      }
    });
  }

  template <class Finish>
  void run_super_block(int first, int end, const Finish& finish) {
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
      finish(tile, tiles, task % panels * panel, product);
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
      if (tile + r + 1 < end) {
        prefetch_window<false>(next.at, row_step(), s_.c, next.part, channels);
      }
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

  const convolution_shape s_;
  const plan_t plan_;
  const grid_t grid_;
  const T* x_;
  const T* w_;
  T* v_;
  cpu_device& device_;
};

}  // namespace slim::cpu::detail
