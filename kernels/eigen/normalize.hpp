// Reference kernels of normalisation without variables.
#pragma once

#include <slim/op/normalize.hpp>

#include "support.hpp"

namespace slim {
namespace reference {

template <class T>
void unit_norm(const kernel_call& call) {
  const around_axis axis(call.in(0).dims, call.a().integer);
  const Eigen::array<index, 1> over{1};
  const Eigen::array<index, 2> column{axis.inner, 1}, copies{1, axis.extent};
  const T epsilon = T(call.a().number);
  call.device().parallel(static_cast<int>(axis.outer), [&](int i, int) {
    const auto x = axis.slice(call.in(0).as<const T>(), i);
    Eigen::Tensor<T, 1> length(axis.inner);
    length.device(on_this_thread) = x.square().sum(over);
    axis.slice(call.out().as<T>(), i).device(on_this_thread) =
        x / (length + epsilon).sqrt().reshape(column).broadcast(copies);
  });
}

template <class T>
void unit_norm_backward(const kernel_call& call) {
  const around_axis axis(call.in(0).dims, call.a().integer);
  const Eigen::array<index, 1> over{1};
  const Eigen::array<index, 2> column{axis.inner, 1}, copies{1, axis.extent};
  const T epsilon = T(call.a().number);
  call.device().parallel(static_cast<int>(axis.outer), [&](int i, int) {
    const auto x = axis.slice(call.in(0).as<const T>(), i);
    const auto dy = axis.slice(call.in(1).as<const T>(), i);
    Eigen::Tensor<T, 1> squares(axis.inner), along(axis.inner);
    squares.device(on_this_thread) = x.square().sum(over) + epsilon;
    along.device(on_this_thread) = (x * dy).sum(over) / squares;
    axis.slice(call.out().as<T>(), i).device(on_this_thread) =
        (dy - x * along.reshape(column).broadcast(copies)) /
        squares.sqrt().reshape(column).broadcast(copies);
  });
}

/// The sum over each channel's neighbours of terms (c, pixels).
template <class T>
Eigen::Tensor<T, 2> sum_of_neighbours(const Eigen::Tensor<T, 2>& terms, int radius) {
  const Eigen::array<std::pair<index, index>, 2> margin{std::pair<index, index>(radius, radius),
                                                        std::pair<index, index>(0, 0)};
  const Eigen::Tensor<T, 2> padded = terms.pad(margin);
  Eigen::Tensor<T, 2> sum(terms.dimensions());
  sum.setZero();
  for (index shift = 0; shift <= 2 * radius; ++shift) {
    const Eigen::array<index, 2> first{shift, 0};
    sum += padded.slice(first, terms.dimensions());
  }
  return sum;
}

/// bias + alpha * the neighbours' sum of squares, of pixels x (c, pixels).
template <class P, class T>
Eigen::Tensor<T, 2> response(const const_map<T, 2>& x) {
  constexpr op::response_options o = P::value;
  return sum_of_neighbours<T>(x.square(), o.depth_radius) * T(o.alpha) + T(o.bias);
}

template <class P, class T>
void local_response_normalization(const kernel_call& call) {
  const tensor from = call.in(0);
  const long c = from.dims.back(), pixels = from.dims.leading() / from.dims[0];
  call.device().parallel(from.dims[0], [&](int i, int) {
    const auto x = matrix(from.as<const T>() + i * pixels * c, pixels, c);
    const Eigen::Tensor<T, 2> s = response<P, T>(x);
    matrix(call.out().as<T>() + i * pixels * c, pixels, c).device(on_this_thread) =
        x * s.pow(T(-P::value.beta));
  });
}

/// dx = dy s^-beta - 2 alpha beta x * the neighbours' sum of (dy x s^(-beta - 1)).
template <class P, class T>
void local_response_normalization_backward(const kernel_call& call) {
  constexpr op::response_options o = P::value;
  const tensor from = call.in(0);
  const long c = from.dims.back(), pixels = from.dims.leading() / from.dims[0];
  call.device().parallel(from.dims[0], [&](int i, int) {
    const auto x = matrix(from.as<const T>() + i * pixels * c, pixels, c);
    const auto dy = matrix(call.in(1).as<const T>() + i * pixels * c, pixels, c);
    const Eigen::Tensor<T, 2> s = response<P, T>(x), power = s.pow(T(-o.beta));
    const Eigen::Tensor<T, 2> terms = dy * x * power / s;
    const Eigen::Tensor<T, 2> sum = sum_of_neighbours<T>(terms, o.depth_radius);
    matrix(call.out().as<T>() + i * pixels * c, pixels, c).device(on_this_thread) =
        dy * power - x * sum * T(2 * o.alpha * o.beta);
  });
}

}  // namespace reference

template <class T>
struct kernel_of<op::unit_norm, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::unit_norm<T>);
  }
};
template <class T>
struct kernel_of<op::unit_norm_backward, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::unit_norm_backward<T>);
  }
};
template <class P, class T>
struct kernel_of<op::local_response_normalization<P>, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::local_response_normalization<P, T>);
  }
};
template <class P, class T>
struct kernel_of<op::local_response_normalization_backward<P>, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::local_response_normalization_backward<P, T>);
  }
};

}  // namespace slim
