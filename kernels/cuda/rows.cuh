// Sums and maxima over a block, in a fixed order.
#pragma once

#include "elements.cuh"

namespace slim::cuda {

inline constexpr int warp = 32;

struct plus {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct larger {
  __device__ float operator()(float a, float b) const { return a > b ? a : b; }
};

/// The result of all threads of a block of `block_threads`, given to each of them.
template <class T, class Op>
__device__ T over_block(T mine, Op op) {
  __shared__ T shared[block_threads / warp + 1];
  for (int apart = warp / 2; apart > 0; apart /= 2)
    mine = op(mine, __shfl_xor_sync(0xffffffffu, mine, apart));
  __syncthreads();
  if (threadIdx.x % warp == 0) shared[threadIdx.x / warp] = mine;
  __syncthreads();
  T all = shared[0];
  for (int i = 1; i < block_threads / warp; ++i) all = op(all, shared[i]);
  return all;
}

/// f(i) over [0, count), one block's.
template <class T, class F>
__device__ T sum_over_block(long count, F f) {
  T sum = 0;
  for (long i = threadIdx.x; i < count; i += block_threads) sum += f(i);
  return over_block(sum, plus());
}

/// One block for each row.
template <class F>
__global__ void row_block_kernel(F f) {
  f(long{blockIdx.x});
}
template <class F>
void for_row_blocks(stream& s, long rows, F f) {
  launch(s, "rows", &row_block_kernel<F>, static_cast<unsigned>(rows), block_threads, 0, f);
}

inline constexpr int most_partials = 1024;
/// Scratch memory of `sum_all`; a number behind its own stays as it is meanwhile.
inline double* sum_memory(stream& s) {
  return static_cast<double*>(s.scratch(sizeof(double) * (most_partials + 1)));
}

template <class F>
__global__ void partial_sum_kernel(long count, F f, double* partial) {
  double sum = 0;
  const long step = long{gridDim.x} * blockDim.x;
  long i = long{blockIdx.x} * blockDim.x + threadIdx.x;
  for (; i + 3 * step < count; i += 4 * step) {  // four are fetched before the first is added
    const double some[4] = {f(i), f(i + step), f(i + 2 * step), f(i + 3 * step)};
    for (int k = 0; k < 4; ++k) sum += some[k];
  }
  for (; i < count; i += step) sum += f(i);
  sum = over_block(sum, plus());
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}
template <class G>
__global__ void total_kernel(int partials, const double* partial, G finish) {
  const double sum = sum_over_block<double>(partials, [=](long i) { return partial[i]; });
  if (threadIdx.x == 0) finish(sum);
}

/// finish(the sum of f(i) over [0, count)), in double and a fixed order.
template <class F, class G>
void sum_all(stream& s, long count, F f, G finish) {
  const long wanted = (count + 4 * block_threads - 1) / (4 * block_threads);
  const int blocks = static_cast<int>(wanted < 1               ? 1
                                      : wanted < most_partials ? wanted
                                                               : most_partials);
  double* partial = sum_memory(s);
  launch(s, "a sum", &partial_sum_kernel<F>, blocks, block_threads, 0, count, f, partial);
  launch(s, "a sum", &total_kernel<G>, 1, block_threads, 0, blocks, partial, finish);
}

}  // namespace slim::cuda
