// Learning rates as functions of the global step, by TensorFlow's formulas and in its float32.
//
//   auto op = learning::create_train_op(m, momentum{}, {.learning_rate =
//       learning::exponential_decay{.learning_rate = 0.1, .decay_steps = 1000, .decay_rate =
//       0.96}});
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numbers>
#include <stdexcept>
#include <vector>

namespace slim::learning {

/// A learning rate at a step. The structures below are such; so is any function of the caller's.
using schedule = std::function<double(std::int64_t step)>;

/// learning_rate * decay_rate^(step / decay_steps); the exponent in whole numbers with `staircase`.
struct exponential_decay {
  double learning_rate, decay_steps, decay_rate;
  bool staircase = false;

  double operator()(std::int64_t step) const {
    const float p = periods(step, decay_steps, staircase);
    return float(learning_rate) * std::pow(float(decay_rate), p);
  }
  static float periods(std::int64_t step, double decay_steps, bool staircase) {
    const float p = float(step) / float(decay_steps);
    return staircase ? std::floor(p) : p;
  }
};

/// learning_rate * exp(-decay_rate * step / decay_steps).
struct natural_exp_decay {
  double learning_rate, decay_steps, decay_rate;
  bool staircase = false;

  double operator()(std::int64_t step) const {
    const float p = exponential_decay::periods(step, decay_steps, staircase);
    return float(learning_rate) * std::exp(-float(decay_rate) * p);
  }
};

/// learning_rate / (1 + decay_rate * step / decay_steps).
struct inverse_time_decay {
  double learning_rate, decay_steps, decay_rate;
  bool staircase = false;

  double operator()(std::int64_t step) const {
    const float p = exponential_decay::periods(step, decay_steps, staircase);
    return float(learning_rate) / (1.0f + float(decay_rate) * p);
  }
};

/// values[0] up to and including step boundaries[0], values[1] up to boundaries[1], and so on.
class piecewise_constant {
 public:
  /// Throws std::invalid_argument unless there is one value more than boundaries, which grow.
  piecewise_constant(std::vector<std::int64_t> boundaries, std::vector<double> values)
      : boundaries_(std::move(boundaries)), values_(std::move(values)) {
    if (values_.size() != boundaries_.size() + 1)
      throw std::invalid_argument("piecewise_constant: " + std::to_string(boundaries_.size()) +
                                  " boundaries need one value more, not " +
                                  std::to_string(values_.size()));
    if (!std::is_sorted(boundaries_.begin(), boundaries_.end()))
      throw std::invalid_argument("piecewise_constant: the boundaries must grow");
  }
  double operator()(std::int64_t step) const {
    const auto passed = std::lower_bound(boundaries_.begin(), boundaries_.end(), step);
    return float(values_[static_cast<std::size_t>(passed - boundaries_.begin())]);
  }

 private:
  std::vector<std::int64_t> boundaries_;
  std::vector<double> values_;
};

/// From learning_rate to end_learning_rate along (1 - step / decay_steps)^power; with `cycle` the
/// decay is made longer by whole multiples as the steps pass it.
struct polynomial_decay {
  double learning_rate, decay_steps;
  double end_learning_rate = 1e-4, power = 1;
  bool cycle = false;

  double operator()(std::int64_t step) const {
    float t = float(step), d = float(decay_steps);
    if (cycle)
      d *= t == 0 ? 1.0f : std::ceil(t / d);
    else
      t = std::min(t, d);
    const float range = float(learning_rate) - float(end_learning_rate);
    return range * std::pow(1.0f - t / d, float(power)) + float(end_learning_rate);
  }
};

/// learning_rate * ((1 - alpha) * (1 + cos(pi * step / decay_steps)) / 2 + alpha) (Loshchilov and
/// Hutter, ICLR 2017, without restarts).
struct cosine_decay {
  double learning_rate, decay_steps;
  double alpha = 0;

  double operator()(std::int64_t step) const {
    const float done = std::min(float(step), float(decay_steps)) / float(decay_steps);
    return float(learning_rate) * scaled(cosine(done), alpha);
  }
  static float cosine(float done) {
    return 0.5f * (1.0f + std::cos(std::numbers::pi_v<float> * done));
  }
  static float scaled(float c, double alpha) { return (1.0f - float(alpha)) * c + float(alpha); }
};

/// The same with restarts: each period is t_mul times as long as the one before, and begins at
/// m_mul times its rate.
struct cosine_decay_restarts {
  double learning_rate, first_decay_steps;
  double t_mul = 2, m_mul = 1, alpha = 0;

  double operator()(std::int64_t step) const {
    float done = float(step) / float(first_decay_steps), restarts;
    if (t_mul == 1) {
      restarts = std::floor(done);
      done -= restarts;
    } else {
      const float t = float(t_mul);
      restarts = std::floor(std::log(1.0f - done * (1.0f - t)) / std::log(t));
      const float begun = (1.0f - std::pow(t, restarts)) / (1.0f - t);
      done = (done - begun) / std::pow(t, restarts);
    }
    const float c = std::pow(float(m_mul), restarts) * cosine_decay::cosine(done);
    return float(learning_rate) * cosine_decay::scaled(c, alpha);
  }
};

/// learning_rate * ((alpha + 1 - f) * (1 + cos(2 pi num_periods f)) / 2 + beta), f = step /
/// decay_steps (Bello et al., ICML 2017).
struct linear_cosine_decay {
  double learning_rate, decay_steps;
  double num_periods = 0.5, alpha = 0, beta = 0.001;

  double operator()(std::int64_t step) const {
    const float d = float(decay_steps), t = std::min(float(step), d);
    const float linear = (d - t) / d;
    const float cosine = cosine_decay::cosine(2.0f * float(num_periods) * (t / d));
    return float(learning_rate) * ((float(alpha) + linear) * cosine + float(beta));
  }
};

}  // namespace slim::learning
