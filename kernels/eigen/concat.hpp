// Reference kernels of concatenation, as slices of matrices [rows, c].
#pragma once

#include <slim/op/concat.hpp>

#include "support.hpp"

namespace slim {

template <class T>
struct kernel_of<op::concat, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const tensor y = call.out();
    auto all = matrix(y.as<T>(), y.dims.leading(), y.dims.back());
    index first = 0;
    for (int i = 0; i < call.inputs(); ++i) {
      const tensor x = call.in(i);
      const Eigen::array<index, 2> at{first, 0}, size{x.dims.back(), x.dims.leading()};
      all.slice(at, size).device(on_this_thread) =
          matrix(x.as<const T>(), x.dims.leading(), x.dims.back());
      first += x.dims.back();
    }
  }
};

template <class T>
struct kernel_of<op::channel_slice, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const tensor dy = call.in(0), dx = call.out();
    const Eigen::array<index, 2> at{call.a().integer, 0};
    const Eigen::array<index, 2> size{dx.dims.back(), dx.dims.leading()};
    matrix(dx.as<T>(), dx.dims.leading(), dx.dims.back()).device(on_this_thread) =
        matrix(dy.as<const T>(), dy.dims.leading(), dy.dims.back()).slice(at, size);
  }
};

}  // namespace slim
