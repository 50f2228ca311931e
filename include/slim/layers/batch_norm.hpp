// batch_norm<...>: normalised by the mean and the variance of each channel, over all other axes.
//
// Input and output [n, ..., c], rank 2 or more. Variables, each [c]: beta (if center), gamma (if
// scale), moving_mean and moving_variance (not trainable). A training pass takes the batch's
// statistics, biased; `m.update` then moves the averages, of the variance's unbiased estimate for
// rank 2 and 4 and with fused{true}, as TF-Slim does. A forward pass takes the averages, folded into
// the weights before it. With is_training{false} the averages are taken in training, too, and stay
// as they are. Defaults as TF-Slim's: decay 0.999, center, no scale, epsilon 0.001, no activation.
#pragma once

#include "../op/batch_norm.hpp"
#include "layer.hpp"

namespace slim {

/// How much of a moving average stays at each step.
struct decay {
  static constexpr std::string_view slot = "decay";
  double value;
};
/// Whether there is a beta.
struct center {
  static constexpr std::string_view slot = "center";
  bool value;
};
/// Whether there is a gamma.
struct scale {
  static constexpr std::string_view slot = "scale";
  bool value;
};
/// false: the moving average of the variance takes the biased estimate.
struct fused {
  static constexpr std::string_view slot = "fused";
  bool value;
};

// TF-Slim's param_initializers and param_regularizers, an option each.
template <class F>
struct beta_initializer {
  static constexpr std::string_view slot = "beta_initializer";
  F value;
};
template <class F>
beta_initializer(F) -> beta_initializer<F>;
template <class F>
struct gamma_initializer {
  static constexpr std::string_view slot = "gamma_initializer";
  F value;
};
template <class F>
gamma_initializer(F) -> gamma_initializer<F>;
template <class F>
struct moving_mean_initializer {
  static constexpr std::string_view slot = "moving_mean_initializer";
  F value;
};
template <class F>
moving_mean_initializer(F) -> moving_mean_initializer<F>;
template <class F>
struct moving_variance_initializer {
  static constexpr std::string_view slot = "moving_variance_initializer";
  F value;
};
template <class F>
moving_variance_initializer(F) -> moving_variance_initializer<F>;
template <class F>
struct beta_regularizer {
  static constexpr std::string_view slot = "beta_regularizer";
  F value;
};
template <class F>
beta_regularizer(F) -> beta_regularizer<F>;
template <class F>
struct gamma_regularizer {
  static constexpr std::string_view slot = "gamma_regularizer";
  F value;
};
template <class F>
gamma_regularizer(F) -> gamma_regularizer<F>;

template <auto... Option>
struct batch_norm;

namespace ops {
struct batch_norm {
  static constexpr std::string_view name = "batch_norm";
  static constexpr std::string_view function = "batch_norm";
  static constexpr std::string_view default_scope = "BatchNorm";
  static constexpr std::string_view options[] = {
      "decay",             "center",
      "scale",             "epsilon",
      "activation_fn",     "is_training",
      "trainable",         "fused",
      "beta_initializer",  "gamma_initializer",
      "beta_regularizer",  "gamma_regularizer",
      "reuse", "variables_collections",             "moving_mean_initializer",
      "outputs_collections", "moving_variance_initializer"};
  template <auto... Argument>
  using layer = slim::batch_norm<Argument...>;

  template <class O, class B>
  static constexpr int build(B& b, int x) {
    if (const int fault = check<O>(b, x); fault < 0) return -1;
    constexpr bool training = O::template get<"is_training">(is_training{true}).value;
    attributes a;
    a.number = O::template get<"epsilon">(epsilon{0.001}).value;
    int inputs[5]{x}, count = 3;
    count = parameters<O>(b, inputs, count, a);
    const int* const moving = inputs + 1;
    statistics<O>(b, b.g.values[x].dims.back(), inputs + 1);
    if (b.failed()) return -1;
    using op_type = std::conditional_t<training, op::batch_norm, op::batch_norm_inference>;
    const int y = b.template add<op_type>(inputs, count, a);
    if (b.failed()) return -1;
    if (training) add_updates<O>(b, x, moving);
    constexpr auto activation = O::template get<"activation_fn">(activation_fn{none});
    return b.failed() ? -1 : activate<constant<activation.value>>(b, y);
  }

