#pragma once

// The extents of one 2-D convolution: what a kernel needs to know besides its pointers.

#include <cstddef>

namespace slim {

/// Input x [n, h, w, c], weights [kernel_h, kernel_w, c, k], output y [n, out_h, out_w, k], all
/// row-major. Output pixel (i, j) reads the input pixels (i * stride_h - pad_top + a * rate_h,
/// j * stride_w - pad_left + b * rate_w) for a < kernel_h, b < kernel_w; outside of x they are
/// zero. The padding at the bottom and at the right is whatever out_h and out_w imply.
struct convolution_shape {
  int n, h, w, c;
  int kernel_h, kernel_w, stride_h, stride_w, rate_h, rate_w;
  int pad_top, pad_left;
  int out_h, out_w, k;

  /// Elements of one patch: the inner extent of the convolution as a matrix product.
  constexpr int patch() const { return kernel_h * kernel_w * c; }
  constexpr int output_pixels() const { return n * out_h * out_w; }
  constexpr int input_pixels() const { return n * h * w; }
  constexpr std::size_t weights() const { return std::size_t(patch()) * std::size_t(k); }
  /// Multiply-adds of the direct convolution.
  constexpr double macs() const { return double(output_pixels()) * double(weights()); }

  friend constexpr bool operator==(const convolution_shape&, const convolution_shape&) = default;
};

}  // namespace slim
