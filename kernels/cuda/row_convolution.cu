#include "row_convolution.hpp"

#include <algorithm>
#include <bit>
#include <string>

#include "early.cuh"
#include "row_results.cuh"

// A product is [64 filters, 64 channels] by [64 channels, pixels], once for each of the nine taps.
// TMA brings a tile of pixels with its border once. Its rows lie one behind the other, so that the
// pixels of a tap are those of the first tap some pixels later: also those that are between a row's
// last and the next row's first, whose sums nobody reads. All nine taps' weights of 64 channels lie
// in shared memory, too; what is used up makes room for the next 64 channels'.
//
// Early, a block brings weights while the kernel before ends, and waits for that with pixels alone.

namespace slim::cuda {
namespace {

constexpr int taps = 9, tap_rows = 3, taps_of_row = 3;
constexpr int tap_bytes = product_filters * pixel_bytes, tap_row_bytes = taps_of_row * tap_bytes;
constexpr int most_groups = 2, most_depth = 2, most_tiles = 32767;
// More than half a multiprocessor's: two blocks on one, while others had none, would take twice as
// long.
constexpr int least_bytes = 116 << 10, most_bytes = 227 << 10;

struct arguments {
  CUtensorMap x, weights;
  const __nv_bfloat16* bias;
  __nv_bfloat16* y;
  images size;
  halo_channels c;
  int rows, tiles, blocks_shift, chunks;
  divisor of_image, across;  // tiles of an image, and of a row of them
  divisor pitch, columns;    // of a tile's pixels with the border, and of its results
  int buffer_bytes, weights_at, depth, staged_at, staged_each;
  bool relu, early;

  __device__ place first_of(int tile) const {
    const int image = of_image.quotient(tile), in_image = tile - image * of_image.value;
    const int row = across.quotient(in_image), column = in_image - row * across.value;
    return {image, row * rows, column * (pitch.value - 2)};
  }
  __device__ int blocks() const { return 1 << blocks_shift; }
  __device__ int rank() const { return static_cast<int>(blockIdx.x) & blocks() - 1; }
  /// The tile of the block's turn.
  __device__ int tile(int turn) const {
    return static_cast<int>(blockIdx.x) + turn * static_cast<int>(gridDim.x) >> blocks_shift;
  }
  __device__ int first_channel() const { return rank() * chunks * block_channels; }
  __device__ int first_filter() const { return static_cast<int>(blockIdx.y) * product_filters; }
  /// Where a chunk's weights lie, `depth` being 1 or 2, and whose turn it is there.
  __device__ int stage(int chunk) const { return chunk & depth - 1; }
  __device__ int turn(int chunk) const { return chunk >> depth - 1; }
};

struct barriers {
  uint64_t pixels_full[2], weights_full[most_depth][tap_rows];
  uint64_t pixels_empty[2], weights_empty[most_depth][tap_rows];
};
constexpr int filled = 2 + most_depth * tap_rows, emptied = 2 + most_depth * tap_rows;

/// Where the block has its pixels, and behind them weights.
struct block_memory {
  uint32_t begin, first_weights;