 private:
  template <class O, class B>
  static constexpr int check(B& b, int x) {
    constexpr double d = O::template get<"decay">(decay{0.999}).value;
    constexpr double e = O::template get<"epsilon">(epsilon{0.001}).value;
    const shape in = b.g.values[x].dims;
    if (in.rank < 2) return b.fail("needs an input of rank 2 or more, not ", in);
    if (!(d >= 0 && d <= 1)) return b.fail("decay must lie in [0, 1]");
    if (!(e > 0)) return b.fail("epsilon must be positive");
    return 0;
  }

  /// Creates gamma and beta, where wanted, as inputs[count] on; returns the count with them.
  template <class O, class B>
  static constexpr int parameters(B& b, int* inputs, int count, attributes& a) {
    constexpr bool trains = O::template get<"trainable">(trainable{true}).value;
    const shape channels{b.g.values[inputs[0]].dims.back()};
    if constexpr (O::template get<"scale">(scale{false}).value) {
      constexpr auto init = O::template get<"gamma_initializer">(gamma_initializer{ones{}});
      constexpr auto penalty = O::template get<"gamma_regularizer">(gamma_regularizer{none});
      inputs[count++] = create_variable(b, "gamma", channels, constant<init.value>{},
                                        constant<penalty.value>{}, trains);
      a.integer |= op::batch_norm_parts::gamma;
    }
    if constexpr (O::template get<"center">(center{true}).value) {
      constexpr auto init = O::template get<"beta_initializer">(beta_initializer{zeros{}});
      constexpr auto penalty = O::template get<"beta_regularizer">(beta_regularizer{none});
      inputs[count++] = create_variable(b, "beta", channels, constant<init.value>{},
                                        constant<penalty.value>{}, trains);
      a.integer |= op::batch_norm_parts::beta;
    }
    return count;
  }

  /// Creates the moving averages as moving[0] and moving[1].
  template <class O, class B>
  static constexpr void statistics(B& b, int channels, int* moving) {
    constexpr auto mean =
        O::template get<"moving_mean_initializer">(moving_mean_initializer{zeros{}});
    constexpr auto variance =
        O::template get<"moving_variance_initializer">(moving_variance_initializer{ones{}});
    moving[0] = create_variable(b, "moving_mean", {channels}, constant<mean.value>{},
                                constant<none>{}, false);
    moving[1] = create_variable(b, "moving_variance", {channels}, constant<variance.value>{},
                                constant<none>{}, false);
  }

  /// The ops that move the averages towards the statistics of the node just added.
  template <class O, class B>
  static constexpr void add_updates(B& b, int x, const int* moving) {
    const int node = b.g.nodes.size() - 1;
    const shape in = b.g.values[x].dims;
    attributes a;
    a.number = O::template get<"decay">(decay{0.999}).value;
    a.dims = {static_cast<int>(in.count() / in.back() / in[0])};
    for (int i = 0; i < 2; ++i) {
      const bool fuses = O::template get<"fused">(fused{true}).value;
      a.integer = i == 1 && fuses && (in.rank == 2 || in.rank == 4);
      b.template add<op::update_moving_average>(
          {moving[i], b.g.output_of(b.g.nodes[node], i + 1)}, a);
      if (b.failed()) return;
      b.g.nodes[b.g.nodes.size() - 1].update = true;
    }
  }
};
}  // namespace ops

template <auto... Option>
struct batch_norm : layer<ops::batch_norm, constant<Option>...> {};

}  // namespace slim
