// Sums over the rows of matrices [rows, c], in two stages and a fixed order: blocks sum some of the
// rows, chunks, then threads of each channel add up what those found, in double.
#pragma once

#include <algorithm>

#include "channels.cuh"

namespace slim::cuda {

/// Work of `sum_columns`: channels in groups of V, rows in `chunks`, which take turns: `row_lanes`
/// rows each. So all walk through the matrix together, and its end is what the second level's cache
/// holds when they are through (see `for_channels`).
struct column_grid {
  int c, groups, row_lanes, chunks;
  long rows;

  __host__ __device__ long first_row(int chunk) const { return long{chunk} * row_lanes; }
  __host__ __device__ long turn() const { return long{chunks} * row_lanes; }
  __device__ long rows_of(int chunk) const {
    const long last_turn = rows % turn() - first_row(chunk);
    return rows / turn() * row_lanes + std::clamp(last_turn, 0L, long{row_lanes});
  }
  int blocks_across() const {
    const int across = block_threads / row_lanes;
    return (groups + across - 1) / across;
  }
};

/// How sum_columns runs F, as F::way: a thread's channels where so many divide them, the rows that
/// it has fetched before it adds the first, and blocks of a multiprocessor.
template <int Width = channel_lanes, int Rows = rows_under_way, int Blocks = channel_blocks>
struct column_way {
  static constexpr int width = Width, rows_ahead = Rows, blocks = Blocks;
  static_assert(width <= lanes && blocks <= channel_blocks, "column_memory is for so many");
};

/// Adds up what rows have in V channels. Neighbouring threads have neighbouring channels, and lanes
/// of them neighbouring rows. F tells how: its `way`, `prepare` what a channel needs, `fetched` a
/// row's part, `add` it to the sums (and do with it what else there is to do).
template <int V, int Sums, class F>
__global__ void __launch_bounds__(block_threads, F::way::blocks)
    column_kernel(column_grid g, F f, float* partial) {
  float* const shared = shared_floats();
  const int across = block_threads / g.row_lanes, lane = threadIdx.x / across, chunk = blockIdx.y;
  const int group = blockIdx.x * across + threadIdx.x % across;
  const long begin = g.first_row(chunk), end = g.rows;
  float sums[Sums][V] = {};
  if (group < g.groups) {
    const auto constants = f.template prepare<V>(group * V, begin);
    const long step = g.turn();
    long row = begin + lane;
    constexpr int ahead = F::way::rows_ahead;
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
/// `finish.take` adds what a chunk's rows, so many with this first one, came to.
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
      finish.take(channel, g.first_row(chunk), g.rows_of(chunk), part, totals);
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

/// As many chunks as fill the device once, with a row or more for each lane.
template <class Way>
column_grid columns_of(const stream& s, long rows, int c) {
  column_grid g{c, c % Way::width == 0 ? c / Way::width : c, 1, 1, rows};
  while (g.row_lanes < block_threads && block_threads / (2 * g.row_lanes) >= g.groups)
    g.row_lanes *= 2;
  const long wanted = long{s.multiprocessors} * Way::blocks / g.blocks_across() + 1;
  const long most = rows > g.row_lanes ? rows / g.row_lanes : 1;
  g.chunks = static_cast<int>(wanted < most ? wanted : most);
  return g;
}

/// Scratch memory of sum_columns, behind `others` floats of the caller's.
template <int Sums>
float* column_memory(stream& s, int c, int others = 0) {
  constexpr int most_across = lanes * block_threads;  // channels of a block, whatever the way
  const long fewest_blocks = (c + most_across - 1) / most_across;
  const long most_chunks = long{s.multiprocessors} * channel_blocks / fewest_blocks + 1;
  const long floats = most_chunks * Sums * c + others;
  return static_cast<float*>(s.scratch(sizeof(float) * static_cast<std::size_t>(floats)));
}

/// finish(channel, totals) of what f adds up.
template <int Sums, class F, class G>
void sum_columns(stream& s, long rows, int c, F f, G finish, float* partial) {
  constexpr int width = F::way::width;
  const column_grid g = columns_of<typename F::way>(s, rows, c);
  const auto sum = [&](auto kernel, int channels) {
    launch(s, "a sum of rows", kernel, dim3(g.blocks_across(), g.chunks), block_threads,
           sizeof(float) * std::size_t(channels) * block_threads, g, f, partial);
  };
  if (c % width == 0)
    sum(&column_kernel<width, Sums, F>, width);
  else
    sum(&column_kernel<1, Sums, F>, 1);
  launch(s, "a sum of rows", &column_finish_kernel<Sums, G>,
         (c + finish_channels - 1) / finish_channels, dim3(finish_channels, finish_lanes), 0, g,
         partial, finish);
}

}  // namespace slim::cuda
