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

#include "early.cuh"
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
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
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

template <class... Parameter, class... Argument>
void launch_early(stream& s, const char* what, void (*kernel)(Parameter...), dim3 grid, dim3 block,
                  std::size_t shared_bytes, const Argument&... argument) {
  launch(s, what, kernel, grid, block, shared_bytes, argument...);
}

inline float* shared_floats() { return static_cast<float*>(emulation::shared_memory()); }

}  // namespace slim::cuda
