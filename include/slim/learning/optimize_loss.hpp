// TF-Slim's optimize_loss: another train op, which clips all gradients together.
//
//   auto op = learning::optimize_loss(m, adam{0.001}, {.clip_gradients = 4});
//   auto op = learning::optimize_loss<"Adam">(m, 0.001);
#pragma once

#include <set>

#include "train_op.hpp"

namespace slim::learning {

namespace detail {

/// TF-Slim's table of optimizers by name.
template <text Name>
constexpr auto named_optimizer(double rate) {
  constexpr std::string_view name = Name.view();
  if constexpr (name == "Adagrad")
    return adagrad{.learning_rate = rate};
  else if constexpr (name == "Adam")
    return adam{.learning_rate = rate};
  else if constexpr (name == "Ftrl")
    return ftrl{.learning_rate = rate};
  else if constexpr (name == "Momentum")
    return slim::momentum{.learning_rate = rate, .momentum = 0.9};
  else if constexpr (name == "RMSProp")
    return rmsprop{.learning_rate = rate};
  else {
    static_assert(name == "SGD",
                  "optimize_loss: optimizers by name are Adagrad, Adam, Ftrl, Momentum, RMSProp "
                  "and SGD");
    return gradient_descent{.learning_rate = rate};
  }
}

}  // namespace detail

struct optimize_loss_options {
  /// Adds truncated normal noise of this scale to every gradient; 0: none.
  double gradient_noise_scale = 0;
  /// Factors by variable name WITH ":0", as TF-Slim keys them here and not in create_train_op.
  std::map<std::string, double> gradient_multipliers{};
  /// All gradients together are clipped to this 2-norm; 0: they are not.
  double clip_gradients = 0;
  /// In place of clip_gradients: what the gradients are multiplied by, given their norm and the
  /// step.
  std::function<double(double norm, std::int64_t step)> clip_fn{};
  /// Of the optimizer's rate and the step.
  std::function<double(double rate, std::int64_t step)> learning_rate_decay_fn{};
  /// Names of those that are trained; all trainable ones if empty.
  std::vector<std::string> variables{};
  bool increment_global_step = true;
  /// What goes to the event file, under OptimizeLoss/: loss, learning_rate (if it decays),
  /// gradients, gradient_norm (of each variable), global_gradient_norm.
  std::set<std::string> summaries{"loss", "learning_rate", "global_gradient_norm"};
  /// Of the noise.
  std::uint64_t seed = 1;
};

/// What optimize_loss makes: a function object that trains a model, which outlives it. Gradients
/// are noised, then multiplied, then clipped.
template <class Model, class Optimizer>
class loss_optimizer {
 public:
  using T = typename Model::element_type;

  loss_optimizer(Model& m, const Optimizer& optimizer, const optimize_loss_options& options)
      : options_(options), op_(m, optimizer, inner_options(options)) {
    if (optimizer.learning_rate < 0)
      throw std::invalid_argument("optimize_loss: the learning rate is negative");
    const std::set<std::string> known{"loss", "learning_rate", "gradients", "gradient_norm",
                                      "global_gradient_norm"};
    for (const std::string& kind : options.summaries)
      if (!known.contains(kind))
        throw std::invalid_argument(
            "optimize_loss: summaries are loss, learning_rate, gradients, "
            "gradient_norm and global_gradient_norm, not " +
            kind);
    op_.transform_gradients([this](runner<T>& r, const std::vector<int>& variables) {
      norm_ = clipped_norm_ = 0;
      const std::int64_t step = op_.model().global_step();
      if (options_.gradient_noise_scale > 0)
        add_gradient_noise(r, variables, options_.gradient_noise_scale, options_.seed, step);
      op_.multiply(r);
      norm_ = clipped_norm_ = global_gradient_norm(r, variables);
      clip(r, variables, step);
    });
  }
  loss_optimizer(const loss_optimizer&) = delete;  // its train op calls it
  loss_optimizer& operator=(const loss_optimizer&) = delete;

