#pragma once

// The products at the heart of winograd.hpp. The tiles go in super-blocks, so that their
// transformed inputs V stay in the shared cache:
//   1. V = B^T d B for all tiles of the super-block, into the workspace;
//   2. a task for each chunk of tiles and each panel of output channels: multiplies plane by plane
//      with the panel's transformed weights, transforms and finishes the outputs, all in scratch.
// With many tiles of few channels a task does both for its chunk. Weights that were not transformed
// beforehand are transformed by each task for itself: that costs a few per cent and saves writing
// them to memory and reading them back.

#include <cassert>
#include <cstddef>

#include <slim/kernels/cpu/winograd_inputs.hpp>
#include <slim/kernels/cpu/winograd_tiles.hpp>

namespace slim::cpu {

/// Weights as a convolution takes them: as they are, or transformed beforehand.
template <class T>
struct winograd_weights {
  const T* raw;
  const T* prepared = nullptr;  ///< then raw is not read
};

namespace detail {

// V is laid out [chunk][channel block][plane][tile block][channels / width][height][width], with as
// many tiles in a block as the micro-kernel is high, which reads it in order. Transformed weights
// are laid out [panel][channel block][plane][channels][panel columns]. Depends on the extents only.
template <class W, class T>
struct winograd_plan {
  static constexpr int planes = W::planes;
  static constexpr int panel = tile_columns<T>;
  // Both operands and the product of a task have to fit in the second-level cache.
  static constexpr int max_chunk = 4608 / planes;
  static constexpr int max_own_channels = 4608 / planes / 32 * 32;  // transformed by the task
  static constexpr int max_prepared_channels = 128;
  static constexpr std::size_t shared_bytes = std::size_t{4} << 20;
  static constexpr std::size_t private_bytes = std::size_t{608} << 10;
  static constexpr std::size_t private_prepared_bytes = std::size_t{896} << 10;  // with the product
  static constexpr int min_private_chunks = 16;

  static constexpr int u_plane = max_own_channels * panel + line<T>;
  static constexpr int product_plane = max_chunk * panel + line<T>;
  static_assert(std::size_t(planes) * (u_plane + product_plane) * sizeof(T) + private_bytes <=
                cpu_device::scratch_bytes);
  static_assert(std::size_t(planes) * product_plane * sizeof(T) + private_prepared_bytes <=
                cpu_device::scratch_bytes);

  bool prepared;  // the weights
  int tiles, channels;
  int block_channels = std::min(prepared ? max_prepared_channels : max_own_channels, channels);
  int channel_blocks = divide_up(channels, block_channels);
  // With few channels a task can hold V of enough tiles in its scratch.
  int private_chunk = std::min(max_chunk, private_tiles()) / max_tile_rows * max_tile_rows;
  bool has_private_tiles = channel_blocks == 1 && private_chunk >= (prepared ? 24 : 48) &&
                           tiles >= min_private_chunks * private_chunk;
  int chunk = has_private_tiles ? private_chunk : shared_chunk();
  std::ptrdiff_t plane_step = plane_size(chunk);
  std::ptrdiff_t block_step = planes * plane_step;
  std::ptrdiff_t chunk_step = channel_blocks * block_step;
  int super_blocks = divide_up(tiles, max_chunks() * shared_chunk());
  int super_tiles = divide_up(tiles, super_blocks);

  constexpr winograd_plan(const convolution_shape& s, bool prepared)
      : prepared(prepared), tiles(tile_grid<W>(s).tiles()), channels(round_up(s.c, width<T>)) {}

