// Reference kernels of batch normalisation, over matrices [rows, c]. Sums are taken in double.
#pragma once

#include <slim/op/batch_norm.hpp>

#include "elementwise.hpp"

namespace slim {
namespace reference {

using channel_sums = Eigen::Tensor<double, 1>;

/// Converts numbers. (Eigen's `cast` to the type there is copies a tensor, and expressions hold their
/// tensors by reference.)
template <class To>
struct convert {
  template <class From>
  To operator()(From x) const {
    return static_cast<To>(x);
  }
};

/// One number a channel as a tensor of doubles.
template <class T>
channel_sums channels(const tensor& t) {
  return row(t.as<const T>(), 0, t.dims.count()).unaryExpr(convert<double>());
}

/// The same number for every row: [c] as (c, rows).
template <class T>
auto for_rows(const channel_sums& values, long rows) {
  const Eigen::array<index, 2> column{values.size(), 1}, copies{1, rows};
  return values.unaryExpr(convert<T>()).reshape(column).broadcast(copies);
}

/// An optional input of a batch norm, or else the same number for every channel.
template <class T>
channel_sums optional_channels(const kernel_call& call, int fixed, int part, double otherwise) {
  const int at = op::detail::optional_input(call.a(), fixed, part);
  if (at >= 0) return channels<T>(call.in(at));
  channel_sums all(call.in(0).dims.back());
  all.setConstant(otherwise);
  return all;
}

/// The mean over the rows of an expression (c, rows).
template <class X>
channel_sums mean_of(const X& x, long rows) {
  const Eigen::array<index, 1> over{1};
  const channel_sums sum = x.unaryExpr(convert<double>()).sum(over);
  return sum / sum.constant(static_cast<double>(rows));
}

/// y = A((x - mean) / sqrt(variance + epsilon) * gamma + beta).
template <class A, class T>
void normalize(const kernel_call& call, const channel_sums& mean, const channel_sums& variance) {
  const tensor x = call.in(0), y = call.out();
  const long rows = x.dims.leading(), c = x.dims.back();
  const auto gamma = optional_channels<T>(call, 3, op::batch_norm_parts::gamma, 1);
  const auto beta = optional_channels<T>(call, 3, op::batch_norm_parts::beta, 0);
  const channel_sums scale = gamma * (variance + variance.constant(call.a().number)).rsqrt();
  in_ranges(call.device(), rows, elements_a_shard / c + 1, [&](long a, long b) {
    matrix(y.as<T>() + a * c, b - a, c).device(on_this_thread) =
        ((matrix(x.as<const T>() + a * c, b - a, c) - for_rows<T>(mean, b - a)) *
             for_rows<T>(scale, b - a) +
         for_rows<T>(beta, b - a))
            .unaryExpr(activate<A, T>());
  });
}

template <class A, class T>
void batch_norm(const kernel_call& call) {
  const tensor x = call.in(0);
  const long rows = x.dims.leading(), c = x.dims.back();
  const auto values = matrix(x.as<const T>(), rows, c);
  const channel_sums mean = mean_of(values, rows);
  const auto apart = values.unaryExpr(convert<double>()) - for_rows<double>(mean, rows);
  const channel_sums variance = mean_of(apart.square(), rows);
  row(call.out(1).template as<T>(), 0, c).device(on_this_thread) = mean.unaryExpr(convert<T>());
  row(call.out(2).template as<T>(), 0, c).device(on_this_thread) = variance.unaryExpr(convert<T>());
  normalize<A, T>(call, mean, variance);
}

/// dbeta = sum(dy), dgamma = sum(dy * normalized x); dx = scale * dy and, where the statistics are
/// the batch's own, less the means of what flows into them.
template <class T>
void batch_norm_backward(const kernel_call& call, bool through_statistics) {
  const tensor x = call.in(0), dy = call.in(1), dx = call.out();
  const long rows = x.dims.leading(), c = x.dims.back();
  const channel_sums mean = channels<T>(call.in(2)), variance = channels<T>(call.in(3));
  const channel_sums inverse = (variance + variance.constant(call.a().number)).rsqrt();
  const channel_sums scale =
      optional_channels<T>(call, 4, op::batch_norm_parts::gamma, 1) * inverse;
  const auto values = matrix(x.as<const T>(), rows, c), slopes = matrix(dy.as<const T>(), rows, c);
  const auto gradient = slopes.unaryExpr(convert<double>());
  const auto normalized = (values.unaryExpr(convert<double>()) - for_rows<double>(mean, rows)) *
                          for_rows<double>(inverse, rows);
  const Eigen::array<index, 1> over{1};
  const channel_sums dbeta = gradient.sum(over), dgamma = (gradient * normalized).sum(over);
  row(call.out(1).template as<T>(), 0, c).device(on_this_thread) = dgamma.unaryExpr(convert<T>());
  row(call.out(2).template as<T>(), 0, c).device(on_this_thread) = dbeta.unaryExpr(convert<T>());
  auto out = matrix(dx.as<T>(), rows, c);
  if (!through_statistics) {
    out.device(on_this_thread) = (gradient * for_rows<double>(scale, rows)).unaryExpr(convert<T>());
    return;
  }
  const channel_sums mean_dy = dbeta / dbeta.constant(static_cast<double>(rows));
  const channel_sums mean_slope = dgamma / dgamma.constant(static_cast<double>(rows));
  out.device(on_this_thread) =
      ((gradient - for_rows<double>(mean_dy, rows) -
        normalized * for_rows<double>(mean_slope, rows)) *
       for_rows<double>(scale, rows))
          .unaryExpr(convert<T>());
}

/// y = A(x * scale + shift).
template <class A, class T>
void scale_shift(const kernel_call& call) {
  const long rows = call.out().dims.leading(), c = call.out().dims.back();
  const T* x = call.in(0).as<const T>();
  T* y = call.out().as<T>();
  const channel_sums scale = channels<T>(call.in(1)), shift = channels<T>(call.in(2));
  in_ranges(call.device(), rows, elements_a_shard / c + 1, [&](long a, long b) {
    matrix(y + a * c, b - a, c).device(on_this_thread) =
        (matrix(x + a * c, b - a, c) * for_rows<T>(scale, b - a) + for_rows<T>(shift, b - a))
            .unaryExpr(activate<A, T>());
  });
}

/// (moving, batch) -> the moving average after an update.
template <class T>
struct moving_average {
  T unbiased, pull;

