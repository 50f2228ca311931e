// Convolutions and products of floats, as exact as with TF32 off, on tensor cores: each float as a
// sum of two TF32 numbers (Ootomo and Yokota, arXiv 2203.03341), patches never written (implicit
// GEMM: Chetlur et al., arXiv 1410.0759).
#pragma once

#include "plans.hpp"

namespace slim::cuda {

/// Whether the kernels below serve this convolution of floats, whose ints must count its elements;
/// direct_backward_data only if its strides are 1, too.
bool direct_serves(const convolution_shape& c, const operands& o);

/// y [n, out_h, out_w, k] = x [n, h, w, c] * w [k, kernel_h, kernel_w, c] + bias, then ReLU or no
/// activation.
void direct_forward(stream& s, const convolution_shape& c, const operands& o);
/// o.y = the gradient by the input of o.x, that of the output; zero where o.saved, ReLU's output,
/// is not positive.
void direct_backward_data(stream& s, const convolution_shape& c, const operands& o);
/// o.y [kernel_h, kernel_w, c, k] = the gradient by the weights; o.w is that of the output.
void direct_backward_filter(stream& s, const convolution_shape& c, const operands& o,
                            void* workspace);
std::size_t direct_filter_workspace(const stream& s, const convolution_shape& c);

/// Whether direct_product serves: floats in quads, more than a few columns, not both turned, and
/// TF32 off.
bool direct_serves(const stream& s, const product& p, const operands& o);
/// o.y = o.x o.w + o.bias, then ReLU or no activation.
void direct_product(stream& s, const product& p, const operands& o, void* workspace);
std::size_t direct_workspace(const stream& s, const product& p);

}  // namespace slim::cuda
