// Reference kernels of convolutions and matrix products: contractions of image patches, with bias
// and activation as the contraction's output kernel, so that a fused node is one expression.
#pragma once

#include <slim/op/matmul.hpp>

#include "support.hpp"

namespace slim {
namespace reference {

/// Adds the bias of each channel and activates, block by block as a contraction finishes them.
/// Channels are the rows of the result.
template <class A, class T>
struct bias_and_activation {
  const T* bias;  // nullable

  template <class Mapper>
  void operator()(const Mapper& result, const Eigen::TensorContractionParams&, index i, index,
                  index rows, index columns) const {
    for (index c = 0; c < columns; ++c)
      for (index r = 0; r < rows; ++r) {
        T& value = result(r, c);
        value = A::value(bias == nullptr ? value : value + bias[i + r]);
      }
  }
};

/// Multiplies by the derivative of an activation whose output is `saved` [columns, rows].
template <class A, class T>
struct activation_slope {
  const T* saved;
  index channels;

  template <class Mapper>
  void operator()(const Mapper& result, const Eigen::TensorContractionParams&, index i, index j,
                  index rows, index columns) const {
    for (index c = 0; c < columns; ++c)
      for (index r = 0; r < rows; ++r)
        result(r, c) *= A::value.gradient(saved[(j + c) * channels + i + r]);
  }
};

/// Padding behind the last element such that `out` windows fit.
constexpr int padding_after(int in, int before, int kernel, int stride, int rate, int out) {
  const int missing = (out - 1) * stride + (kernel - 1) * rate + 1 - in - before;
  return missing > 0 ? missing : 0;
}

/// The patches of one image as (kernel_h * kernel_w * c, out_h * out_w).
template <class T>
auto patches(const const_map<T, 4>& x, const window& w) {
  const int in_w = static_cast<int>(x.dimension(1)), in_h = static_cast<int>(x.dimension(2));
  const Eigen::array<index, 2> as_matrix{x.dimension(0) * w.kernel_h * w.kernel_w,
                                         index{w.out_h} * w.out_w};
  return x
      .extract_image_patches(
          w.kernel_w, w.kernel_h, w.stride_w, w.stride_h, w.rate_w, w.rate_h, 1, 1, w.pad_left,
          padding_after(in_w, w.pad_left, w.kernel_w, w.stride_w, w.rate_w, w.out_w), w.pad_top,
          padding_after(in_h, w.pad_top, w.kernel_h, w.stride_h, w.rate_h, w.out_h), T(0))
      .reshape(as_matrix);
}

/// The patches of an output's gradient, spread by the stride, that each input pixel sees.
template <class T>
auto gradient_patches(const const_map<T, 4>& dy, const window& w, int in_h, int in_w) {
  const auto before = [](int kernel, int rate, int pad) { return (kernel - 1) * rate - pad; };
  const auto after = [](int in, int out, int stride, int pad) {
    return in - 1 - (out - 1) * stride + pad;
  };
  const Eigen::array<index, 2> as_matrix{dy.dimension(0) * w.kernel_h * w.kernel_w,
                                         index{in_h} * in_w};
  return dy
      .extract_image_patches(w.kernel_w, w.kernel_h, 1, 1, w.rate_w, w.rate_h, w.stride_w,
                             w.stride_h, before(w.kernel_w, w.rate_w, w.pad_left),
                             after(in_w, w.out_w, w.stride_w, w.pad_left),
                             before(w.kernel_h, w.rate_h, w.pad_top),
                             after(in_h, w.out_h, w.stride_h, w.pad_top), T(0))
      .reshape(as_matrix);
}

template <class A, class T>
void convolution(const kernel_call& call) {
  const tensor x = call.in(0), w = call.in(1), y = call.out();
  const bias_and_activation<A, T> finish{call.inputs() > 2 ? call.in(2).as<const T>() : nullptr};
  const long k = w.dims[3], pixels = long{y.dims[1]} * y.dims[2];
  const Eigen::array<index_pair, 1> inner{index_pair(1, 0)};
  call.device().parallel(call.n(), [&](int i, int) {
    matrix(y.as<T>() + i * pixels * k, pixels, k).device(on_this_thread) =
        matrix(w.as<const T>(), w.dims.leading(), k)
            .contract(patches<T>(image_of<T>(x, i), call.a().win), inner, finish);
  });
}

/// dx (c, pixels) = rotated weights (c, k * taps) times gradient patches (k * taps, pixels).
template <class T, class Finish>
void convolution_backward_data(const kernel_call& call, Finish finish) {
  const tensor dy = call.in(0), w = call.in(1), dx = call.out();
  const window& win = call.a().win;
  const int c = w.dims[2], k = w.dims[3];
  const long pixels = long{dx.dims[1]} * dx.dims[2];
  const Eigen::array<bool, 4> turned{false, false, true, true};
  const Eigen::array<int, 4> swapped{1, 0, 2, 3};
  const Eigen::array<index, 2> as_matrix{c, index{k} * win.kernel_h * win.kernel_w};
  const Eigen::array<index_pair, 1> inner{index_pair(1, 0)};
  const const_map<T, 4> weights(w.as<const T>(), k, c, win.kernel_w, win.kernel_h);
  call.device().parallel(call.n(), [&](int i, int) {
    matrix(dx.as<T>() + i * pixels * c, pixels, c).device(on_this_thread) =
        weights.reverse(turned).shuffle(swapped).reshape(as_matrix).contract(
            gradient_patches<T>(image_of<T>(dy, i), win, dx.dims[1], dx.dims[2]), inner,
            finish(i * pixels * c));
  });
}

template <class T>
void sum_rows(const T* from, long rows, long columns, T* to) {
  const Eigen::array<index, 1> over{1};
  row(to, 0, columns).device(on_this_thread) = matrix(from, rows, columns).sum(over);
}

template <class T>
void convolution_backward_filter(const kernel_call& call) {
  const tensor x = call.in(0), dy = call.in(1), dw = call.out();
  const long k = dw.dims[3], pixels = long{dy.dims[1]} * dy.dims[2];
  const Eigen::array<index_pair, 1> inner{index_pair(1, 1)};
  auto sum = matrix(dw.as<T>(), dw.dims.leading(), k);
  for (int i = 0; i < call.n(); ++i) {
    const auto one = matrix(dy.as<const T>() + i * pixels * k, pixels, k)
                         .contract(patches<T>(image_of<T>(x, i), call.a().win), inner);
    if (i == 0)
      sum.device(on_this_thread) = one;
    else
      sum.device(on_this_thread) += one;
  }
  if (call.outputs() > 1)
    sum_rows(dy.as<const T>(), call.n() * pixels, k, call.out(1).template as<T>());
}

template <class A, class T>
void matmul(const kernel_call& call) {
  const tensor x = call.in(0), w = call.in(1), y = call.out();
  const bias_and_activation<A, T> finish{call.inputs() > 2 ? call.in(2).as<const T>() : nullptr};
  const Eigen::array<index_pair, 1> inner{index_pair(1, 0)};
  matrix(y.as<T>(), y.dims.leading(), w.dims[1]).device(on_this_thread) =
      matrix(w.as<const T>(), w.dims[0], w.dims[1])
          .contract(matrix(x.as<const T>(), x.dims.leading(), w.dims[0]), inner, finish);
}

template <class T, class Finish>
void matmul_backward_data(const kernel_call& call, Finish finish) {
  const tensor dy = call.in(0), w = call.in(1), dx = call.out();
  const Eigen::array<index_pair, 1> inner{index_pair(0, 0)};
  matrix(dx.as<T>(), dx.dims.leading(), w.dims[0]).device(on_this_thread) =
      matrix(w.as<const T>(), w.dims[0], w.dims[1])
          .contract(matrix(dy.as<const T>(), dy.dims.leading(), w.dims[1]), inner, finish(0));
}

template <class T>
void matmul_backward_filter(const kernel_call& call) {
  const tensor x = call.in(0), dy = call.in(1), dw = call.out();
  const Eigen::array<index_pair, 1> inner{index_pair(1, 1)};
  const long rows = x.dims.leading();
  matrix(dw.as<T>(), dw.dims[0], dw.dims[1]).device(on_this_thread) =
      matrix(dy.as<const T>(), rows, dw.dims[1])
          .contract(matrix(x.as<const T>(), rows, dw.dims[0]), inner);
  if (call.outputs() > 1)
    sum_rows(dy.as<const T>(), rows, long{dw.dims[1]}, call.out(1).template as<T>());
}

/// The epilogue of a plain data gradient, and that of one fused with an activation's derivative.
struct no_epilogue {
  Eigen::NoOpOutputKernel operator()(long) const { return {}; }
};
template <class A, class T>
struct slope_epilogue {
  const T* saved;
  long channels;
  activation_slope<A, T> operator()(long offset) const { return {saved + offset, channels}; }
};

}  // namespace reference

template <class T>
struct kernel_of<op::convolution, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::convolution<no_activation, T>);
  }
};
/// Pooling and a residual are not part of a contraction's output kernel: such a node stays unfused.
template <class A, class T>
struct kernel_of<op::fused_convolution<A>, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row& n) {
    if (n.a.integer != 0) return {};
    return reference::expression(&reference::convolution<A, T>);
  }
};
template <class T>
struct kernel_of<op::convolution_backward_data, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    reference::convolution_backward_data<T>(call, reference::no_epilogue{});
  }
};
template <class A, class T>
struct kernel_of<op::convolution_backward_data_activation<A>, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    reference::convolution_backward_data<T>(
        call, reference::slope_epilogue<A, T>{call.in(2).as<const T>(), call.out().dims.back()});
  }
};
template <class T>
struct kernel_of<op::convolution_backward_filter, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::convolution_backward_filter<T>);
  }
};

template <class T>
struct kernel_of<op::matmul, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::matmul<no_activation, T>);
  }
};
template <class A, class T>
struct kernel_of<op::fused_matmul<A>, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row& n) {
    if (n.a.integer != 0) return {};
    return reference::expression(&reference::matmul<A, T>);
  }
};
template <class T>
struct kernel_of<op::matmul_backward_data, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    reference::matmul_backward_data<T>(call, reference::no_epilogue{});
  }
};
template <class A, class T>
struct kernel_of<op::matmul_backward_data_activation<A>, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    reference::matmul_backward_data<T>(
        call, reference::slope_epilogue<A, T>{call.in(2).as<const T>(), call.out().dims.back()});
  }
};
template <class T>
struct kernel_of<op::matmul_backward_filter, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::matmul_backward_filter<T>);
  }
};

}  // namespace slim
