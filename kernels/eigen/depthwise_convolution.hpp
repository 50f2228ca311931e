// Reference kernels of depthwise convolutions: sums over the windows of each channel, one kernel of
// the multiplier at a time.
#pragma once

#include <slim/op/depthwise_convolution.hpp>

#include "pool.hpp"

namespace slim {
namespace reference {

template <class T>
void depthwise_convolution(const kernel_call& call) {
  const tensor x = call.in(0), w = call.in(1), y = call.out();
  const int c = w.dims[2], multiplier = w.dims[3];
  const index taps = index{w.dims[0]} * w.dims[1], pixels = index{y.dims[1]} * y.dims[2];
  const const_map<T, 2> weights(w.as<const T>(), multiplier, c * taps);
  const Eigen::array<index, 3> one_pixel{c, taps, 1}, copies{1, 1, pixels};
  const Eigen::array<index, 1> over{1};
  call.device().parallel(y.dims[0], [&](int i, int) {
    map<T, 3> out(y.as<T>() + i * pixels * c * multiplier, multiplier, c, pixels);
    const auto in = windows<T>(image_of<T>(x, i), call.a().win, T(0));  // (c, taps, pixels)
    for (int m = 0; m < multiplier; ++m)
      out.chip(m, 0).device(on_this_thread) =
          (in * weights.chip(m, 0).reshape(one_pixel).broadcast(copies)).sum(over);
  });
}

template <class T>
void depthwise_convolution_backward_data(const kernel_call& call) {
  const tensor dy = call.in(0), w = call.in(1), dx = call.out();
  const int c = w.dims[2], multiplier = w.dims[3];
  const index pixels = index{dy.dims[1]} * dy.dims[2];
  const const_map<T, 3> weights(w.as<const T>(), multiplier, c, index{w.dims[0]} * w.dims[1]);
  const Eigen::array<index, 3> one_pixel{multiplier, c, 1}, copies{1, 1, pixels};
  const Eigen::array<index, 1> over{0};
  call.device().parallel(dx.dims[0], [&](int i, int) {
    const const_map<T, 3> gradient(dy.as<const T>() + i * pixels * c * multiplier, multiplier, c,
                                   pixels);
    scatter<T>(call.a().win, dx, i, [&](int t) {  // (c, pixels)
      return (gradient * weights.chip(t, 2).reshape(one_pixel).broadcast(copies)).sum(over);
    });
  });
}

template <class T>
void depthwise_convolution_backward_filter(const kernel_call& call) {
  const tensor x = call.in(0), dy = call.in(1), dw = call.out();
  const int c = dw.dims[2], multiplier = dw.dims[3];
  const index taps = index{dw.dims[0]} * dw.dims[1], pixels = index{dy.dims[1]} * dy.dims[2];
  map<T, 3> sum(dw.as<T>(), multiplier, c, taps);
  sum.setZero();
  const Eigen::array<index, 3> one_tap{c, 1, pixels}, copies{1, taps, 1};
  const Eigen::array<index, 1> over{2};
  for (int i = 0; i < dy.dims[0]; ++i) {
    const const_map<T, 3> gradient(dy.as<const T>() + i * pixels * c * multiplier, multiplier, c,
                                   pixels);
    const auto in = windows<T>(image_of<T>(x, i), call.a().win, T(0));  // (c, taps, pixels)
    for (int m = 0; m < multiplier; ++m)
      sum.chip(m, 0).device(on_this_thread) +=
          (in * gradient.chip(m, 0).reshape(one_tap).broadcast(copies)).sum(over);
  }
}

}  // namespace reference

template <class T>
struct kernel_of<op::depthwise_convolution, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::depthwise_convolution<T>);
  }
};
template <class T>
struct kernel_of<op::depthwise_convolution_backward_data, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::depthwise_convolution_backward_data<T>);
  }
};
template <class T>
struct kernel_of<op::depthwise_convolution_backward_filter, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::depthwise_convolution_backward_filter<T>);
  }
};

template <class T>
struct kernel_of<op::tile_channels, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const shape& to = call.out().dims;
    const index taps = index{to[0]} * to[1], c = to[2];
    const Eigen::array<index, 2> copies{c, 1};
    matrix(call.out().as<T>(), taps, c).device(on_this_thread) =
        matrix(call.in(0).as<const T>(), taps, 1).broadcast(copies);
  }
};
template <class T>
struct kernel_of<op::tile_channels_backward, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const shape& from = call.in(0).dims;
    const index taps = index{from[0]} * from[1];
    const Eigen::array<index, 1> over{0};
    row(call.out().as<T>(), 0, taps).device(on_this_thread) =
        matrix(call.in(0).as<const T>(), taps, from[2]).sum(over);
  }
};

}  // namespace slim
