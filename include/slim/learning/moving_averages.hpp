// Exponential moving averages of a model's variables, as TensorFlow keeps them.
//
//   learning::exponential_moving_average average(m, 0.999);
//   op(images, labels);  average.apply();          // behind each step
//   average.swap();                                 // the model evaluates with the averages
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "../model.hpp"
#include "../restore.hpp"

namespace slim::learning {

/// Shadows of a model's trainable variables: s -= (s - w) * (1 - d). Where `by_step` is given d is
/// min(decay, (1 + step) / (10 + step)), so that early averages follow fast (TensorFlow's
/// num_updates). They begin as the variables are when this is made.
template <class Model>
class exponential_moving_average {
  using T = typename Model::element_type;

 public:
  /// The model outlives it.
  explicit exponential_moving_average(Model& m, double decay, bool by_step = false)
      : model_(m), decay_(decay), by_step_(by_step) {
    const Model& values = m;
    for (int v = 0; v < Model::variable_count; ++v)
      if (m.trainable(v))
        shadows_.push_back({v, {values.variable(v).begin(), values.variable(v).end()}});
  }

  /// Moves the averages towards the variables, once behind every step.
  void apply() {
    // TensorFlow's decay is a float32, whatever the variables are.
    const float step = static_cast<float>(model_.global_step()), decay = static_cast<float>(decay_);
    const float d = by_step_ ? std::min(decay, (1.0f + step) / (10.0f + step)) : decay;
    const T rate = static_cast<T>(1.0f - d);
    const Model& values = model_;
    for (shadow& s : shadows_) {
      const auto w = values.variable(s.variable);
      model_.device().parallel(shards(s.values), [&](int shard, int) {
        const long first = shard * size, last = std::min<long>(first + size, std::ssize(s.values));
        for (long i = first; i < last; ++i) {
          T& average = s.values[static_cast<std::size_t>(i)];
          average -= (average - w[i]) * rate;
        }
      });
    }
  }
  /// Exchanges variables and averages; a second call undoes it.
  void swap() {
    for (shadow& s : shadows_)
      std::swap_ranges(s.values.begin(), s.values.end(), model_.variable(s.variable).begin());
  }

  /// A variable's average, by the variable's name. Throws std::invalid_argument if it has none.
  std::span<const T> average(const std::string& variable) const {
    for (const shadow& s : shadows_)
      if (model_.variable_name(s.variable) == variable) return s.values;
    throw std::invalid_argument("there is no average of " + variable);
  }
  /// The averages under their names in TensorFlow's checkpoints.
  std::vector<named_tensor<T>> tensors() {
    std::vector<named_tensor<T>> all;
    for (shadow& s : shadows_) {
      auto t = model_.variable(s.variable);
      t.data = s.values.data();
      all.push_back({average_name(model_.variable_name(s.variable)), t});
    }
    return all;
  }

  static std::string average_name(const std::string& variable) {
    return variable + "/ExponentialMovingAverage";
  }

 private:
  struct shadow {
    int variable;
    std::vector<T> values;
  };
  static constexpr long size = 1 << 16;
  static int shards(const std::vector<T>& values) {
    return static_cast<int>((std::ssize(values) + size - 1) / size);
  }

  Model& model_;
  double decay_;
  bool by_step_;
  std::vector<shadow> shadows_;
};

/// What restores a model from the averages in a checkpoint: those variables that have one under the
/// name of the average, the others under their own.
template <class Model>
variable_map variables_to_restore(const Model& m) {
  std::multimap<std::string, std::string> map;
  for (int v = 0; v < Model::variable_count; ++v) {
    if ((m.collections(v) & global_variables) == 0) continue;
    const std::string name = m.variable_name(v);
    map.emplace(m.trainable(v) ? exponential_moving_average<Model>::average_name(name) : name,
                name);
  }
  return map;
}

}  // namespace slim::learning
