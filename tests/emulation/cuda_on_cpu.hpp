// CUDA's kernels as C++ for a CPU, so that they can be tested where there is no GPU: the words they
// are written in, and a launch that runs every thread of a block as a fiber. Included before each
// kernel file. Nothing here is fast.
#pragma once

#define SLIM_EMULATED_CUDA

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "stream.hpp"

#undef __shared__
#define __shared__ static  // blocks run one after another
#undef __launch_bounds__
#define __launch_bounds__(...)

namespace emulation {

/// Does this now, or when the graph that the stream records is launched.
void enqueue(cudaStream_t stream, std::function<void()> work);

/// Runs `thread` for all threads of all blocks.
void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& thread);

void* shared_memory();
/// Gives this thread's 8 bytes to its warp, and takes those of the lane `apart` from it.
void exchange(void* bytes, int apart);

extern uint3 thread_index, block_index;
extern dim3 block_extents, grid_extents;

}  // namespace emulation

#define threadIdx emulation::thread_index
#define blockIdx emulation::block_index
#define blockDim emulation::block_extents
#define gridDim emulation::grid_extents

void __syncthreads();
template <class T>
T __shfl_xor_sync(unsigned, T value, int apart) {
  static_assert(sizeof(T) <= 8);
  double slot = 0;
  std::memcpy(&slot, &value, sizeof value);
  emulation::exchange(&slot, apart);
  std::memcpy(&value, &slot, sizeof value);
  return value;
}
template <class T>
T __ldg(const T* from) {
  return *from;
}
inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
using std::max;
using std::min;

namespace slim::cuda {

template <class... Parameter, class... Argument>
void launch(stream& s, const char*, void (*kernel)(Parameter...), dim3 grid, dim3 block,
            std::size_t shared_bytes, const Argument&... argument) {
  emulation::enqueue(s.handle, [=] {
    emulation::run_grid(grid, block, shared_bytes, [=] { kernel(argument...); });
  });
}

inline float* shared_floats() { return static_cast<float*>(emulation::shared_memory()); }

/// What exact_product.cuh says, the lanes' shares gathered first.
template <int M, int N>
void multiply_add(float (&d)[M][N][4], const float (&a)[M][4], const float (&b)[N][2]) {
  static float all_a[32][32][M][4], all_b[32][32][N][2];  // by warp and lane
  const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  std::memcpy(all_a[warp][lane], a, sizeof a);
  std::memcpy(all_b[warp][lane], b, sizeof b);
  double nothing = 0;
  emulation::exchange(&nothing, 0);
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < N; ++n)
      for (unsigned i = 0; i < 4; ++i) {
        const unsigned row = lane / 4 * 4, column = (lane % 4 * 2 + i % 2) * 4;
        for (unsigned k = 0; k < 8; ++k)
          d[m][n][i] += all_a[warp][row + k % 4][m][i / 2 + k / 4 * 2] *
                        all_b[warp][column + k % 4][n][k / 4];
      }
  emulation::exchange(&nothing, 0);
}

}  // namespace slim::cuda
