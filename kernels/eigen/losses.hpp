// Reference kernels of losses: element by element, along an axis, by example, and their reduction.
#pragma once

#include <slim/losses/weighting.hpp>
#include <slim/op/losses.hpp>
#include <slim/op/softmax.hpp>

#include "elementwise.hpp"

namespace slim {
namespace reference {

/// The weights of a call that reduces `losses`; its input number `at`, if it has that many.
template <class T>
loss_weights<T> weights_of(const kernel_call& call, int at, const tensor& losses, double scale) {
  const long count = losses.dims.count();
  if (at >= call.inputs()) return {nullptr, scale, count};
  return {call.in(at).as<const T>(), scale, count / call.in(at).dims.count()};
}

/// sum(f(first, last)) over the shares of `count` losses, added up in order.
template <class F>
partial_mean in_loss_shards(cpu_device& device, long count, F f) {
  partial_mean partial[most_loss_shards], sum;
  const int shards = loss_shards(count);
  device.parallel(shards, [&](int shard, int) {
    partial[shard] = f(count * shard / shards, count * (shard + 1) / shards);
  });
  for (int shard = 0; shard < shards; ++shard) sum += partial[shard];
  return sum;
}

/// The divisor of the mean of a call's losses.
template <class T>
double divisor_of(const kernel_call& call, const loss_weights<T>& weights, long count) {
  if (call.a().integer == 1) return 1;
  return in_loss_shards(call.device(), count,
                        [&](long first, long last) {
                          return partial_mean{0, weights.present(first, last)};
                        })
      .present;
}

/// sum(losses) over [first, last), in double.
template <class T>
double sum_of(const T* losses, long first, long last) {
  Eigen::Tensor<double, 0> sum;
  sum.device(on_this_thread) = row(losses, first, last).template cast<double>().sum();
  return sum();
}
/// sum(losses * weights), a weight each.
template <class T>
double product_of(const T* losses, const T* weights, long first, long last) {
  Eigen::Tensor<double, 0> sum;
  sum.device(on_this_thread) = (row(losses, first, last).template cast<double>() *
                                row(weights, first, last).template cast<double>())
                                   .sum();
  return sum();
}

struct sums {
  template <class T>
  static double of(const T* losses, long first, long last) {
    return sum_of(losses, first, last);
  }
  template <class T>
  static double of(const T* losses, const T* weights, long first, long last) {
    return product_of(losses, weights, first, last);
  }
};

/// The reduction of losses by the sums of `Sums`.
template <class T, class Sums>
void weighted_mean(const kernel_call& call) {
  const tensor losses = call.in(0);
  const T* elements = losses.as<const T>();
  const loss_weights<T> weights = weights_of<T>(call, 1, losses, call.a().number);
  const partial_mean all =
      in_loss_shards(call.device(), losses.dims.count(), [&](long first, long last) {
        partial_mean part{0, weights.present(first, last)};
        if (weights.weights != nullptr && weights.inner == 1)
          part.sum = weights.scale * Sums::of(elements, weights.weights, first, last);
        else
          for_parts_of_rows(first, last, weights.inner, [&](long r, long begin, long end) {
            part.sum += weights(r) * Sums::of(elements, begin, end);
          });
        return part;
      });
  *call.out().as<T>() = static_cast<T>(call.a().integer == 1 ? all.sum : all.mean());
}

template <class T>
void weighted_mean_backward(const kernel_call& call) {
  const T dloss = *call.in(1).as<const T>();
  const tensor losses = call.out();
  const long count = losses.dims.count();
  const loss_weights<T> weights = weights_of<T>(call, 2, losses, call.a().number);
  const double divisor = divisor_of(call, weights, count);
  in_ranges(call.device(), count, elements_a_shard, [&](long first, long last) {
    for_parts_of_rows(first, last, weights.inner, [&](long r, long begin, long end) {
      std::fill(losses.as<T>() + begin, losses.as<T>() + end, weights.slope(r, divisor) * dloss);
    });
  });
}

template <class T, class Sums>
void weighted_mean_weights_backward(const kernel_call& call) {
  const tensor losses = call.in(0), dweights = call.out();
  const double dloss = static_cast<double>(*call.in(1).as<const T>());
  const loss_weights<T> weights = weights_of<T>(call, 2, losses, call.a().number);
  const double divisor = divisor_of(call, weights, losses.dims.count());
  const double slope = divisor == 0 ? 0 : dloss * weights.scale / divisor;
  const long inner = weights.inner;
  in_ranges(call.device(), dweights.dims.count(), elements_a_shard / inner + 1,
            [&](long first, long last) {
              for (long r = first; r < last; ++r) {
                // In a sum, an example whose weight is 0 has no loss in TF-Slim.
                const bool absent = call.a().integer == 1 && weights.weights[r] == T(0);
                const double sum = Sums::of(losses.as<const T>(), r * inner, (r + 1) * inner);
                dweights.as<T>()[r] = absent ? T(0) : static_cast<T>(slope * sum);
              }
            });
}

/// f's derivative by predictions or labels.
template <class F, op::wrt By, class T>
auto loss_slope(T p, T y) {
  if constexpr (By == op::wrt::predictions)
    return F::value.gradient(p, y);
  else
    return F::value.label_gradient(p, y);
}

template <class T>
void cosine_distance(const kernel_call& call) {
  const around_axis a(call.in(0).dims, call.a().integer);
  const T *p = call.in(0).as<const T>(), *y = call.in(1).as<const T>();
  T* losses = call.out().as<T>();
  in_ranges(call.device(), a.outer, a.outer_a_shard(), [&](long first, long last) {
    map<T, 2> distances(losses + first * a.inner, a.inner, last - first);
    const Eigen::array<index, 1> axis{1};
    distances.device(on_this_thread) =
        distances.constant(T(1)) -
        (a.parts(p, first, last) * a.parts(y, first, last)).sum(axis);  // (inner, parts)
  });
}
template <class T>
void cosine_distance_backward(const kernel_call& call) {
  const around_axis a(call.in(0).dims, call.a().integer);
  const T *factor = call.in(0).as<const T>(), *dlosses = call.in(1).as<const T>();
  T* dx = call.out().as<T>();
  const Eigen::array<index, 3> along{1, a.extent, 1};
  in_ranges(call.device(), a.outer, a.outer_a_shard(), [&](long first, long last) {
    const const_map<T, 3> slopes(dlosses + first * a.inner, a.inner, 1, last - first);
    a.parts(dx, first, last).device(on_this_thread) =
        -(a.parts(factor, first, last) * slopes.broadcast(along));
  });
}

/// The mean of one example's differences p - y, in double.
template <class P, class Y>
double mean_difference(const P& p, const Y& y) {
  Eigen::Tensor<double, 0> sum;
  sum.device(on_this_thread) = (p.template cast<double>() - y.template cast<double>()).sum();
  return sum() / static_cast<double>(p.size());
}
/// The mean over pairs is twice the variance of the differences.
template <class T>
void pairwise_squared_error(const kernel_call& call) {
  const long n = call.out().dims[0], m = call.in(0).dims.count() / n;
  in_ranges(call.device(), n, 1, [&](long i, long) {
    const auto p = row(call.in(0).as<const T>(), i * m, (i + 1) * m);
    const auto y = row(call.in(1).as<const T>(), i * m, (i + 1) * m);
    const auto difference = p.template cast<double>() - y.template cast<double>();
    Eigen::Tensor<double, 0> sum;
    sum.device(on_this_thread) =
        (difference - difference.constant(mean_difference(p, y))).square().sum();
    call.out().as<T>()[i] = static_cast<T>(2 * sum() / static_cast<double>(m));
  });
}
template <class T>
void pairwise_squared_error_backward(const kernel_call& call) {
  const long n = call.in(2).dims[0], m = call.in(0).dims.count() / n;
  in_ranges(call.device(), n, 1, [&](long i, long) {
    const auto p = row(call.in(0).as<const T>(), i * m, (i + 1) * m);
    const auto y = row(call.in(1).as<const T>(), i * m, (i + 1) * m);
    const T mean = static_cast<T>(mean_difference(p, y));
    const T slope = T(4) * call.in(2).as<const T>()[i] / static_cast<T>(m);
    row(call.out().as<T>(), i * m, (i + 1) * m).device(on_this_thread) =
        (p - y - p.constant(mean)) * p.constant(slope);
  });
}

}  // namespace reference

template <class T>
struct kernel_of<op::weighted_mean, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::weighted_mean<T, reference::sums>);
  }
};
template <class T>
struct kernel_of<op::weighted_mean_backward, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::weighted_mean_backward<T>);
  }
};
template <class T>
struct kernel_of<op::weighted_mean_weights_backward, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::weighted_mean_weights_backward<T, reference::sums>);
  }
};

