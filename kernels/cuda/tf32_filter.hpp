#pragma once

// The weights' gradient of 3x3 convolutions at stride 1, SAME, over float NHWC images whose numbers
// are rounded to TF32, on Hopper GPUs. Tensor cores take TF32 only with a sum's terms next to one
// another, here pixels; kernels that turn pixels and channels around leave them at a third of their
// speed. Throws nothing; launch errors are left to cudaGetLastError.

#include "halo_convolution.hpp"

namespace slim::cuda {

/// Whether tf32_backward_filter serves: multiples of 64 filters, and of channels or at most 8 of
/// those, and not too many weights.
bool tf32_filter_serves(halo_channels c);

/// Bytes of tf32_backward_filter's workspace.
long tf32_filter_workspace(images size, halo_channels c);

/// dw [3, 3, in, out] in float from x and dy; left alone where there are no pixels. The order of
/// the sums depends on the extents alone: the same bits on every run.
void tf32_backward_filter(const float* x, const float* dy, float* dw, void* workspace, images size,
                          halo_channels c, CUstream_st* stream);

}  // namespace slim::cuda