  __device__ uint32_t pixels(const arguments& a, int load) const {
    return begin + (load & 1) * a.buffer_bytes;
  }
  __device__ uint32_t weights(const arguments& a, int chunk, int row) const {
    return first_weights + (a.stage(chunk) * tap_rows + row) * tap_row_bytes;
  }
};

// ---- Products ----

__device__ void order_weights(const arguments& a, block_memory m, barriers& b, int chunk, int row) {
  const int stage = a.stage(chunk), turn = a.turn(chunk);
  if (turn > 0) wait(&b.weights_empty[stage][row], turn & 1 ^ 1);
  arrive_expecting(&b.weights_full[stage][row], tap_row_bytes);
  copy_box(m.weights(a, chunk, row), a.weights, &b.weights_full[stage][row],
           a.first_channel() + chunk * block_channels, {0, row * taps_of_row, a.first_filter()});
}
__device__ void order_pixels(const arguments& a, block_memory m, barriers& b, int load, place first,
                             int chunk) {
  const int buffer = load & 1;
  if (load > 1) wait(b.pixels_empty + buffer, load >> 1 & 1 ^ 1);
  arrive_expecting(b.pixels_full + buffer, (a.rows + 2) * a.pitch.value * pixel_bytes);
  copy_box(m.pixels(a, load), a.x, b.pixels_full + buffer,
           a.first_channel() + chunk * block_channels, {first.n, first.h - 1, first.w - 1});
}
/// In the order in which products need them. Where a block has several tiles, all have one chunk,
/// whose weights stay.
__device__ void order(const arguments& a, block_memory m, barriers& b) {
  int ordered = 0, load = 0;
  const auto order_weights_until = [&](int chunk) {
    for (; ordered < min(chunk, a.chunks); ++ordered)
      for (int row = 0; row < tap_rows; ++row) order_weights(a, m, b, ordered, row);
  };
  order_weights_until(1);
  wait_for_kernels_before();
  for (int turn = 0; a.tile(turn) < a.tiles; ++turn) {
    const place first = a.first_of(a.tile(turn));
    for (int chunk = 0; chunk < a.chunks; ++chunk, ++load) {
      order_pixels(a, m, b, load, first, chunk);
      order_weights_until(chunk + a.depth);
    }
  }
}

/// Waits for what a row of taps needs.
__device__ void await_row(const arguments& a, barriers& b, int load, int chunk, int row) {
  if (row == 0) wait(b.pixels_full + (load & 1), load >> 1 & 1);
  wait(&b.weights_full[a.stage(chunk)][row], a.turn(chunk) & 1);
}
/// Gives back what a row of taps needed.
__device__ void release_row(const arguments& a, barriers& b, int load, int chunk, int row) {
  arrive(&b.weights_empty[a.stage(chunk)][row]);
  if (row + 1 == tap_rows) arrive(b.pixels_empty + (load & 1));
}

/// Adds up the chunks of a tile, whose first pixels are those of a load. Products queue up only one
/// or two deep, so that between two rows of taps nothing must be left to do: barriers are seen to
/// behind a row's first and second tap.
template <int Pixels>
__device__ void multiply(const arguments& a, block_memory m, barriers& b, int load,
                         float (&d)[Pixels / 2]) {
  await_row(a, b, load, 0, 0);
#pragma unroll 1
  for (int chunk = 0; chunk < a.chunks; ++chunk, ++load) {
#pragma unroll
    for (int row = 0; row < tap_rows; ++row) {
      const product_rows weights(m.weights(a, chunk, row));
      const product_rows pixels(m.pixels(a, load) + row * a.pitch.value * pixel_bytes);
#pragma unroll
      for (int tap = 0; tap < taps_of_row; ++tap) {
        begin_products();
#pragma unroll
        for (int piece = 0; piece < pixel_bytes; piece += 32)
          multiply_add(d, weights.at(tap * tap_bytes + piece), pixels.at(tap * pixel_bytes + piece),
                       chunk + row + tap + piece > 0);
        commit_products();
        if (tap == 0) {
          wait_products_before();
          if (row > 0)
            release_row(a, b, load, chunk, row - 1);
          else if (chunk > 0)
            release_row(a, b, load - 1, chunk - 1, tap_rows - 1);
        }
        if (tap == 1 && row + 1 < tap_rows) await_row(a, b, load, chunk, row + 1);
        if (tap == 1 && row + 1 == tap_rows && chunk + 1 < a.chunks)
          await_row(a, b, load + 1, chunk + 1, 0);
      }
    }
  }
  wait_products(d);
  arrive(b.pixels_empty + (load - 1 & 1));  // The next tile's may come.
}

// ---- Tiles ----

/// What the blocks of a cluster add up together, by way of where weights were.
template <int Pixels>
__device__ void share(shared_sum s, uint32_t sums, float (&d)[Pixels / 2]) {
  synchronize_group(0);  // All have used the weights.
  lay_out_half<Pixels, 0>(d, s, sums);
  lay_out_half<Pixels, 1>(d, s, sums);
  arrive_at_cluster();
  wait_for_cluster();
  add_half<Pixels, 0>(d, s, sums);
  add_half<Pixels, 1>(d, s, sums);
  arrive_at_cluster();
}

/// A group's tiles: each, or every other.
template <int Pixels, bool Pooled>
__device__ void make_tiles(const arguments& a, block_memory m, barriers& b) {
  constexpr int window = Pooled ? 2 : 1;
  // The same in all lanes, as the compiler can see: it then keeps addresses of products for the
  // warp.
  const int group = __shfl_sync(~0u, threadIdx.x / group_threads, 0);
  const int groups = blockDim.x / group_threads;
  const int filter = threadIdx.x % group_threads / 32 * 16 + threadIdx.x % 32 / 4;
  const shared_sum s{a.blocks_shift, a.rank()};
  finisher finish[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int at = a.first_filter() + filter + 8 * half;
    finish[half] = finisher(a.bias != nullptr ? __bfloat162float(a.bias[at]) : 0.0f, a.relu);
  }
  const uint32_t staged = m.begin + a.staged_at + group * a.staged_each;
  for (int turn = group; a.tile(turn) < a.tiles; turn += groups) {
    const place first = a.first_of(a.tile(turn));
    float d[Pixels / 2];
    multiply<Pixels>(a, m, b, turn, d);
    if (s.shift > 0) share<Pixels>(s, m.first_weights, d);
    synchronize_group(group);  // Nobody reads what is in the place of results any more.
    stage_half<Pixels, 0>(d, s, finish[0], a.pitch, staged);
    stage_half<Pixels, 1>(d, s, finish[1], a.pitch, staged);
    synchronize_group(group);
    const result_place to{a.y,
                          {a.size.n, a.size.h / window, a.size.w / window},
                          a.c.out,
                          a.first_filter(),
                          {first.n, first.h / window, first.w / window}};
    write_results<Pooled>(to, s, a.rows / window, a.columns, a.pitch.value, staged);
  }
}

template <int Pixels, bool Pooled>
__global__ void __launch_bounds__(most_groups* group_threads + 32, 1)
    row_kernel(const __grid_constant__ arguments a) {
  extern __shared__ char shared[];
  __shared__ barriers b;
  const uint32_t begin = (shared_address(shared) + 1023) / 1024 * 1024;
  const block_memory m{begin, begin + a.weights_at};
  const int lane = threadIdx.x % 32;
  const bool orders = threadIdx.x / 32 == blockDim.x / 32 - 1;
  if (orders) {
    static_assert(filled + emptied <= 32);
    if (lane < filled + emptied)
      make_barrier(b.pixels_full + lane, lane < filled ? 1 : group_threads);
    publish_barriers();
    if (lane == 0) prefetch_boxes(a.weights);
    if (lane == 1) prefetch_boxes(a.x);
  }
  __syncthreads();
  let_next_kernel_begin();
  if (!orders) {
    make_tiles<Pixels, Pooled>(a, m, b);
  } else {
    if (lane == 0) order(a, m, b);
    __syncwarp();
    if (a.blocks_shift > 0) {
      arrive_at_cluster();
      wait_for_cluster();
      arrive_at_cluster();
    }
  }
  if (a.blocks_shift > 0) wait_for_cluster();  // Others may still read this block's sums.
}

// ---- Host ----

int rounded(int bytes) { return (bytes + 1023) / 1024 * 1024; }

/// Weights [out, 9, in] as an image of a column for each filter and a row for each tap: boxes are
/// three taps of 64 filters and 64 channels.
CUtensorMap boxes_of_weights(const void* weights, halo_channels c) {
  static const encode_function encode = box_encoder();
  const auto in = static_cast<cuuint64_t>(c.in), out = static_cast<cuuint64_t>(c.out);
  const cuuint64_t dims[] = {in, out, taps, 1};
  const cuuint64_t strides[] = {taps * in * 2, in * 2, taps * in * out * 2};
  const cuuint32_t box[] = {block_channels, product_filters, taps_of_row, 1};
  const cuuint32_t steps[] = {1, 1, 1, 1};
  CUtensorMap map;
  if (encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, const_cast<void*>(weights), dims, strides,
             box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) != CUDA_SUCCESS)
    throw error("CUDA: weights of a convolution cannot be described to the driver");
  return map;
}

struct extents {
  int down, across, tiles;
  extents(images size, int rows, int columns)
      : down((size.h + rows - 1) / rows),
        across((size.w + columns - 1) / columns),
        tiles(size.n * down * across) {}
};

/// Bytes of pixels of a tile with its border, and those behind that sums nobody reads are made of.
int buffer_bytes(row_cut cut) {
  const int pitch = cut.columns + 2;
  return rounded(std::max((cut.rows + 2) * pitch, cut.pixels + 2 * pitch + 2) * pixel_bytes);
}

/// How a block's shared memory is laid out.
struct layout {
  int buffer, weights_at, depth, staged_at, staged_each, bytes, groups;

