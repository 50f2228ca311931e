// Sums over the rows of matrices [rows, c], in two stages and a fixed order: blocks sum ranges of
// rows, chunks, then threads of each channel add up what those found, in double.
#pragma once

#include "channels.cuh"

namespace slim::cuda {

/// Work of `sum_columns`: channels in groups of V, rows in `chunks`.
struct column_grid {
  int c, groups, row_lanes, chunks;
  long rows;

  __host__ __device__ long first_row(int chunk) const { return rows * chunk / chunks; }
};

/// Rows that a lane has fetched before it adds the first: fewer where F says so.
template <class F>
constexpr int rows_ahead() {
  if constexpr (requires { F::rows_ahead; })
    return F::rows_ahead;
  else
    return rows_under_way;
}

/// Adds up what rows have in V channels. Neighbouring threads have neighbouring channels, and lanes
/// of them neighbouring rows. F tells how: `prepare` what a channel needs, `fetched` a row's part,
/// `add` it to the sums (and do with it what else there is to do).
template <int V, int Sums, class F>
__global__ void __launch_bounds__(block_threads, 3)
    column_kernel(column_grid g, F f, float* partial) {
  float* const shared = shared_floats();
  const int across = block_threads / g.row_lanes, lane = threadIdx.x / across, chunk = blockIdx.y;
  const int group = blockIdx.x * across + threadIdx.x % across;
  const long begin = g.first_row(chunk), end = g.first_row(chunk + 1);
  float sums[Sums][V] = {};
  if (group < g.groups) {
    const auto constants = f.template prepare<V>(group * V, begin);
    const int step = g.row_lanes;
    long row = begin + lane;
    constexpr int ahead = rows_ahead<F>();
    for (; row + (ahead - 1) * step < end; row += ahead * step) {
      decltype(f.template fetched<V>(row, 0)) x[ahead];
#pragma unroll
      for (int i = 0; i < ahead; ++i) x[i] = f.template fetched<V>(row + i * step, group * V);
#pragma unroll
      for (int i = 0; i < ahead; ++i) f.add(constants, x[i], sums, row + i * step, group * V);
    }
    for (; row < end; row += step)
      f.add(constants, f.template fetched<V>(row, group * V), sums, row, group * V);
  }
#pragma unroll
  for (int s = 0; s < Sums; ++s) {
    __syncthreads();
#pragma unroll
    for (int v = 0; v < V; ++v) shared[v * block_threads + threadIdx.x] = sums[s][v];
    __syncthreads();
    for (int half = g.row_lanes / 2; half > 0; half /= 2) {
      if (lane < half)
#pragma unroll
        for (int v = 0; v < V; ++v) {
          float* const mine = shared + v * block_threads + threadIdx.x;
          *mine += mine[half * across];
        }
      __syncthreads();
    }
    if (lane == 0 && group < g.groups)
#pragma unroll
      for (int v = 0; v < V; ++v)
        partial[(long{chunk} * Sums + s) * g.c + group * V + v] =
            shared[v * block_threads + threadIdx.x];
  }
}

inline constexpr int finish_channels = 8, finish_lanes = 32;

/// finish(channel, totals) of every channel: lanes take chunks apart, then one adds the lanes.
/// `finish.take` adds what a chunk's rows, from the first on, came to.
template <int Sums, class G>
__global__ void column_finish_kernel(column_grid g, const float* partial, G finish) {
  __shared__ double shared[finish_lanes][finish_channels];
  const int channel = blockIdx.x * finish_channels + threadIdx.x;
  double totals[Sums] = {};
  if (channel < g.c)
#pragma unroll 4
    for (int chunk = threadIdx.y; chunk < g.chunks; chunk += finish_lanes) {
      double part[Sums];
#pragma unroll
      for (int s = 0; s < Sums; ++s)
        part[s] = double(partial[(long{chunk} * Sums + s) * g.c + channel]);
      finish.take(channel, g.first_row(chunk), g.first_row(chunk + 1), part, totals);
    }
#pragma unroll
  for (int s = 0; s < Sums; ++s) {
    __syncthreads();
    shared[threadIdx.y][threadIdx.x] = totals[s];
    __syncthreads();
    totals[s] = 0;
    for (int lane = 0; lane < finish_lanes; ++lane) totals[s] += shared[lane][threadIdx.x];
  }
  if (channel < g.c && threadIdx.y == 0) finish(channel, totals);
}

/// What `take` is where chunks are simply added.
template <int Sums>
struct plain_totals {
  __device__ void take(int, long, long, const double (&part)[Sums], double (&totals)[Sums]) const {
#pragma unroll
    for (int s = 0; s < Sums; ++s) totals[s] += part[s];
  }
};

/// For sums that need nothing of a channel, and whose totals are the result.
struct no_constants {};
struct put_sum : plain_totals<1> {
  elements y;
  __device__ void operator()(int channel, const double (&totals)[1]) const {
    y.put(channel, static_cast<float>(totals[0]));
  }
};

/// Channels a thread has: 8 where that divides c.
inline int column_width(int c) { return c % lanes == 0 ? lanes : 1; }
inline int blocks_across(const column_grid& g) {
  const int across = block_threads / g.row_lanes;
  return (g.groups + across - 1) / across;
}
/// As many chunks as fill the device once, with a row or more for each lane.
inline column_grid columns_of(const stream& s, long rows, int c) {
  column_grid g{c, c / column_width(c), 1, 1, rows};
  while (g.row_lanes < block_threads && block_threads / (2 * g.row_lanes) >= g.groups)
    g.row_lanes *= 2;
  const long wanted = long{s.multiprocessors} * 3 / blocks_across(g) + 1;
  const long most = rows > g.row_lanes ? rows / g.row_lanes : 1;
  g.chunks = static_cast<int>(wanted < most ? wanted : most);
  return g;
}

/// Scratch memory of sum_columns, behind `others` floats of the caller's.
template <int Sums>
float* column_memory(stream& s, long rows, int c, int others = 0) {
  const column_grid g = columns_of(s, rows, c);
  const std::size_t floats = std::size_t(g.chunks) * Sums * std::size_t(c) + std::size_t(others);
  return static_cast<float*>(s.scratch(sizeof(float) * floats));
}

/// finish(channel, totals) of what f adds up.
template <int Sums, class F, class G>
void sum_columns(stream& s, long rows, int c, F f, G finish, float* partial) {
  const column_grid g = columns_of(s, rows, c);
  const auto sum = [&](auto kernel, int width) {
    launch(s, "a sum of rows", kernel, dim3(blocks_across(g), g.chunks), block_threads,
           sizeof(float) * std::size_t(width) * block_threads, g, f, partial);
  };
  if (column_width(c) == lanes)
    sum(&column_kernel<lanes, Sums, F>, lanes);
  else
    sum(&column_kernel<1, Sums, F>, 1);
  launch(s, "a sum of rows", &column_finish_kernel<Sums, G>,
         (c + finish_channels - 1) / finish_channels, dim3(finish_channels, finish_lanes), 0, g,
         partial, finish);
}

}  // namespace slim::cuda
