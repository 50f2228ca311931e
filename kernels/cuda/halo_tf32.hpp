#pragma once

// 3x3 convolutions of 64 channels to 64 at stride 1, SAME, over float NHWC images whose numbers are
// rounded to TF32, on Hopper GPUs: VGG's second. As halo_convolution.hpp's in bfloat16, a tile is
// read once, with a border, and serves all nine filter taps. Arrays are aligned to 16 bytes. Throw
// slim::error where the driver cannot describe the images; launch errors are left to
// cudaGetLastError.

#include "halo_convolution.hpp"

namespace slim::cuda {

/// Whether the kernels below serve: 64 channels in and out.
bool halo_tf32_serves(halo_channels c);

/// y [n, h, w, 64] = x [n, h, w, 64] * weights [64, 3, 3, 64] (K outermost) + bias [64], all float;
/// negative sums become zero if `relu`. A null bias is zero.
void halo_tf32_forward(const float* x, const float* weights, const float* bias, float* y,
                       images size, bool relu, int multiprocessors, CUstream_st* stream);

/// The same, y [n, h / 2, w / 2, 64] being the maxima of 2x2 windows. `winners`, unless null,
/// number each window's first maximum in row-major order.
void halo_tf32_forward_pooled(const float* x, const float* weights, const float* bias, float* y,
                              unsigned char* winners, images size, bool relu, int multiprocessors,
                              CUstream_st* stream);

/// dx [n, h, w, 64] = the gradient by x, from dy [n, h, w, 64]; zero where `saved`, unless that is
/// null, is not positive.
void halo_tf32_backward_data(const float* dy, const float* weights, const float* saved, float* dx,
                             images size, int multiprocessors, CUstream_st* stream);

}  // namespace slim::cuda
