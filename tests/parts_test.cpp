// What a model's parts do: initializers, dropout, losses, updates, and the report of it all.
#include <catch2/catch.hpp>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "small_net.hpp"

using namespace slim_test;

// ---- Initial values ---------------------------------------------------------------------------

namespace {

constexpr shape many_weights{3, 3, 64, 128};
constexpr double fan_in = 9 * 64, fan_out = 9 * 128, fan_mean = (fan_in + fan_out) / 2;
/// The standard deviation of a normal cut at two of its own.
const double cut_deviation = 0.8796256610342398;

/// One variable of the type's initializer.
template <class Initializer>
struct initialised : slim_test::dynamic_model<float, backend::eigen> {
  explicit initialised(cpu_device& device, std::uint64_t seed = 1, const char* name = "weights")
      : dynamic_model({1, 2}, false, device, [&](auto& b, int x) {
          b.enter("layer");
          b.add_variable(name, many_weights, &variable_hooks_of<float, Initializer>, true);
          b.scope = -1;
          return b.template add<op::activation<constant<relu>>>({x});
        }) {
    run().initialize(seed);
  }
  std::vector<float> values() { return copied(run().variable(0)); }
};
template <auto Initializer>
std::vector<float> drawn(std::uint64_t seed = 1, int threads = 2, const char* name = "weights") {
  cpu_device device(threads);
  return initialised<constant<Initializer>>(device, seed, name).values();
}

struct moments {
  double mean = 0, deviation = 0, lowest = HUGE_VAL, highest = -HUGE_VAL;

  explicit moments(const std::vector<float>& v) {
    for (float x : v) {
      mean += double(x) / double(v.size());
      lowest = std::min(lowest, double(x)), highest = std::max(highest, double(x));
    }
    for (float x : v) deviation += std::pow(double(x) - mean, 2) / double(v.size());
    deviation = std::sqrt(deviation);
  }
};

/// Mean and deviation within five of their own deviations (for at most a normal's tails).
void check_moments(const std::vector<float>& v, double mean, double deviation) {
  const moments m(v);
  const double root = std::sqrt(double(v.size()));
  CHECK(std::abs(m.mean - mean) < 5 * deviation / root);
  CHECK(std::abs(m.deviation - deviation) < 5 * deviation / (std::sqrt(2.0) * root));
}
/// Uniform: nothing beyond the limit, and something close to it on both sides.
void check_limits(const std::vector<float>& v, double mean, double limit) {
  const moments m(v);
  CHECK(m.highest <= mean + limit * 1.000001);
  CHECK(m.lowest >= mean - limit * 1.000001);
  CHECK(m.highest > mean + 0.99 * limit);
  CHECK(m.lowest < mean - 0.99 * limit);
}

}  // namespace

TEST_CASE("initializers without chance") {
  for (float x : drawn<zeros{}>()) REQUIRE(x == 0);
  for (float x : drawn<ones{}>()) REQUIRE(x == 1);
  for (float x : drawn<constant_initializer{-0.3}>()) REQUIRE(x == -0.3f);
}

TEST_CASE("xavier_initializer") {
  const auto uniform = drawn<xavier_initializer{}>();
  check_limits(uniform, 0, std::sqrt(6 / (fan_in + fan_out)));
  check_moments(uniform, 0, std::sqrt(2 / (fan_in + fan_out)));
  check_moments(drawn<xavier_initializer{false}>(), 0, std::sqrt(1.3 / fan_mean) * cut_deviation);
}

TEST_CASE("variance_scaling_initializer") {
  using init = variance_scaling_initializer;
  const auto normal = [](double factor, double n) {
    return std::sqrt(1.3 * factor / n) * cut_deviation;
  };
  check_moments(drawn<init{}>(), 0, normal(2, fan_in));
  check_moments(drawn<init{1.0, fan_mode::fan_out}>(), 0, normal(1, fan_out));
  check_moments(drawn<init{1.0, fan_mode::fan_avg}>(), 0, normal(1, fan_mean));
  check_limits(drawn<init{1.0}>(), 0, 2 * std::sqrt(1.3 / fan_in));
  // 1.3 restores the variance that the cut takes away, nearly.
  CHECK(std::abs(normal(1, fan_in) / std::sqrt(1 / fan_in) - 1) < 0.01);
  check_limits(drawn<init{3.0, fan_mode::fan_out, true}>(), 0, std::sqrt(9 / fan_out));
  check_moments(drawn<init{3.0, fan_mode::fan_in, true}>(), 0, std::sqrt(3 / fan_in));
}