template <class F, class T>
struct kernel_of<op::elementwise_loss<F>, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    reference::binary<T>(call, [](T p, T y) { return T(F::value(p, y)); });
  }
};
template <class F, op::wrt By, class T>
struct kernel_of<op::elementwise_loss_backward<F, By>, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const T *p = call.in(0).as<const T>(), *y = call.in(1).as<const T>();
    const T* dlosses = call.in(2).as<const T>();
    T* gradient = call.out().as<T>();
    const auto slope = [](T a, T b) { return T(loss_slope<F, By>(a, b)); };
    in_ranges(call.device(), call.out().dims.count(), elements_a_shard, [&](long a, long b) {
      row(gradient, a, b).device(on_this_thread) =
          row(p, a, b).binaryExpr(row(y, a, b), slope) * row(dlosses, a, b);
    });
  }
};

template <class T>
struct kernel_of<op::cosine_distance, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::cosine_distance<T>);
  }
};
template <class T>
struct kernel_of<op::cosine_distance_backward, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::cosine_distance_backward<T>);
  }
};
template <class T>
struct kernel_of<op::pairwise_squared_error, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::pairwise_squared_error<T>);
  }
};
template <class T>
struct kernel_of<op::pairwise_squared_error_backward, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::pairwise_squared_error_backward<T>);
  }
};

}  // namespace slim