  constexpr int private_tiles() const {
    if (prepared) return int(private_prepared_bytes / sizeof(T)) / planes / (channels + panel);
    return (int(private_bytes / sizeof(T)) / planes - line<T>) / channels - max_tile_rows;
  }
  constexpr int shared_chunk() const { return std::min(max_chunk, tiles); }
  // A line more than it takes keeps the planes from falling into the same sets of the cache.
  constexpr std::ptrdiff_t plane_size(int chunk) const {
    return std::ptrdiff_t(chunk + max_tile_rows - 1) * block_channels + line<T>;
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
  constexpr int channels_of(int block) const {
    return std::min(block_channels, channels - block * block_channels);
  }
  // Elements of a panel's transformed weights.
  constexpr std::ptrdiff_t panel_size() const { return std::ptrdiff_t(planes) * channels * panel; }
};

// u [plane][channels][panel] = the transformed weights w [R, R, c, k] from `channel` on to the
// panel at k, times scale [k] (nullable); zero beyond c and k.
template <class W, class T>
void winograd_transform_weights(int c, int k, const T* w, const T* scale, int channel, int channels,
                                int column, T* u, std::ptrdiff_t plane_step) {
  constexpr int panel = tile_columns<T>, taps = W::taps;
  using staged_t = staged_weights<W, T>;
  staged_t staged;
  const int columns = std::min(panel, k - column), existing = std::min(channels, c - channel);
  const T* from = w + std::ptrdiff_t(channel) * k + column;
  for (int i = 0; i < existing; ++i, u += panel) {
    const int row = i % staged_t::rows;
    if (row == 0) {
      const int count = std::min(staged_t::rows, existing - i);
      staged.load(from + i * std::ptrdiff_t(k), std::ptrdiff_t(c) * k, k, count, columns);
      if (scale != nullptr) staged.multiply(scale + column, count, columns);
    }
    for (int l = 0; l < panel; l += width<T>) {
      transform_square<typename W::filter, T>(
          [&](int a, int b) { return vec<T>::load(staged.at(row, taps * a + b) + l); },
          [&](int a, const vec<T>(&line)[W::size]) {
            T* plane = u + a * W::size * plane_step + l;
            unroll<W::size>([&](auto b) { line[b].storeu(plane + b * plane_step); });
          });
    }
  }
  const int missing = (channels - existing) * panel;
  for (int plane = 0; plane < W::planes && missing > 0; ++plane)
    std::fill(u + plane * plane_step, u + plane * plane_step + missing, T(0));
}

// The products of a convolution: everything but what becomes of them.
template <class W, class T>
class winograd_product {
  using plan_t = winograd_plan<W, T>;
  static constexpr int planes = W::planes;
  static constexpr int panel = tile_columns<T>;