  /// A step on this batch; returns the total loss before it.
  template <class... Input>
  T operator()(const Input&... inputs) {
    return loss_ = op_(inputs...);
  }
  Model& model() { return op_.model(); }
  const Optimizer& optimizer() const { return op_.optimizer(); }
  double learning_rate() const { return op_.learning_rate(); }
  const std::vector<int>& variables() const { return op_.variables(); }
  /// As train_op's.
  void maintain(exponential_moving_average<Model>& averages) { op_.maintain(averages); }
  std::vector<named_tensor<T>> more_tensors() { return op_.more_tensors(); }
  /// Of the last step, before and after clipping: the summaries global_norm/gradient_norm and
  /// global_norm/clipped_gradient_norm.
  double gradient_norm() const { return norm_; }
  double clipped_gradient_norm() const { return clipped_norm_; }
  /// Writes the summaries that the options ask for to an event_writer; train does so. As in
  /// TF-Slim the rate's tag is learning_rate_1: its variable has taken the name.
  template <class Log>
  void summarize(Log& log, std::int64_t step) {
    const auto asked = [&](const char* kind) { return options_.summaries.contains(kind); };
    const std::string scope = "OptimizeLoss/";
    if (asked("learning_rate") && options_.learning_rate_decay_fn)
      log.add_scalar(scope + "learning_rate_1", learning_rate(), step);
    if (asked("loss")) log.add_scalar(scope + "loss", double(loss_), step);
    if (asked("global_gradient_norm") || asked("gradient_norm")) {
      log.add_scalar(scope + "global_norm/gradient_norm", norm_, step);
      if (options_.clip_fn || options_.clip_gradients > 0)
        log.add_scalar(scope + "global_norm/clipped_gradient_norm", clipped_norm_, step);
    }
    const auto tag = [&](const char* kind) {
      return [=, on = asked(kind)](const std::string& variable) {
        return on ? scope + kind + "/" + variable + "_0" : std::string();
      };
    };
    detail::summarize_gradients(log, model(), variables(), step, tag("gradients"),
                                tag("gradient_norm"));
  }

 private:
  static train_op_options inner_options(const optimize_loss_options& o) {
    train_op_options inner;
    for (const auto& [name, factor] : o.gradient_multipliers) {
      if (!name.ends_with(":0"))
        throw std::invalid_argument("gradient_multipliers: " + name + " does not end in :0");
      inner.gradient_multipliers[name.substr(0, name.size() - 2)] = factor;
    }
    inner.variables_to_train = o.variables;
    inner.count_steps = o.increment_global_step;
    inner.check_numerics = false;
    inner.learning_rate_decay = o.learning_rate_decay_fn;
    return inner;
  }
  void clip(runner<T>& r, const std::vector<int>& variables, std::int64_t step) {
    if (options_.clip_fn) {
      const double factor = options_.clip_fn(norm_, step);
      for (const int v : variables) scale_gradient(r, v, static_cast<T>(factor));
      clipped_norm_ = norm_ * factor;
    } else if (options_.clip_gradients > 0) {
      clip_by_global_norm(r, variables, options_.clip_gradients);
      clipped_norm_ = std::min(norm_, options_.clip_gradients);
    }
  }

  optimize_loss_options options_;
  train_op<Model, Optimizer> op_;
  T loss_ = 0;
  double norm_ = 0, clipped_norm_ = 0;
};

/// TF-Slim's optimize_loss on a model. Throws std::invalid_argument at names that are no trainable
/// variable's and a negative learning rate.
template <class Model, class Optimizer>
loss_optimizer<Model, Optimizer> optimize_loss(Model& m, const Optimizer& optimizer,
                                               const optimize_loss_options& options = {}) {
  return {m, optimizer, options};
}
/// The same with one of TF-Slim's optimizers by name: Adagrad, Adam, Ftrl, Momentum (0.9), RMSProp
/// or SGD.
template <text Optimizer, class Model>
auto optimize_loss(Model& m, double learning_rate, const optimize_loss_options& options = {}) {
  const auto optimizer = detail::named_optimizer<Optimizer>(learning_rate);
  return loss_optimizer<Model, std::remove_const_t<decltype(optimizer)>>(m, optimizer, options);
}

}  // namespace slim::learning
