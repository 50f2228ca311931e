// The reference kernel of one-hot encoding.
#pragma once

#include <slim/op/one_hot.hpp>

#include "support.hpp"

namespace slim {

template <class T>
struct kernel_of<op::one_hot, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const long n = call.out().dims[0], k = call.out().dims[1];
    const int* labels = call.in(0).as<const int>();
    const T on = T(call.a().number), off = T(call.a().second);
    auto y = matrix(call.out().as<T>(), n, k);
    y.device(on_this_thread) = y.generate([=](const Eigen::array<index, 2>& at) {
      return labels[at[1]] == at[0] ? on : off;
    });
  }
};

}  // namespace slim
