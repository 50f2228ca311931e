// What the kernels of a first convolution at stride 2 share: how its patches lie in tiles.
//
// A row of the kernel reads 7 pixels of 3 channels, 21 neighbours in memory: with three that do not
// count they are three pieces of eight terms, and an output pixel's pieces begin 12 bytes behind
// those of the pixel before. Tensor cores want rows of 16 bytes in shared memory, so patches go
// through registers, from tiles that TMA brings with their border: a tile is 16 x 8 pixels of the
// output, of eight pixels by four lanes each that read at once, without conflicts.
//
// TMA wants a box to begin at a multiple of 16 bytes, lanes read words of two terms: so tiles begin
// some words before the first pixel's pieces, and those, where need be, a term before its own.
#pragma once

#include <slim/convolution_shape.hpp>

#include "hopper.cuh"

namespace slim::cuda::strided_stem {

inline constexpr int kernel = 7, stride = 2, in_channels = 3, out_channels = 64;
inline constexpr int row_terms = kernel * in_channels, row_pieces = 3, piece_terms = 8;
inline constexpr int piece_bytes = piece_terms * 2, step_bytes = stride * in_channels * 2;

// A tile's part of the input: rows of so many bytes, of which the last pixel's pieces are the last.
inline constexpr int input_rows = (tile_h - 1) * stride + kernel;
inline constexpr int row_bytes =
    ((tile_w - 1) * step_bytes + row_pieces * piece_bytes + 15) / 16 * 16;
inline constexpr int input_bytes = input_rows * row_bytes;

struct inputs {
  CUtensorMap x;
  images out;
  int pad_top;
  int before;  ///< Elements from a tile's begin to the first pixel without padding.
  int offset;  ///< Bytes from a tile's begin to its first pixel's pieces.
  int first;   ///< The first term of a row's 24 that counts: 0 or 1.

  /// Whether a term of the 24 is one of the kernel's 21.
  __device__ bool counts(int term) const { return term >= first && term < first + row_terms; }
};

/// How x [n, h, w * 3] is cut into the tiles' parts.
inline CUtensorMap rows_of(const void* x, const convolution_shape& c) {
  static const encode_function encode = box_encoder();
  const auto u = [](long value) { return static_cast<cuuint64_t>(value); };
  const long row = long{c.w} * in_channels;
  const cuuint64_t dims[] = {u(row), u(c.h), u(c.n)}, strides[] = {u(row * 2), u(row * c.h * 2)};
  const cuuint32_t box[] = {row_bytes / 2, input_rows, 1}, steps[] = {1, 1, 1};
  CUtensorMap map;
  if (encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(x), dims, strides, box,
             steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) != CUDA_SUCCESS)
    throw error("CUDA: images of a first convolution cannot be described to the driver");
  return map;
}
inline inputs inputs_of(const void* x, const convolution_shape& c) {
  const int padding = c.pad_left * in_channels, before = (padding + 7) / 8 * 8;
  const int more = before - padding, first = more % 2;
  return {rows_of(x, c), {c.n, c.out_h, c.out_w}, c.pad_top, before, (more - first) * 2, first};
}

/// Starts to copy what a tile at `p` of the output reads; zero outside of the image.
__device__ inline void copy_input(uint32_t to, const inputs& in, uint64_t* barrier, place p) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(to),
      "l"(&in.x), "r"(p.w * stride * in_channels - in.before), "r"(p.h * stride - in.pad_top),
      "r"(p.n), "r"(shared_address(barrier))
      : "memory");
}
__device__ inline uint32_t word_at(uint32_t address) {
  uint32_t word;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(word) : "r"(address) : "memory");
  return word;
}
__device__ inline int group() { return threadIdx.x / group_threads; }
__device__ inline int warp() { return threadIdx.x % group_threads / 32; }
__device__ inline int row_of_lane() { return threadIdx.x % 32 / 4; }
__device__ inline int member() { return threadIdx.x % 4; }

}  // namespace slim::cuda::strided_stem
