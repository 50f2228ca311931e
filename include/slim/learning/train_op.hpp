// One step of training as TF-Slim takes it: update ops, loss, gradients, what is done to them, and
// an optimizer's update.
//
//   auto op = learning::create_train_op(m, momentum{0.01, 0.9}, {.clip_gradient_norm = 4});
//   float loss = op(images, labels);
#pragma once

#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

#include "../error.hpp"
#include "../model.hpp"
#include "gradient_summaries.hpp"
#include "gradients.hpp"
#include "learning_rate_decay.hpp"
#include "moving_averages.hpp"

namespace slim::learning {

/// A loss that is not finite; names the step, and where such a number appears first. The model is
/// as it was before the step.
struct numerics_error : error {
  using error::error;
};

struct train_op_options {
  /// Gradients are clipped to this 2-norm, each variable's by itself; 0: they are not.
  double clip_gradient_norm = 0;
  /// Factors by variable name; before clipping.
  std::map<std::string, double> gradient_multipliers{};
  /// Names of those that are updated; all trainable ones if empty.
  std::vector<std::string> variables_to_train{};
  /// In place of the optimizer's own.
  schedule learning_rate{};
  /// Or a function of the optimizer's own and the step.
  std::function<double(double rate, std::int64_t step)> learning_rate_decay{};
  /// Throw numerics_error at a loss that is not finite.
  bool check_numerics = true;
  /// Whether a step counts in the model's global_step.
  bool count_steps = true;
  /// Gradients go to the event file as summarize_grads/<variable>_gradient, a histogram, and
  /// summarize_grads/<variable>_gradient_norm.
  bool summarize_gradients = false;
};

namespace detail {

template <class T>
bool all_finite(const T* first, long count) {
  T sum = 0;  // 0 times a number is NaN where that is not finite, so the sum is
  for (long i = 0; i < count; ++i) sum += first[i] * T(0);
  return sum == 0;
}

/// Runs a program step by step until one writes a number that is not finite.
template <class T>
class numerics_observer : public step_observer {
 public:
  void run(const program& p, const execution& e, int first, int last) override {
    for (int i = first; i < last; ++i) {
      const step_row& step = p.steps[i];
      const kernel_call call(p, step, e);
      if (e.on == nullptr)
        step.run(call);
      else
        e.on->run_step(p, e, i);
      for (int k = 0; k < call.outputs() && found_.empty(); ++k)
        look_at(p, step, call.out(k), e.on);
    }
  }
  /// Where the first was; empty if there was none.
  const std::string& found() const { return found_; }

 private:
  void look_at(const program& p, const step_row& step, const tensor& out, accelerator* on) {
    if (out.type == element::int32 || out.type == element::byte || out.data == nullptr) return;
    if (on == nullptr ? all_finite(out.as<const T>(), out.dims.count())
                      : all_finite(slim::detail::downloaded<T>(*on, out).data(), out.dims.count()))
      return;
    message path;
    write_scope_path(p.scopes, step.scope, path);
    found_ = std::string(step.op) + (path.view().empty() ? "" : " of ") + std::string(path.view());
  }
  std::string found_;
};

}  // namespace detail

/// What create_train_op makes: a function object that trains a model, which outlives it.
template <class Model, class Optimizer>
class train_op {
 public:
  using model_type = Model;
  using T = typename Model::element_type;

  train_op(Model& m, const Optimizer& optimizer, const train_op_options& options)
      : model_(m), optimizer_(optimizer), options_(options) {
    for (int v = 0; v < Model::variable_count; ++v)
      if (m.trainable(v)) variables_.push_back(v);
    if (!options.variables_to_train.empty()) variables_ = numbers_of(options.variables_to_train);
    ranges_ = m.shared_runner().ranges_of(variables_);
    for (const auto& [name, factor] : options.gradient_multipliers) {
      const int v = number_of(name, "gradient_multipliers");
      if (std::find(variables_.begin(), variables_.end(), v) == variables_.end())
        throw std::invalid_argument("gradient_multipliers: " + name + " is not trained");
      multipliers_.emplace_back(v, static_cast<T>(factor));
    }
  }

