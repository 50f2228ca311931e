// Reference kernels of pooling: reductions over image patches, and their gradients as strided
// slices, one for each element of the window.
#pragma once

#include <limits>
#include <slim/op/pool.hpp>

#include "contraction.hpp"

namespace slim {
namespace reference {

/// The windows of one image as (c, kernel_h * kernel_w, out_h * out_w), padded with `padding`.
template <class T>
auto windows(const const_map<T, 4>& x, const window& w, T padding) {
  const int in_w = static_cast<int>(x.dimension(1)), in_h = static_cast<int>(x.dimension(2));
  const Eigen::array<index, 3> dims{x.dimension(0), index{w.kernel_h} * w.kernel_w,
                                    index{w.out_h} * w.out_w};
  return x
      .extract_image_patches(
          w.kernel_w, w.kernel_h, w.stride_w, w.stride_h, w.rate_w, w.rate_h, 1, 1, w.pad_left,
          padding_after(in_w, w.pad_left, w.kernel_w, w.stride_w, w.rate_w, w.out_w), w.pad_top,
          padding_after(in_h, w.pad_top, w.kernel_h, w.stride_h, w.rate_h, w.out_h), padding)
      .reshape(dims);
}

/// 1 / (elements of each window inside the image), for out_h * out_w windows.
template <class T>
Eigen::Tensor<T, 1> window_weights(const window& w, int in_h, int in_w) {
  const auto inside = [](int out, int stride, int pad, int kernel, int rate, int in) {
    int count = 0;
    for (int k = 0; k < kernel; ++k) {
      const int at = out * stride - pad + k * rate;
      count += at >= 0 && at < in;
    }
    return count;
  };
  Eigen::Tensor<T, 1> weights(index{w.out_h} * w.out_w);
  for (int i = 0; i < w.out_h; ++i)
    for (int j = 0; j < w.out_w; ++j)
      weights(index{i} * w.out_w + j) =
          T(1) / T(inside(i, w.stride_h, w.pad_top, w.kernel_h, w.rate_h, in_h) *
                   inside(j, w.stride_w, w.pad_left, w.kernel_w, w.rate_w, in_w));
  return weights;
}

/// dx = the sum over the window's elements t of share(t) [c, out pixels] put back where t reads.
template <class T, class Share>
void scatter(const window& w, const tensor& dx, int i, Share share) {
  const index c = dx.dims[3], in_w = dx.dims[2], in_h = dx.dims[1];
  const index reach_w = (w.out_w - 1) * w.stride_w + (w.kernel_w - 1) * w.rate_w + 1;
  const index reach_h = (w.out_h - 1) * w.stride_h + (w.kernel_h - 1) * w.rate_h + 1;
  Eigen::Tensor<T, 3> padded(c, std::max(reach_w, in_w + w.pad_left),
                             std::max(reach_h, in_h + w.pad_top));
  padded.setZero();
  const Eigen::array<index, 3> strides{1, w.stride_w, w.stride_h};
  const Eigen::array<index, 3> dims{c, w.out_w, w.out_h};
  for (int t = 0; t < w.kernel_h * w.kernel_w; ++t) {
    const index x = index{t % w.kernel_w} * w.rate_w, y = index{t / w.kernel_w} * w.rate_h;
    const Eigen::array<index, 3> first{0, x, y};
    const Eigen::array<index, 3> last{c, x + (w.out_w - 1) * w.stride_w + 1,
                                      y + (w.out_h - 1) * w.stride_h + 1};
    padded.stridedSlice(first, last, strides) += share(t).reshape(dims);
  }
  const Eigen::array<index, 3> corner{0, w.pad_left, w.pad_top}, size{c, in_w, in_h};
  map<T, 3>(dx.as<T>() + i * (c * in_w * in_h), c, in_w, in_h).device(on_this_thread) =
      padded.slice(corner, size);
}

}  // namespace reference

template <class T>
struct kernel_of<op::max_pool, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const tensor x = call.in(0), y = call.out();
    const Eigen::array<index, 1> over{1};
    const long pixels = long{y.dims[1]} * y.dims[2], c = y.dims[3];
    call.device().parallel(call.n(), [&](int i, int) {
      const auto elements =
          windows<T>(image_of<T>(x, i), call.a().win, -std::numeric_limits<T>::infinity());
      matrix(y.as<T>() + i * pixels * c, pixels, c).device(on_this_thread) =
          elements.maximum(over);
      if (call.outputs() == 1) return;
      std::uint8_t* winners = call.out(1).template as<std::uint8_t>() + i * pixels * c;
      matrix(winners, pixels, c).device(on_this_thread) =
          elements.argmax(1).template cast<std::uint8_t>();
    });
  }
};