  layout(row_cut cut, halo_channels c, int tiles_each) {
    const int chunks = c.in / block_channels / cut.blocks;
    const int buffers = std::min(2, std::max(chunks, tiles_each));
    groups = tiles_each > 1 ? most_groups : 1;
    buffer = buffer_bytes(cut);
    staged_each = rounded(staged_bytes(cut.pixels, cut.columns + 2));
    weights_at = buffers * buffer;
    const auto end = [&](int deep) { return weights_at + deep * taps * tap_bytes; };
    const int rest = 1024 + (tiles_each > 1 ? groups * staged_each : 0);
    depth = chunks > 1 && end(2) + rest <= most_bytes ? 2 : 1;
    // One tile's results take the place of its pixels.
    staged_at = tiles_each > 1 ? end(depth) : 0;
    bytes = std::max(end(depth) + rest, least_bytes);
  }
};

int tiles_of_block(row_cut cut, images size, halo_channels c, int multiprocessors) {
  const int tiles = extents(size, cut.rows, cut.columns).tiles;
  const int side_by_side = std::max(1, multiprocessors / (c.out / product_filters));
  return cut.blocks > 1 ? 1 : (tiles + side_by_side - 1) / side_by_side;
}

bool serves(row_cut cut, images size, halo_channels c, int multiprocessors) {
  const int chunks = c.in / block_channels;
  if (chunks % cut.blocks != 0) return false;
  const int each = tiles_of_block(cut, size, c, multiprocessors);
  const int tiles = extents(size, cut.rows, cut.columns).tiles;
  const long blocks = long{tiles} * (c.out / product_filters) * cut.blocks;
  if (tiles > most_tiles || (chunks > 1 ? blocks > multiprocessors : each > 8)) return false;
  return layout(cut, c, each).bytes <= most_bytes;
}

/// The tile that covers images with the fewest products; of several the one with the least border.
row_cut best_tile(int pixels, images size, bool pooled) {
  const int even = pooled ? 2 : 1;
  row_cut best{pixels, 0, 0, 1};
  int fewest = 0, least = 0;
  for (int pieces = 1; pieces <= size.w; ++pieces) {
    const int columns = ((size.w + pieces - 1) / pieces + even - 1) / even * even;
    const int rows =
        std::min(pixels / (columns + 2), (size.h + even - 1) / even * even) / even * even;
    if (rows == 0) continue;
    const int tiles = extents(size, rows, columns).tiles, with_border = (rows + 2) * (columns + 2);
    if (best.rows == 0 || tiles < fewest || (tiles == fewest && with_border < least))
      best.rows = rows, best.columns = columns, fewest = tiles, least = with_border;
  }
  return best;
}

template <int Pixels, bool Pooled>
void start(const arguments& a, dim3 grid, const layout& l, cudaStream_t stream) {
  constexpr auto kernel = row_kernel<Pixels, Pooled>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, l.bytes);
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {1u << a.blocks_shift, 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = a.early;
  cudaLaunchConfig_t config{};
  config.gridDim = grid, config.stream = stream;
  config.blockDim = static_cast<unsigned>(l.groups * group_threads + 32);
  config.dynamicSmemBytes = static_cast<std::size_t>(l.bytes);
  config.attrs = attributes, config.numAttrs = a.early ? 2 : 1;
  if (const cudaError_t e = cudaLaunchKernelEx(&config, kernel, a); e != cudaSuccess)
    throw error(std::string("CUDA: a convolution of few images: ") + cudaGetErrorString(e));
}
template <int Pixels>
void start(bool pooled, const arguments& a, dim3 grid, const layout& l, cudaStream_t stream) {
  pooled ? start<Pixels, true>(a, grid, l, stream) : start<Pixels, false>(a, grid, l, stream);
}

}  // namespace

