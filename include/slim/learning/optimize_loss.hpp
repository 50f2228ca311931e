// TF-Slim's optimize_loss: another train op, which clips all gradients together.
#pragma once

#include "train_op.hpp"

namespace slim::learning {

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
    return op_(inputs...);
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
  double norm_ = 0, clipped_norm_ = 0;
};

/// TF-Slim's optimize_loss on a model. Throws std::invalid_argument at names that are no trainable
/// variable's and a negative learning rate.
template <class Model, class Optimizer>
loss_optimizer<Model, Optimizer> optimize_loss(Model& m, const Optimizer& optimizer,
                                               const optimize_loss_options& options = {}) {
  return {m, optimizer, options};
}

}  // namespace slim::learning
