// Products of floats on Hopper's tensor cores, as exact as a float's own: each factor is a sum of
// two TF32 numbers, high and low, and three of the four products are added (the fourth is below
// what a float holds). Factors that are not finite, or within 2^-12 of the largest float, make a
// sum that is no number.
//
// Four warps multiply [64, 32] by [32, columns]. A lane is (group, member) = (lane / 4, lane % 4).
// Of the left side it has two rows, 16 warp + group and eight further, and of each of their two
// halves of 16 terms four neighbours, from 4 member on; the right side is in shared memory. In
// which order terms are added is free, so both sides may be read by neighbours.
#pragma once

#include "launch.cuh"

namespace slim::cuda {

inline constexpr int product_rows = 64, product_depth = 32, product_threads = 128;

/// A lane's of the left side: [row][half][term].
using left_share = float[2][2][4];
/// 16 terms of a column of the right side: [term / 4][term % 4].
using right_share = float[4][4];

/// Rounded to TF32; what is left is a TF32 number but for 2^-22 of the whole, for its sign is any
/// and the hardware takes the upper 19 bits.
__device__ inline float upper_part(float value) {
  constexpr unsigned half = 0x1000, kept = 0xffffe000;
  return __uint_as_float((__float_as_uint(value) + half) & kept);
}

/// The right side: pieces of 16 bytes have terms of one half and column, of the same rest by four.
template <int Columns>
struct alignas(128) right_factor {
  float4 high[2][4][Columns], low[2][4][Columns];

  __device__ void put(int half, int column, const right_share& from) {
#pragma unroll
    for (int rest = 0; rest < 4; ++rest) {
      const float4 upper = {upper_part(from[0][rest]), upper_part(from[1][rest]),
                            upper_part(from[2][rest]), upper_part(from[3][rest])};
      high[half][rest][column] = upper;
      low[half][rest][column] = {from[0][rest] - upper.x, from[1][rest] - upper.y,
                                 from[2][rest] - upper.z, from[3][rest] - upper.w};
    }
  }
};

/// What a lane has of a product: element i is of row i / 2 % 2 of its two, and of column
/// 8 (i / 4) + 2 member + i % 2.
template <int Columns>
using product_share = float[Columns / 2];

}  // namespace slim::cuda

#ifdef SLIM_EMULATED_CUDA
#include <emulated_product.hpp>
#else

#include "hopper.cuh"

namespace slim::cuda {

/// Behind `put`: shows the right side to all four warps, and to tensor cores.
__device__ inline void show_factor() {
  publish_to_copies();
  __syncthreads();
}

/// Starts d = left * right, whose high and low part are matrices in shared memory: pieces of 16
/// bytes, [8, Columns]. They may not change until `wait_products(d)`.
template <int Columns>
__device__ inline void start_product(float (&d)[Columns / 2], const left_share& left,
                                     uint32_t right_high, uint32_t right_low) {
  constexpr int steps = product_depth / 8, piece = Columns * 16;
  uint32_t high[steps][4], low[steps][4];
#pragma unroll
  for (int step = 0; step < steps; ++step)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float value = left[i % 2][step / 2][step % 2 * 2 + i / 2];
      const float upper = upper_part(value);
      high[step][i] = __float_as_uint(upper), low[step][i] = __float_as_uint(value - upper);
    }
  const auto matrix = [](uint32_t at, int step) {
    return plain_matrix_at(at + step * 2 * piece, 128, piece);
  };
  begin_products();
#pragma unroll
  for (int step = 0; step < steps; ++step)
    multiply_add_tf32(d, low[step], matrix(right_high, step), step > 0);
#pragma unroll
  for (int step = 0; step < steps; ++step)
    multiply_add_tf32(d, high[step], matrix(right_low, step), true);
#pragma unroll
  for (int step = 0; step < steps; ++step)
    multiply_add_tf32(d, high[step], matrix(right_high, step), true);
  commit_products();
}
template <int Columns>
__device__ inline void start_product(product_share<Columns>& d, const left_share& left,
                                     const right_factor<Columns>& right) {
  start_product<Columns>(d, left, shared_address(right.high), shared_address(right.low));
}

}  // namespace slim::cuda

#endif
