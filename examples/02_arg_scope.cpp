// arg_scope, stack, and parts of one's own: an activation and an initializer written here are used
// like the library's. Trains a small classifier on two spirals until it separates them.
#include <cmath>
#include <iostream>

#include <slim/slim.hpp>

using namespace slim;

/// sin(x): its derivative needs x, so it declares gradient_from_input.
struct sine_fn {
  static constexpr std::string_view name = "sine";
  static constexpr bool gradient_from_input = true;
  template <std::floating_point T>
  T operator()(T x) const {
    return std::sin(x);
  }
  template <std::floating_point T>
  T gradient(T x) const {
    return std::cos(x);
  }
};
inline constexpr sine_fn sine{};

/// Uniform in +- sqrt(limit / fan_in) (Sitzmann et al., NeurIPS 2020, for sine activations).
struct sine_initializer {
  static constexpr std::string_view name = "sine_initializer";
  double limit = 6;
  double operator()(random_stream& r, const fan& f) const {
    return std::sqrt(limit / f.in) * (2 * r.uniform() - 1);
  }
};

// Two hidden layers that share their arguments; the last one overrides the activation.
struct spirals : net<"spirals",
  arg_scope<on<ops::fully_connected>,
            with<activation_fn{sine}, weights_initializer{sine_initializer{24.0}},
                 weights_regularizer{l2_regularizer{1e-5}}>,
    stack<ops::fully_connected, "hidden", args<32>, args<32>>,
    fully_connected<2, activation_fn{none}, scope{"logits"}>>> {};

constexpr int points = 200;
using model_t = model<spirals, input<points, 2>, labels<points>, sparse_softmax_cross_entropy<>>;
static_assert(model_t::variable_shape<"spirals/hidden/hidden_2/weights">() == shape{32, 32});

int main() {
  std::vector<float> where;
  std::vector<int> arm;
  for (int i = 0; i < points; ++i) {
    const double radius = 0.1 + 0.9 * (i / 2) / (points / 2.0);
    const double angle = 7 * radius + 3.14159 * (i % 2);
    where.push_back(static_cast<float>(radius * std::cos(angle)));
    where.push_back(static_cast<float>(radius * std::sin(angle)));
    arm.push_back(i % 2);
  }

  model_t m;
  m.initialize(1);
  for (int step = 0; step <= 2000; ++step) {
    const float loss = m.backward(where, arm);
    if (step % 400 == 0) std::cout << "step " << step << ": total loss " << loss << "\n";
    m.update(gradient_descent{0.1});
  }

  int right = 0;
  const auto logits = m.forward(where);
  for (int i = 0; i < points; ++i)
    right += (logits[2 * i + 1] > logits[2 * i]) == (arm[std::size_t(i)] == 1);
  std::cout << right << " of " << points << " points on the right side\n";
  return right >= points * 98 / 100 ? 0 : 1;
}
