#include "strided_stem.hpp"

#include <algorithm>

#include "strided_stem.cuh"

// Two groups of four warps have eight rows of the tile each,
//   [64 pixels, 64 filters] += [64 pixels, 16 terms] * [16 terms, 64 filters],
// two pieces at a time; a warp has two rows of eight pixels. All weights lie in shared memory.

namespace slim::cuda {
namespace {

using namespace strided_stem;

constexpr int groups = 2, threads = groups * group_threads + 32, blocks_together = 2;
constexpr int group_rows = tile_h / groups, warp_rows = group_rows / warps_of_group;
constexpr int pieces = (kernel * row_pieces + 1) / 2 * 2;
constexpr int first_rows = 4;  // of the kernel, an even number; then the others

constexpr int stages = 6, stage_bytes = (input_bytes + 127) / 128 * 128;
constexpr int weight_piece_bytes = out_channels * piece_bytes;
constexpr int out_bytes = group_rows * tile_w * pixel_bytes;
constexpr int weights_at = groups * out_bytes;
constexpr int stages_at = weights_at + pieces * weight_piece_bytes;
constexpr int shared_bytes = stages_at + stages * stage_bytes + 1024;  // to be aligned to 1024

struct arguments {
  inputs in;
  CUtensorMap y;
  const unsigned short *weights, *bias;
  bool relu;
};

/// [pieces, filters, 8 terms], zero where the kernel has none.
__device__ void load_weights(const arguments& a, unsigned short* to) {
  for (int i = threadIdx.x; i < pieces * out_channels * piece_terms; i += threads) {
    const int filter = i / piece_terms % out_channels, piece = i / piece_terms / out_channels;
    const int row = piece / row_pieces, term = piece % row_pieces * piece_terms + i % piece_terms;
    const bool there = row < kernel && a.in.counts(term);
    to[i] = there ? a.weights[(filter * kernel + row) * row_terms + term - a.in.first] : 0;
  }
}

/// Where the lane's first word lies in a tile.
__device__ uint32_t lane_in_tile(const inputs& in) {
  const int row = (group() * group_rows + warp() * warp_rows) * stride;
  return in.offset + row * row_bytes + row_of_lane() * step_bytes + member() * 4;
}

/// Of the lane's words in a row's first piece and its last, the terms that count: the others may be
/// no numbers.
struct lane_masks {
  uint32_t first, last;

  __device__ explicit lane_masks(const inputs& in)
      : first(of(in, 0)), last(of(in, row_pieces - 1)) {}
  __device__ static uint32_t of(const inputs& in, int piece) {
    const int term = piece * piece_terms + 2 * member();
    return (in.counts(term) ? 0xffff : 0) | (in.counts(term + 1) ? 0xffff0000 : 0);
  }
};

/// What the lane reads of its two pixels, one below the other, for some rows of the kernel.
template <int Rows>
struct lane_patches {
  static constexpr int lane_rows = Rows + (warp_rows - 1) * stride;
  uint32_t words[lane_rows][row_pieces];

  __device__ lane_patches(uint32_t from, lane_masks masks) {
#pragma unroll
    for (int i = 0; i < lane_rows; ++i)
#pragma unroll
      for (int piece = 0; piece < row_pieces; ++piece) {
        words[i][piece] = word_at(from + i * row_bytes + piece * piece_bytes);
        if (piece == 0) words[i][piece] &= masks.first;
        if (piece == row_pieces - 1) words[i][piece] &= masks.last;
      }
  }
  __device__ uint32_t of(int piece, int pixel) const {
    const int row = piece / row_pieces;
    return row < Rows ? words[row + pixel * stride][piece % row_pieces] : 0;
  }
};

/// Some rows of the kernel: their left sides together are in registers.
template <int Rows>
__device__ void multiply_rows(uint32_t tile, uint32_t weights, int first, lane_masks masks,
                              float (&d)[32]) {
  const lane_patches<Rows> patches(tile + first * row_bytes, masks);
  weights += first * row_pieces * weight_piece_bytes;
  begin_products();
#pragma unroll
  for (int piece = 0; piece < Rows * row_pieces; piece += 2) {
    const uint32_t a[4] = {patches.of(piece, 0), patches.of(piece, 1), patches.of(piece + 1, 0),
                           patches.of(piece + 1, 1)};
    multiply_add<false>(
        d, a,
        plain_matrix_at(weights + piece * weight_piece_bytes, 8 * piece_bytes, weight_piece_bytes),
        true);
  }
  commit_products();
  wait_products(d);
}

/// The lane's biases: what its sums begin with.
__device__ void load_biases(const float* biases, float (&d)[32]) {
#pragma unroll
  for (int i = 0; i < 32; i += 4) {
    const float2 pair = *reinterpret_cast<const float2*>(biases + i / 4 * 8 + 2 * member());
    d[i] = d[i + 2] = pair.x, d[i + 1] = d[i + 3] = pair.y;
  }
}
/// What is no number is not below.
__device__ float not_below(float least, float v) { return v <= least ? least : v; }
__device__ void put_results(const float (&d)[32], float least, uint32_t out) {
#pragma unroll
  for (int i = 0; i < 32; i += 2) {
    const int pixel = (warp() * warp_rows + i / 2 % 2) * tile_w + row_of_lane();
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;"
        : "=r"(both)
        : "f"(not_below(least, d[i + 1])), "f"(not_below(least, d[i])));
    const uint32_t at = out + pixel * pixel_bytes + ((i / 4 ^ row_of_lane()) * 16) + member() * 4;
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(at), "r"(both) : "memory");
  }
}

