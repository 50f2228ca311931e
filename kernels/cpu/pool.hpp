// Pooling on the CPU: which kernel runs.
#pragma once

#include "../eigen/pool.hpp"
#include "pool_backward.hpp"

namespace slim {
template <class T>
struct kernel_of<op::max_pool, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row& n) {
    return {"one pass", n.outputs > 1 ? &cpu::max_pool_forward<true, T>
                                      : &cpu::max_pool_forward<false, T>, 0};
  }
};
template <class T>
struct kernel_of<op::max_pool_backward, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::max_pool_backward<no_activation, T>, 0};
  }
};
template <class A, class T>
struct kernel_of<op::max_pool_backward_activation<A>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::max_pool_backward<A, T>, 0};
  }
};
template <class T>
struct kernel_of<op::max_pool_search_backward, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"search", &cpu::max_pool_search_backward<T>, 0};
  }
};
template <class T>
struct kernel_of<op::avg_pool, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::avg_pool_forward<T>, 0};
  }
};
template <class T>
struct kernel_of<op::avg_pool_backward, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::avg_pool_backward<T>, 0};
  }
};
template <class A, class T>
struct kernel_of<op::max_pool_activation_backward<A>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::max_pool_activation_backward<A, T>, 0};
  }
};

}  // namespace slim
