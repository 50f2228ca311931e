#include "split_convolution.hpp"

#include <cuda_bf16.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "hopper.cuh"
#include "window_maximum.cuh"

// A tile is up to 128 pixels, whole rows of an image where they fit, and 64 or 128 filters. A step
// of its sum is one tap of the filter and 64 channels, of which TMA brings
//   [128 pixels, 64 channels] and [filters, 64 channels]
// into a ring of shared memory; two groups of four warps have half of the pixels each. The blocks
// of a cluster have a range of the steps each. Then every block leaves its sums in shared memory,
// reads those of all, in order, for its share of the tile, and finishes that: bias, ReLU, maxima.
//
// Tiles read once, with a border, for all nine taps are no faster here, and programmatic dependent
// launches make a recorded VGG-16 slower (219 to 248 us on an H200).

namespace slim::cuda {
namespace {

constexpr int taps = 9, consumers = 2, threads = consumers * group_threads + 32;
constexpr int tile_pixels = 128, pixels_bytes = tile_pixels * pixel_bytes;
constexpr int piece_filters = 8;  // that a thread finishes at once

/// Shared memory: the ring, and in its place the block's sums, whose rows lie so far apart that
/// lanes do not meet in a bank.
template <int Filters>
struct layout {
  static constexpr int stage_bytes = pixels_bytes + Filters * pixel_bytes;
  static constexpr int stages = Filters == 128 ? 6 : 8;
  static constexpr int row_bytes = (Filters + 8) * 4;
  static constexpr int bytes = stages * stage_bytes + 1024;  // to be aligned to 1024
  static_assert(tile_pixels * row_bytes <= stages * stage_bytes);
};

/// Tiles of h x w pixels, both even.
struct tiling {
  int h, w, down, across;

  explicit tiling(images size) {
    constexpr int widest = 64;
    const int pieces = (size.w + widest - 1) / widest;
    w = even((size.w + pieces - 1) / pieces);
    h = std::min(tile_pixels / w / 2 * 2, even(size.h));
    down = (size.h + h - 1) / h, across = (size.w + w - 1) / w;
  }
  static int even(int count) { return (count + 1) / 2 * 2; }
  __host__ __device__ int of_image() const { return down * across; }
  __device__ place first_of(int tile) const {
    const int in_image = tile % of_image();
    return {tile / of_image(), in_image / across * h, in_image % across * w};
  }
};

struct arguments {
  CUtensorMap x, weights;
  const __nv_bfloat16* bias;
  __nv_bfloat16* y;
  images size;
  halo_channels c;
  tiling tiles;
  int blocks;  // of a cluster
  bool relu;

