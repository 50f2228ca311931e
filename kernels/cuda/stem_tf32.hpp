#pragma once

// VGG's first convolution on Hopper GPUs, as in stem_convolution.hpp, whose stem_serves says when
// it may be called, but over float NHWC images whose numbers are rounded to TF32. It is bound by
// writing the output. Launch errors are left to cudaGetLastError.

#include "stem_convolution.hpp"

namespace slim::cuda {

/// y [n, h, w, 64] = x [n, h, w, 3] * weights [64, 3, 3, 3] (K outermost) + bias [64], all float,
/// factors rounded to TF32; negative sums become zero if `relu`. A null bias is zero. y is aligned
/// to 16 bytes.
void stem_forward_tf32(const float* x, const float* weights_krsc, const float* bias, float* y,
                       images size, bool relu, CUstream_st* stream);

}  // namespace slim::cuda
