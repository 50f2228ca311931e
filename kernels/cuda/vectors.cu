// Products of few rows with a matrix: reading the matrix is all there is to do.
#include "elements.cuh"
#include "plans.hpp"

namespace slim::cuda {
namespace {

// Products of vectors with a matrix [c, k]: threads read 8 neighbouring columns; a block has 256
// columns of a range of rows, which its warps share.

inline constexpr int vector_columns = 32 * lanes, vector_warps = 8;

struct vector_grid {
  int across, chunks;
};
vector_grid grid_of(const stream& s, const dense_shape& d) {
  const int across = (d.k + vector_columns - 1) / vector_columns;
  const int wanted = (s.multiprocessors * 4 + across - 1) / across, most = d.c / 32 + 1;
  return {across, wanted < most ? wanted : most};
}

template <int Rows, class T>
__global__ void __launch_bounds__(32 * vector_warps)
    vector_kernel(dense_shape d, vector_grid g, const T* x, const T* w, float* partial) {
  alignas(16) __shared__ float shared[vector_warps][vector_columns];
  const int column = (blockIdx.x * 32 + threadIdx.x) * lanes;
  const long first = long{d.c} * blockIdx.y / g.chunks,
             last = long{d.c} * (blockIdx.y + 1) / g.chunks;
  let_next_kernel_begin();
  wait_for_kernels_before();
  float sums[Rows][lanes] = {};
  if (column < d.k) {
#pragma unroll 8
    for (long c = first + threadIdx.y; c < last; c += vector_warps) {
      float weights[lanes];
      load(w + c * d.k + column, weights);
#pragma unroll
      for (int r = 0; r < Rows; ++r) {
        const float value = to_float(x[long{r} * d.c + c]);
#pragma unroll
        for (int i = 0; i < lanes; ++i) sums[r][i] += value * weights[i];
      }
    }
  }
#pragma unroll
  for (int r = 0; r < Rows; ++r) {
    __syncthreads();
    store(sums[r], &shared[threadIdx.y][threadIdx.x * lanes]);
    __syncthreads();
    const int mine = threadIdx.y * 32 + threadIdx.x;
    float sum = 0;
    for (int k = 0; k < vector_warps; ++k) sum += shared[k][mine];
    const int out = blockIdx.x * vector_columns + mine;
    if (out < d.k) partial[(long{blockIdx.y} * Rows + r) * d.k + out] = sum;
  }
}

/// What the chunks of rows came to: of 32 neighbouring outputs a block, lanes add up some chunks
/// each, then one adds the lanes. finish(output, sum).
inline constexpr int finish_lanes = 8;
template <class G>
__global__ void vector_finish_kernel(int chunks, long outputs, const float* partial, G finish) {
  __shared__ float shared[finish_lanes][32];
  let_next_kernel_begin();
  wait_for_kernels_before();
  const long out = long{blockIdx.x} * 32 + threadIdx.x;
  float sum = 0;
  if (out < outputs)
#pragma unroll 4
    for (int chunk = threadIdx.y; chunk < chunks; chunk += finish_lanes)
      sum += partial[long{chunk} * outputs + out];
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || out >= outputs) return;
  for (int lane = 1; lane < finish_lanes; ++lane) sum += shared[lane][threadIdx.x];
  finish(out, sum);
}
/// Starts a kernel of a product, early if that may be.
template <class... Parameter, class... Argument>
void start(stream& s, bool early, void (*kernel)(Parameter...), dim3 grid, dim3 block,
           const Argument&... argument) {
  constexpr const char* what = "a product with few rows";
  early ? launch_early(s, what, kernel, grid, block, 0, argument...)
        : launch(s, what, kernel, grid, block, 0, argument...);
}

template <class T>
void multiply_vectors_as(stream& s, bool early, const dense_shape& d, const T* x, const T* w,
                         float* partial) {
  const vector_grid g = grid_of(s, d);
  const dim3 blocks(g.across, g.chunks), threads(32, vector_warps);
  const auto with = [&](auto kernel) {
    start(s, early, kernel, blocks, threads, d, g, x, w, partial);
  };
  switch (d.rows) {
    case 1:
      return with(&vector_kernel<1, T>);
    case 2:
      return with(&vector_kernel<2, T>);
    case 3:
      return with(&vector_kernel<3, T>);
    default:
      return with(&vector_kernel<4, T>);
  }
}

}  // namespace

std::size_t vectors_workspace(const stream& s, const dense_shape& d) {
  return sizeof(float) * std::size_t(grid_of(s, d).chunks) * std::size_t(d.rows) * std::size_t(d.k);
}

void multiply_vectors(stream& s, const dense_shape& d, const operands& o, void* workspace) {
  expect_one_type({o.w, o.x});
  float* partial = static_cast<float*>(workspace);
  const bool early = s.settled(o.w);
  with_type(o.w.type, [&](auto t) {
    using T = typename decltype(t)::type;
    multiply_vectors_as(s, early, d, static_cast<const T*>(o.x.data),
                        static_cast<const T*>(o.w.data), partial);
  });
  const elements bias(o.bias), residual(o.residual);
  const function f = o.f;
  const int k = d.k;
  const elements y(o.y);
  const auto finish = [=] __device__(long i, float sum) {
    if (bias.there()) sum += bias[i % k];
    if (residual.there()) sum += residual[i];
    y.put(i, apply(f, sum));
  };
  start(s, early, &vector_finish_kernel<decltype(finish)>,
        static_cast<unsigned>((o.y.count + 31) / 32), dim3(32, finish_lanes), grid_of(s, d).chunks,
        o.y.count, partial, finish);
}

}  // namespace slim::cuda