 public:
  winograd_product(const convolution_shape& s, const T* x, const winograd_weights<T>& w, T* v,
                   cpu_device& device)
      : s_(s), plan_(s, w.prepared != nullptr), grid_(s), x_(x), w_(w), v_(v), device_(device) {
    assert(winograd_supports<W>(s));
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
  T* product_of(int worker) const {
    T* scratch = reinterpret_cast<T*>(device_.scratch(worker));
    return plan_.prepared ? scratch : scratch + planes * plan_t::u_plane;
  }

  // A task does all of a chunk of tiles, with V in its scratch.
  template <class Finish>
  void run_private(const Finish& finish) {
    device_.parallel(divide_up(plan_.tiles, plan_.chunk), [&](int task, int worker) {
      const int first = task * plan_.chunk, tiles = std::min(plan_.chunk, plan_.tiles - first);
      T* product = product_of(worker);
      T* v = product + planes * plan_t::product_plane;
      const int height = best_height(plan_.chunk);
      for (int c = 0; c < plan_.channels; c += inputs_t::channels)
        transform_inputs(first, first + tiles, 0, c, first, plan_.chunk, height, v);
      for (int k = 0; k < s_.k; k += panel) {
        multiply(v, tiles, height, k, worker, product);
        finish(first, tiles, k, product);
      }
    });
  }

  template <class Finish>
  void run_super_block(int first, int end, const Finish& finish) {
    constexpr int group = 16;  // tiles whose inputs a task transforms
    const int chunks = divide_up(end - first, plan_.chunk);
    const int chunk = divide_up(end - first, chunks), height = best_height(chunk);
    const int strips = divide_up(plan_.block_channels, inputs_t::channels);
    const int pieces = strips * plan_.channel_blocks;
    device_.parallel(divide_up(end - first, group) * pieces, [&](int task, int) {
      const int tile = first + task / pieces * group;
      transform_inputs(tile, std::min(end, tile + group), task % pieces / strips,
                       task % strips * inputs_t::channels, first, chunk, height, v_);
    });
    const int panels = divide_up(s_.k, panel);
    device_.parallel(chunks * panels, [&](int task, int worker) {
      const int tile = first + task / panels * chunk, tiles = std::min(chunk, end - tile);
      if (tiles <= 0) return;
      const int k = task % panels * panel;
      T* product = product_of(worker);
      multiply(v_ + task / panels * plan_.chunk_step, tiles, height, k, worker, product);
      finish(tile, tiles, k, product);
    });
  }

  using inputs_t = winograd_inputs<W, T>;

  // The tiles [tile, end) and a strip of a channel block from `channel` of it on, into the V of
  // their chunks, of which the first begins with tile `first`.
  void transform_inputs(int tile, int end, int block, int channel, int first, int chunk, int height,
                        T* v) const {
    const int in_block = plan_.channels_of(block);
    const int begin = block * plan_.block_channels + channel;
    const int number = std::min({inputs_t::channels, in_block - channel, s_.c - begin});
    if (number <= 0) return;
    T* to = v + block * plan_.block_step + std::ptrdiff_t(channel) * height;
    const auto place = [&](int t) {
      const int at = (t - first) % chunk;
      return to + (t - first) / chunk * plan_.chunk_step +
             std::ptrdiff_t(at / height) * height * in_block + at % height * width<T>;
    };
    inputs_t inputs(s_, x_);
    while (tile < end) {
      const int count = grid_.in_row(tile, end);
      inputs.transform(tile, count, begin, number, plan_.plane_step, height * width<T>, place);
      tile += count;
    }
  }

  // Asks for a share of the next plane's weights: they come from memory once, in its first tile.
  struct prefetch_weights {
    const T* next;
    int lines;  // a chunk of channels

    [[gnu::always_inline]] void operator()() {
      for (int i = 0; i < lines; ++i, next += line<T>) __builtin_prefetch(next, 0, 2);
    }
  };

  // product [plane][tiles][panel] = V of the chunk times the transformed weights of the panel at k.
  void multiply(const T* v, int tiles, int height, int k, int worker, T* product) const {
    T* own = reinterpret_cast<T*>(device_.scratch(worker));
    const T* u = plan_.prepared ? w_.prepared + k / panel * plan_.panel_size() : own;
    for (int block = 0; block < plan_.channel_blocks; ++block, v += plan_.block_step) {
      const int channels = plan_.channels_of(block);
      std::ptrdiff_t u_plane = std::ptrdiff_t(channels) * panel;
      if (!plan_.prepared) {
        u_plane = plan_t::u_plane;
        winograd_transform_weights<W>(s_.c, s_.k, w_.raw, static_cast<const T*>(nullptr),
                                      block * plan_.block_channels, channels, k, own, u_plane);
      }
      for (int plane = 0; plane < planes; ++plane) {
        multiply_plane(v + plane * plan_.plane_step, tiles, height, channels, u + plane * u_plane,
                       product + plane * plan_t::product_plane, block > 0);
      }
      if (plan_.prepared) u += planes * u_plane;
    }
  }

  void multiply_plane(const T* v, int tiles, int height, int channels, const T* u, T* product,
                      bool accumulate) const {
    // A chunk of channels has 2 * width lines of weights, shared out to the tiles.
    const int lines = plan_.prepared ? divide_up(2 * width<T>, divide_up(tiles, height)) : 0;
    prefetch_weights ahead{u + std::ptrdiff_t(channels) * panel, lines};
    for (int tile = 0; tile < tiles; tile += height) {
      with_rows<max_tile_rows>(std::min(height, tiles - tile), [&](auto rows) {
        multiply_tile<rows, width<T>, width<T>>(channels, v + std::ptrdiff_t(tile) * channels,
                                                height * width<T>, u, panel, product + tile * panel,
                                                panel, accumulate, ahead);
      });
      ahead.next += std::ptrdiff_t(channels / width<T>) * lines * line<T>;
    }
  }

  const convolution_shape s_;
  const plan_t plan_;
  const tile_grid<W> grid_;
  const T* x_;
  const winograd_weights<T> w_;
  T* v_;
  cpu_device& device_;
};

}  // namespace detail
}  // namespace slim::cpu
