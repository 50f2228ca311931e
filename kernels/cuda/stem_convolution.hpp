#pragma once

// VGG's first convolution on Hopper GPUs: 3x3, stride 1, SAME, three channels in and 64 out, over
// bfloat16 NHWC images. So few channels starve the general kernels; these two are bound by the
// memory traffic of the 64 channels. Launch errors are left to cudaGetLastError.

struct CUstream_st;

namespace slim::cuda {

/// The extents of the input, which are those of the output.
struct images {
  int n, h, w;
};

/// Whether the kernels below serve this convolution, whose output is as large as its input.
bool stem_serves(int c, int k, int kernel_h, int kernel_w, int stride_h, int stride_w, int rate_h,
                 int rate_w, int pad_top, int pad_left);

/// y [n, h, w, 64] = x [n, h, w, 3] * weights [64, 3, 3, 3] (K outermost) + bias [64], all but the
/// float bias bfloat16; negative sums become zero if `relu`. A null bias is zero. y is aligned to
/// 16 bytes.
void stem_forward(const void* x, const void* weights_krsc, const float* bias, void* y, images size,
                  bool relu, CUstream_st* stream);

/// Bytes of stem_backward_filter's workspace.
long stem_filter_workspace(images size);

/// dw [3, 3, 3, 64] (K innermost) and db [64] in float from x and dy, both bfloat16; dy is aligned
/// to 16 bytes. The order of the sums depends on `size` alone: the same bits on every run.
void stem_backward_filter(const void* x, const void* dy, float* dw, float* db, void* workspace,
                          images size, CUstream_st* stream);

}  // namespace slim::cuda
