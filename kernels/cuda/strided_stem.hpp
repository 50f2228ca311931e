#pragma once

// The first convolution of ResNet and Inception on Hopper GPUs: 7x7 at stride 2, three channels in
// and 64 out, over bfloat16 NHWC images. Bound by the traffic of its 64 channels, where general
// kernels, which want channels by the dozen, take ten times as long. Arrays are aligned to 16
// bytes. Throw slim::error where the driver cannot describe the images; launch errors are left to
// cudaGetLastError.

struct CUstream_st;

namespace slim {
struct convolution_shape;
}

namespace slim::cuda {

/// Whether the kernels below serve this convolution: with any padding, of images whose width eight
/// divides.
bool strided_stem_serves(const convolution_shape& c);

/// y [n, out_h, out_w, 64] = x [n, h, w, 3] * weights [64, 7, 7, 3] (K outermost) + bias [64], all
/// bfloat16; negative sums become zero if `relu`. A null bias is zero.
void strided_stem_forward(const void* x, const void* weights_krsc, const void* bias, void* y,
                          const convolution_shape& c, bool relu, int multiprocessors,
                          CUstream_st* stream);

/// Bytes of strided_stem_backward_filter's workspace.
long strided_stem_filter_workspace(const convolution_shape& c);

/// dw [7, 7, 3, 64] (K innermost) in float from x and dy. The order of the sums depends on the
/// extents alone: the same bits on every run. What is no number in x makes sums that are none, near
/// the lower and the right edge even where no window reads it.
void strided_stem_backward_filter(const void* x, const void* dy, float* dw, void* workspace,
                                  const convolution_shape& c, CUstream_st* stream);

}  // namespace slim::cuda
