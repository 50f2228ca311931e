// Optimizers against TensorFlow's own (tests/oracle/README.md: optimizers.bin), and what they leave
// alone.

#include <catch2/catch.hpp>

#include "small_net.hpp"

namespace {

using namespace slim;
using namespace slim_test;

/// A variable of 40 elements, and what it takes to train.
struct one_layer
    : net<"net", fully_connected<8, biases_initializer{none}, activation_fn{none}, scope{"fc"}>> {};
template <class T>
using one_variable = model<one_layer, input<1, 5>, labels<1>, sparse_softmax_cross_entropy<>,
                           scalar<T>, backend::eigen>;

template <class Model>
void step(Model& m, const record& r) {
  const std::string& id = r.text("id");
  const double rate = r.number("learning_rate");
  if (id == "gradient_descent") return m.update(gradient_descent{rate});
  if (id == "momentum") return m.update(momentum{rate, r.number("momentum")});
  if (id == "nesterov") return m.update(momentum{rate, r.number("momentum"), true});
  if (id == "adam") return m.update(adam{rate});
  if (id == "rmsprop") return m.update(rmsprop{rate});
  if (id == "rmsprop_momentum")
    return m.update(rmsprop{rate, r.number("decay"), r.number("momentum")});
  if (id == "adagrad") return m.update(adagrad{rate});
  if (id == "adadelta") return m.update(adadelta{rate});
  if (id == "ftrl") return m.update(ftrl{rate});
  if (id == "rmsprop_centered")
    return m.update(rmsprop{.learning_rate = rate,
                            .decay = r.number("decay"),
                            .momentum = r.number("momentum"),
                            .centered = true});
  const double l1 = r.number("l1_regularization_strength");
  const double l2 = r.number("l2_regularization_strength");
  if (id == "proximal_gradient_descent")
    return m.update(proximal_gradient_descent{rate, l1, l2});
  if (id == "proximal_adagrad")
    return m.update(proximal_adagrad{rate, r.number("initial_accumulator_value"), l1, l2});
  if (id == "ftrl_all")
    return m.update(ftrl{rate, r.number("initial_accumulator_value"), l1, l2,
                         r.number("learning_rate_power"),
                         r.number("l2_shrinkage_regularization_strength"), r.number("beta")});
  REQUIRE(id == "ftrl_l1_l2");
  m.update(ftrl{.learning_rate = rate,
                .l1_regularization_strength = l1,
                .l2_regularization_strength = l2});
}

/// The largest difference of a run from the record's, relative to the largest element.
template <class T>
double difference(const record& r) {
  cpu_device device(2);
  one_variable<T> m(device);
  const std::string id = r.text("id");
  const auto start = uniform(id + "/w", 40);
  std::copy(start.begin(), start.end(), m.variable(0).begin());
  const auto& want = r.at("w").values;
  double worst = 0;
  for (int k = 0; k < r.integer("steps"); ++k) {
    const auto g = uniform(id + "/g" + std::to_string(k), 40);
    for (int i = 0; i < 40; ++i)
      m.gradient(0)[i] = i % 7 == 0 ? T(0) : static_cast<T>(g[std::size_t(i)]);
    step(m, r);
    for (std::size_t i = 0; i < 40; ++i)
      worst =
          std::max(worst, std::abs(double(m.variable(0)[long(i)]) - want[std::size_t(k) * 40 + i]));
  }
  return worst;
}

}  // namespace

TEST_CASE("optimizers take TensorFlow's steps") {
  int count = 0;
  for (const record& r : read(data_path("optimizers.bin"))) {
    INFO(r.title() << " " << r.text("dtype"));
    if (r.text("dtype") == "float64")
      CHECK(difference<double>(r) < 1e-13);
    else
      CHECK(difference<float>(r) < 1e-6);
    ++count;
  }
  CHECK(count == 25);
}

namespace {

struct half_frozen
    : net<"half", fully_connected<8, trainable{false}, scope{"a"}>, fully_connected<8, scope{"b"}>,
          fully_connected<8, trainable{false}, scope{"c"}>, fully_connected<8, scope{"d"}>> {};
using half_frozen_trainer =
    model<half_frozen, input<2, 5>, labels<2>, sparse_softmax_cross_entropy<>>;

template <class Optimizer>
void check_frozen(const Optimizer& optimizer) {
  cpu_device device(2);
  half_frozen_trainer m(device);
  m.initialize(3);
  std::vector<std::vector<float>> before;
  for (int v = 0; v < half_frozen_trainer::variable_count; ++v)
    before.push_back(copied(m.variable(v)));
  for (int i = 0; i < 2; ++i) {
    m.backward(uniform("optimizers/x", 10), std::vector<int>{1, 5});
    m.update(optimizer);
  }
  for (int v = 0; v < half_frozen_trainer::variable_count; ++v) {
    const std::string name = m.variable_name(v);
    const bool frozen = name.starts_with("half/a") || name.starts_with("half/c");
    INFO(name);
    CHECK(same_bits(copied(m.variable(v)), before[std::size_t(v)]) == frozen);
  }
}

}  // namespace

TEST_CASE("no optimizer moves a variable that is not trained") {
  check_frozen(gradient_descent{});
  check_frozen(momentum{});
  check_frozen(adam{});
  check_frozen(rmsprop{});
  check_frozen(adagrad{});
  check_frozen(adadelta{});
  check_frozen(ftrl{});  // would set them to zero
}

TEST_CASE("another optimizer starts with slots of its own") {
  cpu_device device(2);
  one_variable<float> m(device), fresh(device);
  const auto set = [](one_variable<float>& some) {
    for (int i = 0; i < 40; ++i) some.variable(0)[i] = some.gradient(0)[i] = float(i) / 8 - 2;
  };
  set(m);
  m.update(momentum{});
  m.update(adagrad{});
  set(m), set(fresh);
  m.update(momentum{}), fresh.update(momentum{});
  CHECK(same_bits(copied(m.variable(0)), copied(fresh.variable(0))));
}
