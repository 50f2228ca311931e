#pragma once

// 3x3 convolutions at stride 1, SAME, of few bfloat16 NHWC images on Hopper GPUs, where there is
// hardly a tile for each multiprocessor and a kernel's beginning and end count. Arrays are aligned
// to 16 bytes. Throw slim::error where the driver cannot describe the images or start the kernel;
// later errors are left to cudaGetLastError.

#include <vector>

#include "halo_convolution.hpp"
#include "stem_convolution.hpp"

struct CUstream_st;

namespace slim::cuda {

/// How the work is cut: products are 64 filters by so many pixels, 64, 128 or 232, of a tile of
/// rows x columns and what its border adds to all rows but the last; so many blocks, 1, 2, 4 or 8,
/// share a tile's sum.
struct row_cut {
  int pixels, rows, columns, blocks;
};

/// The cuts that serve, of those with the fewest tiles: none where a count of channels is no
/// multiple of 64. Tiles of more than 64 channels are one for each multiprocessor at most.
std::vector<row_cut> row_cuts(images size, halo_channels c, bool pooled, int multiprocessors);

/// How a row_forward is done besides.
struct row_options {
  bool relu = false;
  bool pooled = false;
  /// Begins while the kernel before it ends: none that may still run writes weights or bias.
  bool early = false;
  int multiprocessors = 0;
};

/// y [n, h, w, out] = x [n, h, w, in] * weights [out, 3, 3, in] + bias [out], all bfloat16;
/// negative sums become zero if `relu`. A null bias is zero. If `pooled`, y [n, h / 2, w / 2, out]
/// are the maxima of 2x2 windows. The order of the sums depends on the extents and on the cut
/// alone: the same bits on every run.
void row_forward(const void* x, const void* weights, const void* bias, void* y, images size,
                 halo_channels c, row_cut cut, row_options how, CUstream_st* stream);

}  // namespace slim::cuda
