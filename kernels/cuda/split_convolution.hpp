#pragma once

// 3x3 convolutions at stride 1, SAME, of few bfloat16 NHWC images on Hopper GPUs: their tiles alone
// would leave most of the device idle, so a cluster of blocks shares a tile's sum. Arrays are
// aligned to 16 bytes. Throw slim::error where the driver cannot describe the images or start the
// kernel; later errors are left to cudaGetLastError.

#include "halo_convolution.hpp"

struct CUstream_st;

namespace slim::cuda {

/// How the work is cut: the filters of a block, 64 or 128, and the blocks that share a sum, 1, 2, 4
/// or 8.
struct split {
  int filters, blocks;
};

/// Whether the kernel serves: both counts of channels are multiples of 64, the split fits them, and
/// the device, which is not filled more than twice.
bool split_serves(images size, halo_channels c, split s, int multiprocessors);

/// y [n, h, w, out] = x [n, h, w, in] * weights [out, 3, 3, in] + bias [out], all bfloat16;
/// negative sums become zero if `relu`. A null bias is zero. If `pooled`, y [n, h / 2, w / 2, out]
/// are the maxima of 2x2 windows. The order of the sums depends on the extents and on the split
/// alone: the same bits on every run.
void split_forward(const void* x, const void* weights, const void* bias, void* y, images size,
                   halo_channels c, split s, bool relu, bool pooled, CUstream_st* stream);

}  // namespace slim::cuda
