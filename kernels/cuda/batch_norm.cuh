// How a channel is normalised: what both directions of batch norm's kernels need.
#pragma once

#include "columns.cuh"

namespace slim::cuda {

/// What each channel needs, as arrays [c] one behind the other, in an order of the kernel's.
struct channel_numbers {
  float* first;
  int c;

  __device__ float* of(int which) const { return first + long{which} * c; }
};

struct channel_norm {
  elements mean, variance, gamma, beta;
  double epsilon;

  channel_norm(const batch_norm_arrays& b)
      : mean(b.mean), variance(b.variance), gamma(b.gamma), beta(b.beta), epsilon(b.epsilon) {}

  __device__ float inverse(int channel) const {
    return static_cast<float>(rsqrt(double(variance[channel]) + epsilon));
  }
  __device__ float scale(int channel) const {
    const float by = inverse(channel);
    return gamma.there() ? gamma[channel] * by : by;
  }
  __device__ float shift(int channel) const { return beta.there() ? beta[channel] : 0.0f; }
  /// For normal_constants, as the numbers from `first` on.
  __device__ void prepare(int channel, const channel_numbers& to, int first = 0) const {
    to.of(first)[channel] = mean[channel], to.of(first + 1)[channel] = scale(channel);
    to.of(first + 2)[channel] = shift(channel);
  }
};

template <int V>
struct normal_constants {
  float mean[V], scale[V], shift[V];

  /// From numbers that channel_norm prepared.
  __device__ void read(const channel_numbers& numbers, int first, int channel) {
    load(numbers.of(first) + channel, mean);
    load(numbers.of(first + 1) + channel, scale);
    load(numbers.of(first + 2) + channel, shift);
  }
  __device__ void make(const channel_norm& of, int channel) {
#pragma unroll
    for (int i = 0; i < V; ++i) {
      mean[i] = of.mean[channel + i], scale[i] = of.scale(channel + i);
      shift[i] = of.shift(channel + i);
    }
  }
  /// Rounded alike wherever it is computed again: a ReLU's mask must be that of its output.
  __device__ float operator()(float x, int i) const {
    return fmaf(x - mean[i], scale[i], shift[i]);
  }
};

}  // namespace slim::cuda
