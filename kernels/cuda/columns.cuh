// Sums over the rows of matrices [rows, c], in two stages and a fixed order: blocks sum ranges of
// rows, then one thread a channel adds up what they found, in double.
#pragma once

#include "elements.cuh"

namespace slim::cuda {

/// Work of `sum_columns`: channels in groups of V, rows in `chunks`.
struct column_grid {
  int c, groups, row_lanes, chunks;
  long rows;
};

/// f(row, channel, sums) adds what one row has in V channels from `channel` on. Neighbouring
/// threads have neighbouring channels, and lanes of them neighbouring rows.
template <int V, int Sums, class F>
__global__ void column_kernel(column_grid g, F f, float* partial) {
  float* const shared = shared_floats();
  const int across = blockDim.x / g.row_lanes, lane = threadIdx.x / across, chunk = blockIdx.y;
  const int group = blockIdx.x * across + threadIdx.x % across;
  const long first = g.rows * chunk / g.chunks, last = g.rows * (chunk + 1) / g.chunks;
  float sums[Sums][V] = {};
  if (group < g.groups)
#pragma unroll 4
    for (long row = first + lane; row < last; row += g.row_lanes) f(row, group * V, sums);
#pragma unroll
  for (int s = 0; s < Sums; ++s)
#pragma unroll
    for (int v = 0; v < V; ++v) {
      __syncthreads();
      shared[threadIdx.x] = sums[s][v];
      __syncthreads();
      for (int half = g.row_lanes / 2; half > 0; half /= 2) {
        if (lane < half) shared[threadIdx.x] += shared[threadIdx.x + half * across];
        __syncthreads();
      }
      if (lane == 0 && group < g.groups)
        partial[(long{chunk} * Sums + s) * g.c + group * V + v] = shared[threadIdx.x];
    }
}

inline constexpr int finish_channels = 32, finish_lanes = 16;

/// finish(channel, totals) of every channel: lanes add up chunks apart, then one adds the lanes.
template <int Sums, class G>
__global__ void column_finish_kernel(int c, int chunks, const float* partial, G finish) {
  __shared__ double shared[finish_lanes][finish_channels];
  const int channel = blockIdx.x * finish_channels + threadIdx.x;
  double totals[Sums] = {};
  if (channel < c)
#pragma unroll 4
    for (int chunk = threadIdx.y; chunk < chunks; chunk += finish_lanes)
#pragma unroll
      for (int s = 0; s < Sums; ++s)
        totals[s] += double(partial[(long{chunk} * Sums + s) * c + channel]);
#pragma unroll
  for (int s = 0; s < Sums; ++s) {
    __syncthreads();
    shared[threadIdx.y][threadIdx.x] = totals[s];
    __syncthreads();
    totals[s] = 0;
    for (int lane = 0; lane < finish_lanes; ++lane) totals[s] += shared[lane][threadIdx.x];
  }
  if (channel < c && threadIdx.y == 0) finish(channel, totals);
}

template <int Sums, int V, class F, class G>
void sum_columns_by(stream& s, long rows, int c, F f, G finish) {
  column_grid g{c, c / V, 1, 1, rows};
  while (g.row_lanes < block_threads && block_threads / (2 * g.row_lanes) * V >= c)
    g.row_lanes *= 2;
  const int across = (g.groups + block_threads / g.row_lanes - 1) / (block_threads / g.row_lanes);
  const long wanted = long{s.multiprocessors} * 8 / across + 1, most = rows / (4 * g.row_lanes) + 1;
  g.chunks = static_cast<int>(wanted < most ? wanted : most);
  float* partial =
      static_cast<float*>(s.scratch(sizeof(float) * std::size_t(g.chunks) * Sums * std::size_t(c)));
  launch(s, "a sum of rows", &column_kernel<V, Sums, F>, dim3(across, g.chunks), block_threads,
         block_threads * sizeof(float), g, f, partial);
  launch(s, "a sum of rows", &column_finish_kernel<Sums, G>,
         (c + finish_channels - 1) / finish_channels, dim3(finish_channels, finish_lanes), 0, c,
         g.chunks, partial, finish);
}

/// f(row, channel, sums) and finish(channel, totals): with 8 channels a thread where that divides
/// c.
template <int Sums, class F, class G>
void sum_columns(stream& s, long rows, int c, F f, G finish) {
  if (c % lanes == 0)
    sum_columns_by<Sums, lanes>(s, rows, c, f, finish);
  else
    sum_columns_by<Sums, 1>(s, rows, c, f, finish);
}

}  // namespace slim::cuda
