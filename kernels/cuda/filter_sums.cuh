// What the kernels of 3x3 convolutions' weight gradients share: blocks with 64 filters and some of
// the channels, which have every so many pieces of the images; the sums that they leave; their
// total.
#pragma once

#include <algorithm>

#include "hopper.cuh"

namespace slim::cuda {

inline constexpr int filter_taps = 9, block_filters = 64;
/// What a block adds up: [9, channels, 64 filters].
constexpr int sums_of_block(int channels) { return filter_taps * channels * block_filters; }

/// How blocks share the work: pairs of 64 filters and so many channels, of each so many splits.
struct filter_division {
  /// One block for each multiprocessor of an H100 SXM or H200; a constant, so that the order of the
  /// sums is the same everywhere.
  static constexpr int most_blocks = 132;
  int channels, in_blocks, pairs, splits;

  /// `c` has both.
  static constexpr int pairs_of(halo_channels c, int channels) {
    return (c.in + channels - 1) / channels * (c.out / block_filters);
  }
  filter_division(int pieces, halo_channels c, int channels)
      : channels(channels),
        in_blocks((c.in + channels - 1) / channels),
        pairs(pairs_of(c, channels)),
        splits(std::max(1, std::min(most_blocks / pairs, pieces))) {}
  dim3 grid() const { return dim3(splits, pairs); }
  long bytes() const {
    return long{pairs} * splits * sums_of_block(channels) * long{sizeof(float)};
  }
};

/// The block's part of the sums [pairs, splits, 9, Channels, 64].
template <int Channels>
__device__ inline float* sums_of_this_block(float* partial) {
  const long block = long{blockIdx.y} * gridDim.x + blockIdx.x;
  return partial + block * sums_of_block(Channels);
}

/// Writes what a group of four warps has of three taps, [64 filters, 3 * Channels] as wgmma leaves
/// it, as three taps of [9, Channels, 64 filters].
template <int Count>
__device__ inline void write_sums(const float (&d)[Count], float* to) {
  const int group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
  const int filter = threadIdx.x % group_threads / 32 * 16 + group;
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    const int column = i / 4 * 8 + 2 * member + i % 2;  // tap of the three, and channel
    to[column * block_filters + filter + i / 2 % 2 * 8] = d[i];
  }
}

/// Adds the splits: dw [9, in, out]. A thread has an element.
template <int Channels>
__global__ void filter_total(const float* partial, int splits, halo_channels c, float* dw) {
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= filter_taps * c.in * c.out) return;
  const int filter = at % c.out, channel = at / c.out % c.in, tap = at / c.out / c.in;
  const int in_blocks = (c.in + Channels - 1) / Channels;
  const int pair = filter / block_filters * in_blocks + channel / Channels;
  const int in_block =
      (tap * Channels + channel % Channels) * block_filters + filter % block_filters;
  constexpr int count = sums_of_block(Channels);
  const float* const from = partial + long{pair} * splits * count + in_block;
  float sum = 0;
#pragma unroll 12
  for (int i = 0; i < splits; ++i) sum += from[long{i} * count];
  dw[at] = sum;
}

template <int Channels>
void start_filter_total(const float* partial, const filter_division& d, halo_channels c, float* dw,
                        CUstream_st* stream) {
  constexpr int block = 256;
  filter_total<Channels><<<(filter_taps * c.in * c.out + block - 1) / block, block, 0, stream>>>(
      partial, d.splits, c, dw);
}

}  // namespace slim::cuda
