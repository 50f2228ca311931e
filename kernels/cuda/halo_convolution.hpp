#pragma once

// 3x3 convolutions at stride 1, SAME, over bfloat16 NHWC images on Hopper GPUs: forward those of
// few channels, VGG's second and third, weight gradients of more. General kernels read each pixel
// nine times; here a tile is read once, with a border, and serves all nine filter taps. Arrays are
// aligned to 16 bytes. Throw slim::error where the driver cannot describe the images; launch errors
// are left to cudaGetLastError.

struct CUstream_st;

namespace slim::cuda {

struct images;

/// A convolution's channels, 3x3 at stride 1 with the output as large as the input.
struct halo_channels {
  int in, out;
};

/// Whether halo_forward and halo_forward_pooled serve: 64 channels in, 64 or 128 out.
bool halo_serves_forward(halo_channels c);
/// Whether halo_backward_data serves: 64 channels in and out.
bool halo_serves_backward_data(halo_channels c);
/// Whether halo_backward_filter serves: multiples of 64, and not too many weights.
bool halo_serves_backward_filter(halo_channels c);

/// y [n, h, w, out] = x [n, h, w, in] * weights [out, 3, 3, in] + bias [out], all bfloat16;
/// negative sums become zero if `relu`. A null bias is zero.
void halo_forward(const void* x, const void* weights, const void* bias, void* y, images size,
                  halo_channels c, bool relu, int multiprocessors, CUstream_st* stream);

/// The same, y [n, h / 2, w / 2, out] being the maxima of 2x2 windows. `winners`, unless null,
/// number each window's first maximum in row-major order, of sums that are not yet rounded.
void halo_forward_pooled(const void* x, const void* weights, const void* bias, void* y,
                         unsigned char* winners, images size, halo_channels c, bool relu,
                         int multiprocessors, CUstream_st* stream);

/// dx [n, h, w, in] = the gradient by x, from dy [n, h, w, out]; zero where `saved`, unless that is
/// null, is not positive.
void halo_backward_data(const void* dy, const void* weights, const void* saved, void* dx,
                        images size, halo_channels c, int multiprocessors, CUstream_st* stream);

/// Bytes of halo_backward_filter's workspace.
long halo_filter_workspace(images size, halo_channels c);

/// dw [3, 3, in, out] in float from x and dy. The order of the sums depends on the extents alone:
/// the same bits on every run.
void halo_backward_filter(const void* x, const void* dy, float* dw, void* workspace, images size,
                          halo_channels c, CUstream_st* stream);

}  // namespace slim::cuda
