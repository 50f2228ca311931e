// Maps over matrices [rows, c] whose columns, channels, have numbers of their own.
#pragma once

#include "elements.cuh"

namespace slim::cuda {

// A thread's channels, where so many divide them, the rows that it has fetched before it writes the
// first, and blocks of a multiprocessor: on an H200 more channels take registers from the rows, and
// with fewer blocks or rows too little is under way (batch norms of ResNet-50: 11 % and more).
inline constexpr int channel_lanes = 4, rows_under_way = 6, channel_blocks = 3;

/// Calls f(tag<T>, width): `channel_lanes` at once where they divide c, or one.
template <class F>
void with_channels(number type, int c, F f) {
  with_type(type, [&](auto t) {
    if (c % channel_lanes == 0)
      f(t, std::integral_constant<int, channel_lanes>());
    else
      f(t, std::integral_constant<int, 1>());
  });
}

/// Threads keep their V channels while they go through the rows, so that what a channel needs is
/// there once: `constants = prepare(channel)`, then `put(constants, fetched(at), at)` for each row.
/// `FromEnd`: the last row first, for matrices that have just been read from the first row on.
template <int V, bool FromEnd, class Prepare, class Fetch, class Put>
__global__ void __launch_bounds__(block_threads, channel_blocks)
    channel_kernel(long rows, int c, Prepare prepare, Fetch fetched, Put put) {
  const int groups = c / V;
  const long step = long{gridDim.x} * blockDim.x / groups;
  const long mine = long{blockIdx.x} * blockDim.x + threadIdx.x;
  if (mine >= step * groups) return;
  const int channel = static_cast<int>(mine % groups) * V;
  const auto constants = prepare(channel);
  const auto place = [=](long row) { return (FromEnd ? rows - 1 - row : row) * c + channel; };
  long row = mine / groups;
  for (; row + (rows_under_way - 1) * step < rows; row += rows_under_way * step) {
    decltype(fetched(row)) x[rows_under_way];
#pragma unroll
    for (int i = 0; i < rows_under_way; ++i) x[i] = fetched(place(row + i * step));
#pragma unroll
    for (int i = 0; i < rows_under_way; ++i) put(constants, x[i], place(row + i * step));
  }
  for (; row < rows; row += step) {
    const long at = place(row);
    put(constants, fetched(at), at);
  }
}

template <int V, bool FromEnd = false, class Prepare, class Fetch, class Put>
void for_channels(stream& s, long rows, int c, Prepare prepare, Fetch fetched, Put put) {
  const int groups = c / V;
  const auto blocks = [](long threads) { return (threads + block_threads - 1) / block_threads; };
  const long wanted = blocks(rows * groups), most = long{s.multiprocessors} * channel_blocks;
  const long least = blocks(groups);
  const long chosen = wanted < most ? wanted : most;
  launch(s, "a map of channels", &channel_kernel<V, FromEnd, Prepare, Fetch, Put>,
         static_cast<unsigned>(chosen < least ? least : chosen), block_threads, 0, rows, c, prepare,
         fetched, put);
}

/// Two numbers fetched together.
template <class T, int V>
struct pair_of_pieces {
  piece<T, V> first, second;
};

}  // namespace slim::cuda
