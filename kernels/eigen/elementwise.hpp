// Reference kernels of element-wise ops.
#pragma once

#include <slim/op/bias_add.hpp>
#include <slim/op/dropout.hpp>
#include <slim/op/regularizer.hpp>
#include <slim/op/activation.hpp>
#include <slim/random.hpp>

#include "support.hpp"

namespace slim {
namespace reference {

/// out = f(in0) for every element.
template <class T, class F>
void unary(const kernel_call& call, F f) {
  const T* x = call.in(0).as<const T>();
  T* y = call.out().as<T>();
  in_ranges(call.device(), call.out().dims.count(), elements_a_shard, [&](long a, long b) {
    row(y, a, b).device(on_this_thread) = row(x, a, b).unaryExpr(f);
  });
}
/// out = f(in0, in1) for every element.
template <class T, class F>
void binary(const kernel_call& call, F f) {
  const T *x = call.in(0).as<const T>(), *z = call.in(1).as<const T>();
  T* y = call.out().as<T>();
  in_ranges(call.device(), call.out().dims.count(), elements_a_shard, [&](long a, long b) {
    row(y, a, b).device(on_this_thread) = row(x, a, b).binaryExpr(row(z, a, b), f);
  });
}

/// 1 / keep_prob where the element is kept, else 0: a function of the run's key, the op's number
/// and the element.
template <class T>
struct dropout_mask {
  std::uint64_t key;
  double keep_prob;

  T operator()(std::uint64_t element) const {
    return to_uniform(random_at(key, element)) < keep_prob ? T(1 / keep_prob) : T(0);
  }
};
template <class T>
void dropout(const kernel_call& call) {
  const auto key = random_at(call.random_key(), static_cast<std::uint64_t>(call.a().integer));
  const dropout_mask<T> mask{key, call.a().number};
  const T* x = call.in(0).as<const T>();
  T* y = call.out().as<T>();
  in_ranges(call.device(), call.out().dims.count(), elements_a_shard, [&](long a, long b) {
    const Eigen::array<index, 1> length{b - a};
    const auto element = [=](index i) { return mask(static_cast<std::uint64_t>(a + i)); };
    const auto numbers = Eigen::TensorMap<Eigen::Tensor<const T, 1>>(x + a, length);
    row(y, a, b).device(on_this_thread) =
        numbers *
        numbers.generate([=](const Eigen::array<index, 1>& at) { return element(at[0]); });
  });
}

}  // namespace reference

template <class T>
struct kernel_of<op::add, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    reference::binary<T>(call, Eigen::internal::scalar_sum_op<T>());
  }
};

template <class A, class T>
struct kernel_of<op::fused_add<A>, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    reference::binary<T>(call, [](T a, T b) { return A::value(a + b); });
  }
};

template <class T>
struct kernel_of<op::copy, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    reference::unary<T>(call, [](T x) { return x; });
  }
};

template <class T>
struct kernel_of<op::bring, T, backend::eigen> : kernel_of<op::copy, T, backend::eigen> {};

template <class T>
struct kernel_of<op::one, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) { *call.out().as<T>() = T(1); }
};

template <class A, class T>
struct kernel_of<op::activation<A>, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    reference::unary<T>(call, reference::activate<A, T>());
  }
};

template <class A, class T>
struct kernel_of<op::activation_backward<A>, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    reference::binary<T>(call, reference::activate_gradient<A, T>());
  }
};

template <class T>
struct kernel_of<op::bias_add, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const long c = call.out().dims.back();
    const T *x = call.in(0).as<const T>(), *bias = call.in(1).as<const T>();
    T* y = call.out().as<T>();
    in_ranges(call.device(), call.out().dims.leading(), elements_a_shard / c + 1,
              [&](long a, long b) {
                const Eigen::array<index, 2> rows{1, b - a};
                matrix(y + a * c, b - a, c).device(on_this_thread) =
                    matrix(x + a * c, b - a, c) + matrix(bias, 1, c).broadcast(rows);
              });
  }
};

template <class T>
struct kernel_of<op::bias_backward, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const tensor dy = call.in(0);
    const Eigen::array<index, 1> rows{1};
    const long c = dy.dims.back();
    row(call.out().as<T>(), 0, c).device(on_this_thread) =
        matrix(dy.as<const T>(), dy.dims.leading(), c).sum(rows);
  }
};

template <class T>
struct kernel_of<op::dropout, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::dropout<T>);
  }
};
template <class T>
struct kernel_of<op::dropout_backward, T, backend::eigen>
    : kernel_of<op::dropout, T, backend::eigen> {};

template <class R, class T>
struct kernel_of<op::regularizer<R>, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  /// A fixed number of partial sums, so that the order does not depend on threads; each in double.
  static void run(const kernel_call& call) {
    using namespace reference;
    constexpr int shards = 64;
    double partial[shards] = {};
    const T* w = call.in(0).as<const T>();
    const long count = call.in(0).dims.count();
    call.device().parallel(shards, [&](int shard, int) {
      const long first = count * shard / shards, last = count * (shard + 1) / shards;
      if (first == last) return;
      Eigen::Tensor<double, 0> sum;
      sum.device(on_this_thread) = row(w, first, last)
                                       .template cast<double>()
                                       .unaryExpr([](double x) { return R::value(x); })
                                       .sum();
      partial[shard] = sum();
    });
    double sum = 0;
    for (double p : partial) sum += p;
    *call.out().as<T>() = static_cast<T>(sum);
  }
};

template <class R, class T>
struct kernel_of<op::regularizer_backward<R>, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const T *w = call.in(0).as<const T>(), scale = *call.in(1).as<const T>();
    const T* running = call.inputs() > 2 ? call.in(2).as<const T>() : nullptr;
    T* dw = call.out().as<T>();
    const auto slope = [scale](T x) { return scale * R::value.gradient(x); };
    in_ranges(call.device(), call.out().dims.count(), elements_a_shard, [&](long a, long b) {
      if (running != nullptr)
        row(dw, a, b).device(on_this_thread) =
            row(running, a, b) + row(w, a, b).unaryExpr(slope);
      else
        row(dw, a, b).device(on_this_thread) = row(w, a, b).unaryExpr(slope);
    });
  }
};

}  // namespace slim
