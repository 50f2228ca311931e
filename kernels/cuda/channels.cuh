// Maps over matrices [rows, c] whose columns, channels, have numbers of their own.
#pragma once

#include "elements.cuh"

namespace slim::cuda {

/// Rows that a thread has fetched before it writes the first.
inline constexpr int rows_under_way = 4;

/// Threads keep their V channels while they go through the rows, so that what a channel needs is
/// there once: `constants = prepare(channel)`, then `put(constants, fetched(at), at)` for each row.
template <int V, class Prepare, class Fetch, class Put>
__global__ void channel_kernel(long rows, int c, Prepare prepare, Fetch fetched, Put put) {
  const int groups = c / V;
  const long step = long{gridDim.x} * blockDim.x / groups;
  const long mine = long{blockIdx.x} * blockDim.x + threadIdx.x;
  if (mine >= step * groups) return;
  const int channel = static_cast<int>(mine % groups) * V;
  const auto constants = prepare(channel);
  long row = mine / groups;
  for (; row + (rows_under_way - 1) * step < rows; row += rows_under_way * step) {
    decltype(fetched(row)) x[rows_under_way];
#pragma unroll
    for (int i = 0; i < rows_under_way; ++i) x[i] = fetched((row + i * step) * c + channel);
#pragma unroll
    for (int i = 0; i < rows_under_way; ++i) put(constants, x[i], (row + i * step) * c + channel);
  }
  for (; row < rows; row += step) {
    const long at = row * c + channel;
    put(constants, fetched(at), at);
  }
}

template <int V, class Prepare, class Fetch, class Put>
void for_channels(stream& s, long rows, int c, Prepare prepare, Fetch fetched, Put put) {
  const int groups = c / V;
  const auto blocks = [](long threads) { return (threads + block_threads - 1) / block_threads; };
  const long wanted = blocks(rows * groups), most = long{s.multiprocessors} * 8;
  const long least = blocks(groups);
  const long chosen = wanted < most ? wanted : most;
  launch(s, "a map of channels", &channel_kernel<V, Prepare, Fetch, Put>,
         static_cast<unsigned>(chosen < least ? least : chosen), block_threads, 0, rows, c, prepare,
         fetched, put);
}

/// Two numbers fetched together.
template <class T, int V>
struct pair_of_pieces {
  piece<T, V> first, second;
};

}  // namespace slim::cuda