__device__ void order_tiles(const arguments& a, uint32_t memory, uint64_t* full, uint64_t* empty) {
  const int tiles = tiles_of(a.in.out);
  for (int turn = 0, tile = blockIdx.x; tile < tiles; ++turn, tile += gridDim.x) {
    const int stage = turn % stages;
    wait(empty + stage, turn / stages % 2 ^ 1);
    arrive_expecting(full + stage, input_bytes);
    copy_input(memory + stages_at + stage * stage_bytes, a.in, full + stage,
               place_of(tile, a.in.out));
  }
}

__device__ void multiply_tiles(const arguments& a, uint32_t memory, const float* biases,
                               uint64_t* full, uint64_t* empty) {
  const int tiles = tiles_of(a.in.out);
  const bool leads = threadIdx.x % group_threads == 0;
  const uint32_t out = memory + group() * out_bytes;
  const float least = a.relu ? 0.0f : -INFINITY;
  const lane_masks masks(a.in);
  for (int turn = 0, number = blockIdx.x; number < tiles; ++turn, number += gridDim.x) {
    const int stage = turn % stages;
    const uint32_t tile = memory + stages_at + stage * stage_bytes + lane_in_tile(a.in);
    float d[32];
    load_biases(biases, d);
    wait(full + stage, turn / stages % 2);
    multiply_rows<first_rows>(tile, memory + weights_at, 0, masks, d);
    multiply_rows<kernel - first_rows>(tile, memory + weights_at, first_rows, masks, d);
    arrive(empty + stage);
    if (leads) wait_stores_read();
    synchronize_group(group());
    put_results(d, least, out);
    publish_to_copies();
    synchronize_group(group());
    if (leads) {
      place p = place_of(number, a.in.out);
      p.h += group() * group_rows;
      if (p.h < a.in.out.h) store_box(a.y, out, 0, p);
      commit_stores();
    }
  }
  if (leads) wait_stores_read();
}

__global__ void __launch_bounds__(threads, blocks_together)
    strided_stem_kernel(const __grid_constant__ arguments a) {
  extern __shared__ char shared[];
  __shared__ uint64_t full[stages], empty[stages];
  __shared__ __align__(8) float biases[out_channels];
  const uint32_t start = shared_address(shared), memory = (start + 1023) / 1024 * 1024;
  if (threadIdx.x == 0) {
    for (int i = 0; i < stages; ++i) {
      make_barrier(full + i, 1);
      make_barrier(empty + i, groups * group_threads);
    }
    publish_barriers();
  }
  load_weights(a, reinterpret_cast<unsigned short*>(shared + (memory - start) + weights_at));
  if (threadIdx.x < out_channels)
    biases[threadIdx.x] =
        a.bias == nullptr ? 0.0f : __uint_as_float(uint32_t{a.bias[threadIdx.x]} << 16);
  publish_to_copies();  // and to products
  __syncthreads();
  if (threadIdx.x < groups * group_threads)
    multiply_tiles(a, memory, biases, full, empty);
  else if (threadIdx.x == groups * group_threads)
    order_tiles(a, memory, full, empty);
}

}  // namespace

bool strided_stem_serves(const convolution_shape& c) {
  return c.c == in_channels && c.k == out_channels && c.kernel_h == kernel &&
         c.kernel_w == kernel && c.stride_h == stride && c.stride_w == stride && c.rate_h == 1 &&
         c.rate_w == 1 && c.w % 8 == 0;
}

void strided_stem_forward(const void* x, const void* weights_krsc, const void* bias, void* y,
                          const convolution_shape& c, bool relu, int multiprocessors,
                          CUstream_st* stream) {
  arguments a{};
  a.in.out = {c.n, c.out_h, c.out_w};
  const int tiles = tiles_of(a.in.out);
  if (tiles == 0) return;
  a.in = inputs_of(x, c);
  a.y = boxes_of(y, a.in.out, out_channels, group_rows, tile_w);
  a.weights = static_cast<const unsigned short*>(weights_krsc);
  a.bias = static_cast<const unsigned short*>(bias), a.relu = relu;
  cudaFuncSetAttribute(strided_stem_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       shared_bytes);
  strided_stem_kernel<<<std::min(tiles, blocks_together * multiprocessors), threads, shared_bytes,
                        stream>>>(a);
}

}  // namespace slim::cuda
