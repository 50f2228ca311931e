// Convolutions of floats at stride 1, as exact as with TF32 off, on Hopper's tensor cores: each
// float as a sum of two TF32 numbers (Ootomo and Yokota, arXiv 2203.03341). Kernels of more than
// one place alone: a tile of pixels with its border is read once and serves all of them.
#pragma once

#include "plans.hpp"

namespace slim::cuda {

/// Whether halo_float_forward serves: channels in 32s to 32 or 64s, ReLU or no activation.
bool halo_float_serves_forward(const convolution_shape& c, const operands& o);
/// Whether halo_float_backward_data serves; `saved` may be ReLU's output.
bool halo_float_serves_backward_data(const convolution_shape& c, const operands& o);

/// Bytes of workspace for the weights in the form the products want.
std::size_t halo_float_workspace(const convolution_shape& c);

/// y [n, out_h, out_w, k] = x [n, h, w, c] * w [k, kernel_h, kernel_w, c] + bias, then ReLU or no
/// activation.
void halo_float_forward(stream& s, const convolution_shape& c, const operands& o, void* workspace);
/// o.y = the gradient by the input of o.x, that of the output; zero where o.saved, if there is one,
/// is not positive.
void halo_float_backward_data(stream& s, const convolution_shape& c, const operands& o,
                              void* workspace);

}  // namespace slim::cuda