  /// A step on this batch; returns the total loss before it. Throws numerics_error, and as
  /// model::backward does.
  template <class... Input>
  T operator()(const Input&... inputs) {
    const T loss = model_.backward(inputs...);
    if (options_.check_numerics && !std::isfinite(loss)) refuse(inputs...);
    runner<T>& r = model_.shared_runner();
    if (transform_) {
      transform_(r, variables_);
    } else {
      multiply(r);
      if (options_.clip_gradient_norm > 0)
        clip_gradient_norms(r, variables_, options_.clip_gradient_norm);
    }
    Optimizer now = optimizer_;
    now.learning_rate = learning_rate();
    const std::int64_t step = model_.global_step();
    model_.update(now, ranges_);
    if (!options_.count_steps) model_.set_global_step(step);
    if (averages_ != nullptr) averages_->apply();
    return loss;
  }

  /// What is done to the gradients of the trained variables, in place of multipliers and clipping.
  void transform_gradients(std::function<void(runner<T>&, const std::vector<int>&)> f) {
    transform_ = std::move(f);
  }
  /// Moves these averages of the model's variables behind each step; checkpoints of train hold
  /// them. They outlive this.
  void maintain(exponential_moving_average<Model>& averages) { averages_ = &averages; }
  /// What checkpoints hold besides the model's tensors.
  std::vector<named_tensor<T>> more_tensors() {
    return averages_ == nullptr ? std::vector<named_tensor<T>>{} : averages_->tensors();
  }
  /// Multiplies gradients by their factors.
  void multiply(runner<T>& r) const {
    for (const auto& [v, factor] : multipliers_) scale_gradient(r, v, factor);
  }

  /// Writes the summaries that the options ask for to an event_writer; train does so.
  template <class Log>
  void summarize(Log& log, std::int64_t step) {
    if (!options_.summarize_gradients) return;
    const auto tag = [](const std::string& n) { return "summarize_grads/" + n + "_gradient"; };
    detail::summarize_gradients(log, model_, variables_, step, tag,
                                [=](const std::string& n) { return tag(n) + "_norm"; });
  }

  Model& model() { return model_; }
  const Optimizer& optimizer() const { return optimizer_; }
  /// Of the next step.
  double learning_rate() const {
    const std::int64_t step = model_.global_step();
    if (options_.learning_rate) return options_.learning_rate(step);
    if (options_.learning_rate_decay)
      return options_.learning_rate_decay(optimizer_.learning_rate, step);
    return optimizer_.learning_rate;
  }
  /// The numbers of the variables that are trained.
  const std::vector<int>& variables() const { return variables_; }

 private:
  int number_of(const std::string& name, const char* what) const {
    for (int v = 0; v < Model::variable_count; ++v)
      if (model_.variable_name(v) == name) return v;
    throw std::invalid_argument(std::string(what) + ": there is no variable named " + name);
  }
  std::vector<int> numbers_of(const std::vector<std::string>& names) const {
    std::vector<int> numbers;
    for (const std::string& name : names) {
      const int v = number_of(name, "variables_to_train");
      if (!model_.trainable(v))
        throw std::invalid_argument("variables_to_train: " + name + " is not trainable");
      numbers.push_back(v);
    }
    std::sort(numbers.begin(), numbers.end());
    return numbers;
  }

  template <class... Input>
  [[noreturn]] void refuse(const Input&... inputs) {
    const std::string at = "at step " + std::to_string(model_.global_step()) +
                           " the loss is not finite; the first number that is not is in ";
    const Model& m = model_;
    for (int v = 0; v < Model::variable_count; ++v) {
      const tensor_view<const T> values = m.variable(v);
      if (!detail::all_finite(values.data, values.dims.count()))
        throw numerics_error(at + "variable " + m.variable_name(v));
    }
    detail::numerics_observer<T> look;
    model_.shared_runner().set_observer(&look);
    model_.backward(inputs...);
    model_.shared_runner().set_observer(nullptr);
    throw numerics_error(at + (look.found().empty() ? "its inputs" : look.found()));
  }

  Model& model_;
  Optimizer optimizer_;
  train_op_options options_;
  std::vector<int> variables_;
  std::vector<element_range> ranges_;
  std::vector<std::pair<int, T>> multipliers_;
  std::function<void(runner<T>&, const std::vector<int>&)> transform_;
  exponential_moving_average<Model>* averages_ = nullptr;
};

/// TF-Slim's create_train_op. Throws std::invalid_argument if a name is no trainable variable's.
template <class Model, class Optimizer>
train_op<Model, Optimizer> create_train_op(Model& m, const Optimizer& optimizer,
                                           const train_op_options& options = {}) {
  return {m, optimizer, options};
}

}  // namespace slim::learning
