// Products of floats on tensor cores, as exact as a float's own: each factor is a sum of two TF32
// numbers, high and low, and three of the four products are added (the fourth is below what a float
// holds). Factors that are not finite make a sum that is no number.
#pragma once

#include "launch.cuh"

#ifndef SLIM_EMULATED_CUDA

namespace slim::cuda {

/// high + low = value but for 2^-22 of it: high is rounded, and of low, whose sign is any, the
/// hardware takes the upper 19 bits.
struct tf32_pair {
  unsigned high, low;

  tf32_pair() = default;
  __device__ explicit tf32_pair(float value) {
    constexpr unsigned half = 0x1000, kept = 0xffffe000;
    high = (__float_as_uint(value) + half) & kept;
    low = __float_as_uint(value - __uint_as_float(high));
  }
};

__device__ inline void multiply_add_tf32(float (&d)[4], unsigned a0, unsigned a1, unsigned a2,
                                         unsigned a3, unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/// A warp's d [16 M, 8 N] += a [16 M, 8] b [8, 8 N]. Lane (group, member) = (lane / 4, lane % 4) has
///   a[m]: (16 m + group, member), eight rows further, and both four columns further,
///   b[n]: (member, 8 n + group), (member + 4, 8 n + group),
///   d[m][n]: (16 m + group, 8 n + 2 member), the next column, and both eight rows further.
template <int M, int N>
__device__ inline void multiply_add(float (&d)[M][N][4], const float (&a)[M][4],
                                    const float (&b)[N][2]) {
  tf32_pair p[M][4];
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int i = 0; i < 4; ++i) p[m][i] = tf32_pair(a[m][i]);
#pragma unroll
  for (int n = 0; n < N; ++n) {
    const tf32_pair q[2] = {tf32_pair(b[n][0]), tf32_pair(b[n][1])};
#pragma unroll
    for (int m = 0; m < M; ++m) {
      const tf32_pair(&f)[4] = p[m];
      multiply_add_tf32(d[m][n], f[0].low, f[1].low, f[2].low, f[3].low, q[0].high, q[1].high);
      multiply_add_tf32(d[m][n], f[0].high, f[1].high, f[2].high, f[3].high, q[0].low, q[1].low);
      multiply_add_tf32(d[m][n], f[0].high, f[1].high, f[2].high, f[3].high, q[0].high, q[1].high);
    }
  }
}

}  // namespace slim::cuda

#endif