TEST_CASE("normal initializers") {
  const auto cut = drawn<truncated_normal{0.5, 0.1}>();
  check_limits(cut, 0.5, 0.2);
  check_moments(cut, 0.5, 0.1 * cut_deviation);
  const auto whole = drawn<random_normal{-1.0, 3.0}>();
  check_moments(whole, -1, 3);
  double beyond = 0;
  for (float x : whole) beyond += std::abs(double(x) + 1) > 6;
  CHECK(beyond / double(whole.size()) == Approx(0.0455).margin(0.004));
}

TEST_CASE("initial values follow from seed and name alone") {
  constexpr xavier_initializer init;
  const auto one = drawn<init>(4, 1);
  CHECK(same_bits(drawn<init>(4, 2), one));
  CHECK(same_bits(drawn<init>(4, 5), one));
  CHECK_FALSE(same_bits(drawn<init>(5, 1), one));
  CHECK_FALSE(same_bits(drawn<init>(4, 1, "others"), one));
}

// ---- Dropout ----------------------------------------------------------------------------------

namespace {

constexpr shape dropped_shape{100, 1000};

/// x of ones through two dropouts that keep 0.7 and 0.5; y1 is fetched.
struct dropout_model : slim_test::dynamic_model<float, backend::cpu> {
  explicit dropout_model(cpu_device& device, bool training = true)
      : dynamic_model(dropped_shape, training, device, [this](auto& b, int x) {
          first = dropout<keep_prob{0.7}>::lower<no_context>(b, x);
          b.g.values[first].fetched = true;
          return dropout<>::lower<no_context>(b, first);
        }) {
    if (!training) return;
    for (float& x : variable("x").span()) x = 1;
  }
  std::vector<float> output() { return copied(run().value(program().output)); }
  std::vector<float> once() { return copied(run().value(first)); }
  std::vector<float> step(std::uint64_t seed, std::uint64_t number) {
    run().set_random(seed, number);
    run().backward({std::vector<float>(static_cast<std::size_t>(dropped_shape.count()), 1.0f)});
    return output();
  }
  int first;
};

}  // namespace

TEST_CASE("dropout keeps its share, scaled, and its gradient has the same mask") {
  cpu_device device(2);
  dropout_model m(device);
  const auto y = m.step(1, 0);
  const auto once = m.once();
  double kept = 0, kept_twice = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    REQUIRE((once[i] == 0 || once[i] == float(1 / 0.7)));
    REQUIRE((y[i] == 0 || y[i] == 2 * once[i]));
    kept += once[i] != 0, kept_twice += y[i] != 0;
  }
  const double n = double(y.size());
  CHECK(std::abs(kept / n - 0.7) < 5 * std::sqrt(0.7 * 0.3 / n));
  // The two masks are independent.
  CHECK(std::abs(kept_twice / n - 0.35) < 5 * std::sqrt(0.35 * 0.65 / n));
  CHECK(same_bits(copied(m.gradient("x")), y));
}

TEST_CASE("dropout's mask follows from seed and step") {
  cpu_device device(2), other_device(5);
  dropout_model m(device), other(other_device);
  const auto y = m.step(1, 0);
  const auto agreement = [&](const std::vector<float>& z) {
    double same = 0;
    for (std::size_t i = 0; i < y.size(); ++i) same += (y[i] != 0) == (z[i] != 0);
    return same / double(y.size());
  };
  CHECK(same_bits(other.step(1, 0), y));
  const double chance = 0.35 * 0.35 + 0.65 * 0.65;
  CHECK(agreement(m.step(1, 1)) == Approx(chance).margin(0.01));
  CHECK(agreement(m.step(2, 0)) == Approx(chance).margin(0.01));
  CHECK(same_bits(m.step(1, 0), y));
}

TEST_CASE("dropout does nothing at inference") {
  cpu_device device(2);
  dropout_model m(device, false);
  const auto x = slim_test::uniform("dropout/x", static_cast<std::size_t>(dropped_shape.count()));
  CHECK(same_bits(copied(m.run().forward({x})), x));
  CHECK(m.program().steps.size() == 0);
}

