#include <algorithm>

#include "strided_stem.cuh"
#include "strided_stem.hpp"

// The weights' gradient. A sum over pixels: three groups of four warps have 64 terms of the kernel
// each,
//   [64 terms, 64 filters] += [64 terms, 16 pixels] * [16 pixels, 64 filters],
// the pixels being two rows of a tile. A word has two terms of a pixel, and the left side wants two
// pixels of a term: lanes turn the words of two pixels around, so that a lane's two rows of the
// product are neighbouring terms. All sums stay in registers until the end.

namespace slim::cuda {
namespace {

using namespace strided_stem;

constexpr int groups = 3, threads = groups * group_threads + 32;
// One block for each multiprocessor of an H100 SXM or H200; a constant, so that the order of the
// sums is the same everywhere.
constexpr int most_blocks = 132;
constexpr int padded_terms = row_pieces * piece_terms, sums = kernel * row_terms * out_channels;
// Products whose left sides are in registers at once: half a tile's.
constexpr int steps = tile_h / 2, steps_together = 4;

constexpr int input_at = tile_bytes, stage_bytes = input_at + swizzled_bytes(input_bytes);
constexpr int stages = 8, shared_bytes = stages * stage_bytes + 1024;  // to be aligned to 1024

struct arguments {
  inputs in;
  CUtensorMap dy;
  float* partial;  ///< [blocks, 7 * 7 * 3, 64]
};

__device__ void order_tiles(const arguments& a, uint32_t memory, uint64_t* full, uint64_t* empty) {
  const int tiles = tiles_of(a.in.out);
  for (int turn = 0, tile = blockIdx.x; tile < tiles; ++turn, tile += gridDim.x) {
    const int stage = turn % stages;
    const place p = place_of(tile, a.in.out);
    const uint32_t to = memory + stage * stage_bytes;
    wait(empty + stage, turn / stages % 2 ^ 1);
    arrive_expecting(full + stage, input_bytes + tile_bytes);
    copy_box(to, a.dy, full + stage, 0, p);
    copy_input(to + input_at, a.in, full + stage, p);
  }
}

/// The first of the lane's two terms, counted in rows of 24.
__device__ int first_term() {
  return (group() * warps_of_group + warp()) * 2 * piece_terms + 2 * row_of_lane();
}

/// The lane's terms of four pixels, two of one row and those below.
__device__ void load_terms(uint32_t at, uint32_t (&a)[4]) {
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    const uint32_t one = word_at(at + row * stride * row_bytes);
    const uint32_t next = word_at(at + row * stride * row_bytes + step_bytes);
    a[2 * row] = __byte_perm(one, next, 0x5410), a[2 * row + 1] = __byte_perm(one, next, 0x7632);
  }
}

__device__ void write_sums(const float (&d)[32], const inputs& in, float* to) {
  const int row = first_term() / padded_terms, term = first_term() % padded_terms;
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    const int at = term + i / 2 % 2, channel = i / 4 * 8 + 2 * member() + i % 2;
    if (row < kernel && in.counts(at))
      to[(row * row_terms + at - in.first) * out_channels + channel] = d[i];
  }
}

__device__ void multiply_tiles(const arguments& a, uint32_t memory, uint64_t* full,
                               uint64_t* empty) {
  constexpr int dy_row_bytes = tile_w * pixel_bytes;
  const int tiles = tiles_of(a.in.out), row = std::min(first_term() / padded_terms, kernel - 1);
  const uint32_t lane = input_at + a.in.offset + row * row_bytes + first_term() % padded_terms * 2 +
                        2 * member() * step_bytes;
  float d[32];
  int turn = 0;
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x, ++turn) {
    const int stage = turn % stages;
    const uint32_t at = memory + stage * stage_bytes;
    wait(full + stage, turn / stages % 2);
#pragma unroll
    for (int first = 0; first < steps; first += steps_together) {
      uint32_t left[steps_together][4];
#pragma unroll
      for (int i = 0; i < steps_together; ++i)
        load_terms(at + lane + (first + i) * 2 * stride * row_bytes, left[i]);
      begin_products();
#pragma unroll
      for (int i = 0; i < steps_together; ++i)
        multiply_add<true>(d, left[i], matrix_at(at + (first + i) * 2 * dy_row_bytes, dy_row_bytes),
                           turn + first + i > 0);
      commit_products();
      wait_products_before();
    }
    // The products of the tile before are done, those of the whole warp: its stage is free.
    if (threadIdx.x % 32 == 0 && turn > 0) arrive(empty + (turn - 1) % stages);
  }
  wait_products(d);
  write_sums(d, a.in, a.partial + long{blockIdx.x} * sums);
}

__global__ void __launch_bounds__(threads, 1)
    strided_stem_filter_kernel(const __grid_constant__ arguments a) {
  extern __shared__ char shared[];
  __shared__ uint64_t full[stages], empty[stages];
  const uint32_t memory = (shared_address(shared) + 1023) / 1024 * 1024;
  if (threadIdx.x == 0) {
    for (int i = 0; i < stages; ++i) {
      make_barrier(full + i, 1);
      make_barrier(empty + i, groups * warps_of_group);
    }
    publish_barriers();
  }
  __syncthreads();
  if (threadIdx.x < groups * group_threads)
    multiply_tiles(a, memory, full, empty);
  else if (threadIdx.x == groups * group_threads)
    order_tiles(a, memory, full, empty);
}

/// Adds the blocks' sums. A thread has an element.
__global__ void strided_stem_filter_total(const float* partial, int blocks, float* dw) {
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= sums) return;
  float sum = 0;
#pragma unroll 12
  for (int i = 0; i < blocks; ++i) sum += partial[long{i} * sums + at];
  dw[at] = sum;
}

int blocks_for(const convolution_shape& c) {
  return std::min(tiles_of({c.n, c.out_h, c.out_w}), most_blocks);
}

}  // namespace

long strided_stem_filter_workspace(const convolution_shape& c) {
  return long{blocks_for(c)} * sums * long{sizeof(float)};
}

void strided_stem_backward_filter(const void* x, const void* dy, float* dw, void* workspace,
                                  const convolution_shape& c, CUstream_st* stream) {
  const int blocks = blocks_for(c);
  if (blocks == 0) return;
  arguments a{};
  a.in = inputs_of(x, c);
  a.dy = boxes_of(dy, a.in.out, out_channels, tile_h, tile_w);
  a.partial = static_cast<float*>(workspace);
  cudaFuncSetAttribute(strided_stem_filter_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       shared_bytes);
  strided_stem_filter_kernel<<<blocks, threads, shared_bytes, stream>>>(a);
  constexpr int block = 256;
  strided_stem_filter_total<<<(sums + block - 1) / block, block, 0, stream>>>(a.partial, blocks,
                                                                              dw);
}

}  // namespace slim::cuda