template <class T>
struct kernel_of<op::max_pool_backward, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const tensor dy = call.in(1), dx = call.out();
    const std::uint8_t* winners = call.in(0).as<const std::uint8_t>();
    const long pixels = long{dy.dims[1]} * dy.dims[2], c = dy.dims[3], size = dx.dims.count();
    call.device().parallel(call.n(), [&](int i, int) {
      const auto winner = matrix(winners + i * pixels * c, pixels, c);
      const auto gradient = matrix(dy.as<const T>() + i * pixels * c, pixels, c);
      Eigen::Tensor<T, 1> running;
      const long first = size / call.n() * i, last = first + size / call.n();
      if (call.inputs() > 2) running = row(call.in(2).as<const T>(), first, last);
      scatter<T>(call.a().win, dx, i, [&](int t) {
        return (winner == static_cast<std::uint8_t>(t))
            .select(gradient, gradient.constant(T(0)));
      });
      if (call.inputs() > 2) row(dx.as<T>(), first, last) += running;
    });
  }
};

template <class T>
struct kernel_of<op::max_pool_search_backward, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const tensor x = call.in(0), dy = call.in(1), dx = call.out();
    const long pixels = long{dy.dims[1]} * dy.dims[2], c = dy.dims[3];
    call.device().parallel(call.n(), [&](int i, int) {
      Eigen::Tensor<index, 2> winner(c, pixels);
      winner.device(on_this_thread) =
          windows<T>(image_of<T>(x, i), call.a().win, -std::numeric_limits<T>::infinity())
              .argmax(1);
      const auto gradient = matrix(dy.as<const T>() + i * pixels * c, pixels, c);
      scatter<T>(call.a().win, dx, i, [&](int t) {
        return (winner == index{t}).select(gradient, gradient.constant(T(0)));
      });
    });
  }
};

template <class T>
struct kernel_of<op::avg_pool, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const tensor x = call.in(0), y = call.out();
    const Eigen::array<index, 1> over{1};
    const long pixels = long{y.dims[1]} * y.dims[2], c = y.dims[3];
    const auto weights = window_weights<T>(call.a().win, x.dims[1], x.dims[2]);
    const Eigen::array<index, 2> one_row{1, pixels}, copies{c, 1};
    call.device().parallel(call.n(), [&](int i, int) {
      matrix(y.as<T>() + i * pixels * c, pixels, c).device(on_this_thread) =
          windows<T>(image_of<T>(x, i), call.a().win, T(0)).sum(over) *
          weights.reshape(one_row).broadcast(copies);
    });
  }
};

template <class T>
struct kernel_of<op::avg_pool_backward, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const tensor dy = call.in(0), dx = call.out();
    const long pixels = long{dy.dims[1]} * dy.dims[2], c = dy.dims[3];
    const auto weights = window_weights<T>(call.a().win, dx.dims[1], dx.dims[2]);
    const Eigen::array<index, 2> one_row{1, pixels}, copies{c, 1};
    call.device().parallel(call.n(), [&](int i, int) {
      const auto gradient = matrix(dy.as<const T>() + i * pixels * c, pixels, c);
      scatter<T>(call.a().win, dx, i, [&](int) {
        return gradient * weights.reshape(one_row).broadcast(copies);
      });
    });
  }
};

/// Only the CPU's kernels fuse pooling into a convolution, so only they undo it.
template <class A, class T>
struct kernel_of<op::max_pool_activation_backward<A>, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) { return {}; }
};

}  // namespace slim