TEST_CASE("a fetched dropout can be read after forward and after backward") {
  cpu_device device(2);
  trainer<batch, fetch<"small/fc4", "small/dropout4">> m(device);
  m.initialize(1);
  const auto x = images<float>(batch);
  m.forward(x);
  const auto in = copied(m.fetched<"small/fc4">());
  CHECK(std::any_of(in.begin(), in.end(), [](float v) { return v > 0; }));
  CHECK(same_bits(copied(m.fetched<"small/dropout4">()), in));
  m.backward(x, some_labels(batch));
  const auto before = copied(m.fetched<"small/fc4">()),
             after = copied(m.fetched<"small/dropout4">());
  int kept = 0, dropped = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    REQUIRE((after[i] == 0 || after[i] == 2 * before[i]));
    if (before[i] != 0) ++(after[i] == 0 ? dropped : kept);
  }
  CHECK(kept > 0);
  CHECK(dropped > 0);
}

// ---- Losses and updates -----------------------------------------------------------------------

namespace {

/// One penalty switched off, one layer that is not trained, one without any penalty.
struct frozen_net
    : net<"net", flatten<>,
          fully_connected<8, scope{"a"}, weights_regularizer{l2_regularizer{0.0}}>,
          fully_connected<8, scope{"b"}, weights_regularizer{l2_regularizer{0.1}},
                          trainable{false}>,
          fully_connected<classes, scope{"c"}, weights_regularizer{l1_regularizer{0.01}}>> {};
using frozen_trainer =
    model<frozen_net, input<batch, 16, 16, 3>, labels<batch>, sparse_softmax_cross_entropy<>,
          sparse_softmax_cross_entropy<loss_weight{0.5}>>;

}  // namespace

TEST_CASE("the total loss is the sum of losses and penalties") {
  cpu_device device(2);
  frozen_trainer m(device);
  m.initialize(1);
  const float returned = m.backward(images<float>(batch), some_labels(batch));
  REQUIRE(get_losses(m).size() == 2);
  REQUIRE(get_regularization_losses(m).size() == 2);  // a scale of 0 adds none
  CHECK(get_losses(m)[1] == Approx(get_losses(m)[0] / 2));
  double b = 0, c = 0, sum = 0;
  for (float w : m.variable<"net/b/weights">()) b += 0.1 * double(w) * double(w) / 2;
  for (float w : m.variable<"net/c/weights">()) c += 0.01 * std::abs(double(w));
  CHECK(get_regularization_losses(m)[0] == Approx(b));
  CHECK(get_regularization_losses(m)[1] == Approx(c));
  for (float loss : get_losses(m)) sum += double(loss);
  for (float loss : get_regularization_losses(m)) sum += double(loss);
  CHECK(get_total_loss(m) == Approx(sum).epsilon(1e-6));
  CHECK(returned == get_total_loss(m));
}

TEST_CASE("gradient descent moves trained variables by rate times gradient") {
  cpu_device device(2);
  frozen_trainer m(device);
  m.initialize(1);
  m.backward(images<float>(batch), some_labels(batch));
  const auto w = variables_of(m), g = gradients_of(m);
  const auto frozen = copied(m.variable<"net/b/weights">());
  constexpr double rate = 0.37;
  m.update(gradient_descent{rate});
  const auto moved = variables_of(m);
  int changed = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    // A compiler may or may not round the product.
    const volatile float product = float(rate) * g[i];
    REQUIRE((moved[i] == w[i] - product || moved[i] == std::fma(-float(rate), g[i], w[i])));
    changed += moved[i] != w[i];
  }
  CHECK(changed > 1000);
  CHECK(same_bits(copied(m.variable<"net/b/weights">()), frozen));
  for (float slope : m.gradient<"net/b/weights">()) REQUIRE(slope == 0);
}

// ---- End points -------------------------------------------------------------------------------

namespace {

struct collected
    : arg_scope<on<ops::fully_connected>, with<outputs_collections{"end_points"}>,
                net<"net", fully_connected<4, scope{"a"}>, fully_connected<4, scope{"b"}>,
                    dropout<keep_prob{0.5}, scope{"c"}>, fully_connected<3, scope{"d"}>>> {};

}  // namespace