  __device__ int rank() const { return blockIdx.x % blocks; }
  __device__ place first_pixel() const { return tiles.first_of(blockIdx.x / blocks); }
  __device__ int pieces() const { return c.in / block_channels; }
  /// The block's steps are those from its rank's first to the next rank's.
  __device__ int first_step(int of_rank) const { return taps * pieces() * of_rank / blocks; }
};

// ---- Clusters ----

__device__ void synchronize_cluster() {
  asm volatile(
      "barrier.cluster.arrive.release.aligned;\n"
      "barrier.cluster.wait.acquire.aligned;" ::
          : "memory");
}
__device__ float4 load_of_block(uint32_t address, int rank) {
  float4 v;
  asm volatile(
      "{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %4, %5;\n"
      "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [there];\n"
      "}\n"
      : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
      : "r"(address), "r"(rank)
      : "memory");
  return v;
}

// ---- Products ----

template <int Filters>
__device__ void order_steps(const arguments& a, uint32_t memory, uint64_t* full, uint64_t* empty) {
  using at = layout<Filters>;
  const place first = a.first_pixel();
  const int bytes = a.tiles.h * a.tiles.w * pixel_bytes + Filters * pixel_bytes;
  const int begin = a.first_step(a.rank()), end = a.first_step(a.rank() + 1);
  for (int step = begin; step < end; ++step) {
    const int turn = step - begin, stage = turn % at::stages;
    const int tap = step / a.pieces(), channel = step % a.pieces() * block_channels;
    const uint32_t to = memory + stage * at::stage_bytes;
    wait(empty + stage, turn / at::stages % 2 ^ 1);
    arrive_expecting(full + stage, bytes);
    copy_box(to, a.x, full + stage, channel,
             {first.n, first.h + tap / 3 - 1, first.w + tap % 3 - 1});
    copy_box(to + pixels_bytes, a.weights, full + stage, channel,
             {0, static_cast<int>(blockIdx.y) * Filters, tap});
  }
}

template <int Filters>
__device__ void multiply_steps(const arguments& a, uint32_t memory, uint64_t* full, uint64_t* empty,
                               float (&d)[Filters / 2]) {
  using at = layout<Filters>;
  const int rows = threadIdx.x / group_threads * (tile_pixels / consumers) * pixel_bytes;
  const int count = a.first_step(a.rank() + 1) - a.first_step(a.rank());
  for (int turn = 0; turn < count; ++turn) {
    const int stage = turn % at::stages;
    const uint32_t from = memory + stage * at::stage_bytes;
    wait(full + stage, turn / at::stages % 2);
    begin_products();
#pragma unroll
    for (int piece = 0; piece < block_channels / 16; ++piece)
      multiply_add(d, matrix_at(from + rows + 32 * piece, 8 * pixel_bytes),
                   matrix_at(from + pixels_bytes + 32 * piece, 8 * pixel_bytes), turn + piece > 0);
    commit_products();
    wait_products_before();
    if (turn > 0) arrive(empty + (turn - 1) % at::stages);
  }
  wait_products(d);
}

/// [128 pixels, filters] of the block's sums.
template <int Filters>
__device__ void put_sums(const float (&d)[Filters / 2], uint32_t memory) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const uint32_t to =
      memory + (warp * 16 + lane / 4) * layout<Filters>::row_bytes + lane % 4 * 2 * sizeof(float);
#pragma unroll
  for (int i = 0; i < Filters / 2; i += 2)
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(
                     to + i / 2 % 2 * 8 * layout<Filters>::row_bytes + i / 4 * 8 * 4),
                 "f"(d[i]), "f"(d[i + 1])
                 : "memory");
}

// ---- The end: all blocks' sums together ----

struct piece_of_sums {
  float of[piece_filters];
};

/// A pixel's sums of eight filters, over all blocks.
template <int Filters>
__device__ piece_of_sums total_of(const arguments& a, uint32_t memory, int pixel, int piece) {
  const uint32_t at =
      memory + pixel * layout<Filters>::row_bytes + piece * piece_filters * sizeof(float);
  piece_of_sums total{};
  for (int rank = 0; rank < a.blocks; ++rank) {
    const float4 low = load_of_block(at, rank), high = load_of_block(at + 16, rank);
    total.of[0] += low.x, total.of[1] += low.y, total.of[2] += low.z, total.of[3] += low.w;
    total.of[4] += high.x, total.of[5] += high.y, total.of[6] += high.z, total.of[7] += high.w;
  }
  return total;
}

__device__ void finish(const arguments& a, const piece_of_sums& total, int filter, long pixel) {
  __nv_bfloat16 results[piece_filters];
  uint4 biases{}, all;
  if (a.bias != nullptr) biases = *reinterpret_cast<const uint4*>(a.bias + filter);
  const uint32_t words[] = {biases.x, biases.y, biases.z, biases.w};
  const float least = a.relu ? 0.0f : -INFINITY;
#pragma unroll
  for (int i = 0; i < piece_filters; ++i) {
    const uint32_t bias = i % 2 == 0 ? words[i / 2] << 16 : words[i / 2] & 0xffff0000u;
    const float v = total.of[i] + __uint_as_float(bias);
    results[i] = __float2bfloat16_rn(v <= least ? least : v);  // what is no number stays so
  }
  memcpy(&all, results, sizeof all);
  *reinterpret_cast<uint4*>(a.y + pixel * a.c.out + filter) = all;
}