  explicit moving_average(const kernel_call& call) {
    const long count = long{call.n()} * call.a().dims.count();
    unbiased = call.a().integer == 0 ? T(1) : T(count) / T(std::max(count - 1, 1L));
    // TensorFlow holds 1 - decay in float32, whatever the variable's type.
    pull = static_cast<T>(static_cast<float>(1.0 - call.a().number));
  }
  T operator()(T moving, T batch) const { return moving - (moving - batch * unbiased) * pull; }
};

}  // namespace reference

template <class T>
struct kernel_of<op::batch_norm, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::batch_norm<no_activation, T>);
  }
};
template <class A, class T>
struct kernel_of<op::fused_batch_norm<A>, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::batch_norm<A, T>);
  }
};
template <class T>
struct kernel_of<op::batch_norm_inference, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    normalize<no_activation, T>(call, channels<T>(call.in(1)), channels<T>(call.in(2)));
  }
};
template <class T>
struct kernel_of<op::batch_norm_backward, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) { reference::batch_norm_backward<T>(call, true); }
};
template <class T>
struct kernel_of<op::batch_norm_inference_backward, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) { reference::batch_norm_backward<T>(call, false); }
};

template <class T>
struct kernel_of<op::batch_norm_scale, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const channel_sums variance = channels<T>(call.in(0));
    const auto gamma = optional_channels<T>(call, 1, op::batch_norm_parts::gamma, 1);
    row(call.out().as<T>(), 0, variance.size()).device(on_this_thread) =
        (gamma * (variance + variance.constant(call.a().number)).rsqrt()).unaryExpr(convert<T>());
  }
};
template <class T>
struct kernel_of<op::batch_norm_shift, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    using parts = op::batch_norm_parts;
    const channel_sums mean = channels<T>(call.in(0)), scale = channels<T>(call.in(1));
    const auto beta = optional_channels<T>(call, 2, parts::beta, 0);
    const auto bias = optional_channels<T>(call, 2, parts::bias, 0);
    row(call.out().as<T>(), 0, mean.size()).device(on_this_thread) =
        (beta + (bias - mean) * scale).unaryExpr(convert<T>());
  }
};
template <class T>
struct kernel_of<op::scale_columns, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    using namespace reference;
    const channel_sums scale = channels<T>(call.in(1));
    const long c = scale.size();
    const T* w = call.in(0).as<const T>();
    T* scaled = call.out().as<T>();
    in_ranges(call.device(), call.out().dims.count() / c, elements_a_shard / c + 1,
              [&](long a, long b) {
                matrix(scaled + a * c, b - a, c).device(on_this_thread) =
                    matrix(w + a * c, b - a, c) * for_rows<T>(scale, b - a);
              });
  }
};
template <class T>
struct kernel_of<op::scale_shift, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::scale_shift<no_activation, T>);
  }
};
template <class A, class T>
struct kernel_of<op::fused_scale_shift<A>, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&reference::scale_shift<A, T>);
  }
};

template <class T>
struct kernel_of<op::update_moving_average, T, backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return reference::expression(&run);
  }
  static void run(const kernel_call& call) {
    reference::binary<T>(call, reference::moving_average<T>(call));
  }
};

}  // namespace slim
