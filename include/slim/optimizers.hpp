// Optimizers: one pass over the flat arenas of variables and gradients. Variables that are not
// trained have a gradient of zero there.
#pragma once

#include "eigen.hpp"
#include <cmath>

#include "runner.hpp"

namespace slim {

/// w -= learning_rate * gradient.
struct gradient_descent {
  double learning_rate = 0.01;

  template <class T>
  void update(runner<T>& r) const {
    using elements = Eigen::Map<Eigen::Array<T, Eigen::Dynamic, 1>>;
    constexpr long shard = 1 << 16;
    const std::span<T> w = r.flat_variables(), g = r.flat_gradients();
    const long count = static_cast<long>(w.size());
    const T rate = static_cast<T>(learning_rate);
    r.device().parallel(static_cast<int>((count + shard - 1) / shard), [&](int task, int) {
      const long first = task * shard, length = std::min(shard, count - first);
      elements(w.data() + first, length) -= rate * elements(g.data() + first, length);
    });
  }
};

}  // namespace slim