TEST_CASE("a model lists the end points it keeps, with the extents of the last run") {
  model<collected, input<2, 5>, fetch_all> all;
  model<collected, input<2, 5>, fetch<"net/b">> one;
  all.initialize(1), one.initialize(1);
  const std::vector<float> x = uniform("end_points/x", 5);
  const auto y = all.forward(x);
  one.forward(x);
  const auto kept = all.end_points();
  REQUIRE(kept.size() == 3);
  CHECK(kept[0].name == "net/a");
  CHECK(kept[1].name == "net/b");
  CHECK(kept[2].name == "net/d");
  CHECK(kept[0].values.dims == shape{1, 4});
  CHECK(same_bits(copied(kept[2].values), copied(y)));
  REQUIRE(one.end_points().size() == 1);
  CHECK(one.end_points()[0].name == "net/b");
  CHECK(same_bits(copied(one.end_points()[0].values), copied(kept[1].values)));
}

// ---- Reports ----------------------------------------------------------------------------------

TEST_CASE("a report names layers, kernels and totals") {
  const std::string text = report(float_trainer::inference_program());
  for (const char* part : {"small/conv1", "small/conv2", "small/fc5", "+pool", "direct",
                           "dense", "[4,8,8,32]"})
    CHECK_THAT(text, Catch::Contains(part));
  long parameters = 0;
  for (const variable_row& v : float_trainer::inference_program().variables)
    parameters += v.dims.count();
  CHECK(parameters == float_trainer::parameter_count);
  CHECK_THAT(text, Catch::Contains(" 78,330 parameters"));
  CHECK(float_trainer::parameter_count == 896 + 9248 + 18496 + 49200 + 490);
}

TEST_CASE("graphviz reads what graphviz() writes") {
  const std::string text = graphviz(float_trainer::training_program());
  CHECK_THAT(text, Catch::StartsWith("digraph") && Catch::EndsWith("}\n"));
  CHECK_THAT(text, Catch::Contains("small/conv1") && Catch::Contains("style=dashed"));
  if (std::system("command -v dot > /dev/null 2>&1") != 0) {
    WARN("dot is not installed: the graph was not given to it");
    return;
  }
  std::FILE* dot = popen("dot -Tsvg > /dev/null", "w");
  REQUIRE(dot != nullptr);
  std::fputs(text.c_str(), dot);
  CHECK(pclose(dot) == 0);
}

namespace {

/// y, the gradients of x and of the biases of x + biases with [rows, c] elements.
template <class Backend>
std::vector<float> bias_answers(int rows, int c, int threads) {
  cpu_device device(threads);
  slim_test::dynamic_model<float, Backend> m(shape{rows, c}, true, device, [&](auto& b, int x) {
    const int biases =
        b.add_variable("biases", {c}, &variable_hooks_of<float, constant<zeros{}>>, true);
    return b.template add<op::bias_add>({x, biases});
  });
  const auto count = static_cast<std::size_t>(rows * c);
  std::ranges::copy(slim_test::uniform("bias/x", count), m.variable("x").begin());
  std::ranges::copy(slim_test::uniform("bias/b", std::size_t(c)), m.variable("biases").begin());
  const auto g = slim_test::uniform("bias/g", count);
  m.run().backward({std::vector<float>(g.begin(), g.end())});
  const auto y = m.run().value(m.program().output);
  std::vector<float> all(y.begin(), y.end());
  all.insert(all.end(), m.gradient("x").begin(), m.gradient("x").end());
  all.insert(all.end(), m.gradient("biases").begin(), m.gradient("biases").end());
  return all;
}

}  // namespace

TEST_CASE("biases of few channels are added, and their gradients summed, as of many") {
  for (const int c : {1, 2, 3, 5, 7, 8, 15, 16, 17, 40})
    for (const int rows : {1, 3, 31, 1000}) {
      INFO(rows << " rows of " << c);
      const auto got = bias_answers<backend::cpu>(rows, c, 2);
      const auto want = bias_answers<backend::eigen>(rows, c, 1);
      REQUIRE(got.size() == want.size());
      for (std::size_t i = 0; i < got.size(); ++i)
        CHECK(got[i] == Approx(want[i]).epsilon(1e-5).margin(1e-4));
      CHECK(got == bias_answers<backend::cpu>(rows, c, 5));
    }
}