/// The share of the tile that is this block's: its pieces, in turns with the other blocks.
template <int Filters, bool Pooled>
__device__ void finish_share(const arguments& a, uint32_t memory) {
  constexpr int pieces = Filters / piece_filters, window = Pooled ? 2 : 1;
  const place first = a.first_pixel();
  const int h = a.size.h / window, w = a.size.w / window;
  const int across = a.tiles.w / window, outputs = a.tiles.h / window * across;
  for (int i = a.rank() * threads + threadIdx.x; i < outputs * pieces; i += a.blocks * threads) {
    const int row = i / pieces / across, column = i / pieces % across, piece = i % pieces;
    const int y_row = first.h / window + row, y_column = first.w / window + column;
    if (y_row >= h || y_column >= w) continue;
    const int pixel = row * window * a.tiles.w + column * window;
    piece_of_sums total = total_of<Filters>(a, memory, pixel, piece);
    if (Pooled) {
      const piece_of_sums right = total_of<Filters>(a, memory, pixel + 1, piece);
      const piece_of_sums below = total_of<Filters>(a, memory, pixel + a.tiles.w, piece);
      const piece_of_sums last = total_of<Filters>(a, memory, pixel + a.tiles.w + 1, piece);
#pragma unroll
      for (int k = 0; k < piece_filters; ++k)
        total.of[k] = max_of(total.of[k], right.of[k], below.of[k], last.of[k]).value;
    }
    finish(a, total, blockIdx.y * Filters + piece * piece_filters,
           (long{first.n} * h + y_row) * w + y_column);
  }
}

template <int Filters, bool Pooled>
__global__ void __launch_bounds__(threads, 1) split_kernel(const __grid_constant__ arguments a) {
  using at = layout<Filters>;
  extern __shared__ char shared[];
  __shared__ uint64_t full[at::stages], empty[at::stages];
  const uint32_t memory = (shared_address(shared) + 1023) / 1024 * 1024;
  if (threadIdx.x == 0) {
    for (int i = 0; i < at::stages; ++i) {
      make_barrier(full + i, 1);
      make_barrier(empty + i, consumers * group_threads);
    }
    publish_barriers();
  }
  __syncthreads();
  const bool multiplies = threadIdx.x < consumers * group_threads;
  float d[Filters / 2];
  if (multiplies)
    multiply_steps<Filters>(a, memory, full, empty, d);
  else if (threadIdx.x == consumers * group_threads)
    order_steps<Filters>(a, memory, full, empty);
  __syncthreads();  // The ring is not needed any more.
  if (multiplies) put_sums<Filters>(d, memory);
  synchronize_cluster();
  finish_share<Filters, Pooled>(a, memory);
  synchronize_cluster();  // Others may still read this block's sums.
}

template <int Filters, bool Pooled>
void start(const arguments& a, CUstream_st* stream) {
  constexpr auto kernel = split_kernel<Filters, Pooled>;
  constexpr int bytes = layout<Filters>::bytes;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {static_cast<unsigned>(a.blocks), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(a.size.n * a.tiles.of_image() * a.blocks),
                        static_cast<unsigned>(a.c.out / Filters));
  config.blockDim = threads, config.dynamicSmemBytes = bytes, config.stream = stream;
  config.attrs = &cluster, config.numAttrs = 1;
  const cudaError_t e = cudaLaunchKernelEx(&config, kernel, a);
  if (e != cudaSuccess)
    throw error(std::string("CUDA: a convolution of few images: ") + cudaGetErrorString(e));
}

}  // namespace

bool split_serves(images size, halo_channels c, split s, int multiprocessors) {
  if (c.in % block_channels != 0 || c.out % s.filters != 0) return false;
  if (size.n < 1 || size.h < 1 || size.w < 1) return false;
  const long blocks = long{size.n} * tiling(size).of_image() * (c.out / s.filters) * s.blocks;
  return blocks <= 2L * multiprocessors;
}

void split_forward(const void* x, const void* weights, const void* bias, void* y, images size,
                   halo_channels c, split s, bool relu, bool pooled, CUstream_st* stream) {
  const tiling tiles(size);
  // Weights as an image: a row for each filter, a column for each tap.
  const arguments a{boxes_of(x, size, c.in, tiles.h, tiles.w),
                    boxes_of(weights, {1, c.out, taps}, c.in, s.filters, 1),
                    static_cast<const __nv_bfloat16*>(bias),
                    static_cast<__nv_bfloat16*>(y),
                    size,
                    c,
                    tiles,
                    s.blocks,
                    relu};
  if (s.filters == 128)
    pooled ? start<128, true>(a, stream) : start<128, false>(a, stream);
  else
    pooled ? start<64, true>(a, stream) : start<64, false>(a, stream);
}

}  // namespace slim::cuda