std::vector<row_cut> row_cuts(images size, halo_channels c, bool pooled, int multiprocessors) {
  std::vector<row_cut> cuts;
  if (c.in % block_channels != 0 || c.out % product_filters != 0) return cuts;
  if (size.n < 1 || size.h < 1 || size.w < 1) return cuts;
  for (const int pixels : {64, 128, 232}) {
    row_cut cut = best_tile(pixels, size, pooled);
    for (cut.blocks = 1; cut.blocks <= 8; cut.blocks *= 2)
      if (cut.rows > 0 && serves(cut, size, c, multiprocessors)) cuts.push_back(cut);
  }
  return cuts;
}

void row_forward(const void* x, const void* weights, const void* bias, void* y, images size,
                 halo_channels c, row_cut cut, row_options how, CUstream_st* stream) {
  const extents e(size, cut.rows, cut.columns);
  const int each = tiles_of_block(cut, size, c, how.multiprocessors);
  const layout l(cut, c, each);
  const arguments a{boxes_of(x, size, c.in, cut.rows + 2, cut.columns + 2),
                    boxes_of_weights(weights, c),
                    static_cast<const __nv_bfloat16*>(bias),
                    static_cast<__nv_bfloat16*>(y),
                    size,
                    c,
                    cut.rows,
                    e.tiles,
                    std::countr_zero(static_cast<unsigned>(cut.blocks)),
                    c.in / block_channels / cut.blocks,
                    divisor(e.down * e.across),
                    divisor(e.across),
                    divisor(cut.columns + 2),
                    divisor(cut.columns / (how.pooled ? 2 : 1)),
                    l.buffer,
                    l.weights_at,
                    l.depth,
                    l.staged_at,
                    l.staged_each,
                    how.relu,
                    how.early};
  const dim3 grid(static_cast<unsigned>((e.tiles + each - 1) / each * cut.blocks),
                  static_cast<unsigned>(c.out / product_filters));
  if (cut.pixels == 64) return start<64>(how.pooled, a, grid, l, stream);
  if (cut.pixels == 128) return start<128>(how.pooled, a, grid, l, stream);
  start<232>(how.pooled, a, grid, l, stream);
}

}  // namespace slim::cuda
