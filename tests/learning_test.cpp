// Steps of training as TF-Slim takes them: against the real TF-Slim's (tests/oracle/README.md:
// learning.bin), and what they do when something is wrong.

#include <catch2/catch.hpp>

#include <slim/learning/moving_averages.hpp>
#include <slim/learning/optimize_loss.hpp>
#include <slim/learning/train_op.hpp>

#include "golden.hpp"

namespace {

using namespace slim;
using namespace slim_test;
using Catch::Contains;

double decayed(const record& r, std::int64_t step) {
  using namespace learning;
  const auto n = [&](const char* name) { return r.number(name); };
  const std::string& id = r.text("id");
  const bool staircase = id.ends_with("staircase");
  if (id.starts_with("exponential"))
    return exponential_decay{n("learning_rate"), n("decay_steps"), n("decay_rate"),
                             staircase}(step);
  if (id.starts_with("natural_exp"))
    return natural_exp_decay{n("learning_rate"), n("decay_steps"), n("decay_rate"),
                             staircase}(step);
  if (id.starts_with("inverse_time"))
    return inverse_time_decay{n("learning_rate"), n("decay_steps"), n("decay_rate"),
                              staircase}(step);
  if (id.starts_with("polynomial"))
    return polynomial_decay{n("learning_rate"), n("decay_steps"), n("end_learning_rate"),
                            n("power"), id.ends_with("cycle")}(step);
  if (id == "cosine_decay")
    return cosine_decay{n("learning_rate"), n("decay_steps"), n("alpha")}(step);
  if (id.starts_with("cosine_restarts"))
    return cosine_decay_restarts{n("learning_rate"), n("first_decay_steps"), n("t_mul"), n("m_mul"),
                                 n("alpha")}(step);
  if (id == "linear_cosine")
    return linear_cosine_decay{n("learning_rate"), n("decay_steps"), n("num_periods"), n("alpha"),
                               n("beta")}(step);
  REQUIRE(id == "piecewise");
  return piecewise_constant({3, 10}, {1.0, 0.5, 0.1})(step);
}

struct two_layers
    : net<"net", fully_connected<8, weights_regularizer{l2_regularizer{0.01}}, scope{"a"}>,
          fully_connected<3, activation_fn{none}, scope{"b"}>> {};
constexpr int batch = 4;
using trainer = model<two_layers, input<batch, 5>, labels<batch>, sparse_softmax_cross_entropy<>,
                      scalar<double>, backend::eigen>;

void start(trainer& m) {
  for (int v = 0; v < trainer::variable_count; ++v) {
    const auto values = uniform("learning/" + m.variable_name(v).substr(4),
                                static_cast<std::size_t>(m.variable(v).dims.count()));
    std::copy(values.begin(), values.end(), m.variable(v).begin());
  }
}
std::vector<double> inputs(int step) {
  const auto x = uniform("learning/x" + std::to_string(step), batch * 5);
  return {x.begin(), x.end()};
}
std::vector<int> classes(int step) {
  std::vector<int> y;
  for (int i = 0; i < batch; ++i) y.push_back((step + i) % 3);
  return y;
}
learning::train_op_options options_of(const std::string& id) {
  if (id == "clip") return {.clip_gradient_norm = 0.1};
  if (id == "multipliers_and_clip")
    return {.clip_gradient_norm = 0.2,
            .gradient_multipliers = {{"net/a/weights", 10}, {"net/b/biases", 0.5}}};
  if (id == "some") return {.variables_to_train = {"net/b/weights", "net/b/biases"}};
  if (id == "decay") return {.learning_rate = learning::exponential_decay{0.1, 2, 0.5}};
  REQUIRE(id == "plain");
  return {};
}
std::vector<double> all_variables(trainer& m) {
  std::vector<double> all;
  for (int v = 0; v < trainer::variable_count; ++v)
    all.insert(all.end(), m.variable(v).begin(), m.variable(v).end());
  return all;
}

}  // namespace

TEST_CASE("learning rates decay as TensorFlow's") {
  int count = 0;
  for (const record& r : read(data_path("learning.bin"))) {
    if (r.text("kind") != "decay") continue;
    INFO(r.title());
    const auto& want = r.at("rates").values;
    for (std::size_t k = 0; k < want.size(); ++k) {
      INFO("step " << r.at("steps").values[k]);
      CHECK(decayed(r, static_cast<std::int64_t>(r.at("steps").values[k])) ==
            Approx(want[k]).epsilon(1e-6).margin(1e-8));
    }
    ++count;
  }
  CHECK(count == 13);
}

namespace {

learning::optimize_loss_options optimized_options_of(const std::string& id) {
  if (id == "clip") return {.clip_gradients = 0.3};
  if (id == "multipliers_and_clip")
    return {.gradient_multipliers = {{"net/a/weights:0", 10}, {"net/b/biases:0", 0.5}},
            .clip_gradients = 0.3};
  if (id == "decay")
    return {.learning_rate_decay_fn = [](double rate, std::int64_t step) {
      return learning::exponential_decay{rate, 2, 0.5}(step);
    }};
  REQUIRE(id == "plain");
  return {};
}

/// Five steps of an op that make(model, id) gives, against each record of a kind.
template <class Make>
void check_steps(const char* kind, int wanted, Make make) {
  cpu_device device(2);
  int count = 0;
  for (const record& r : read(data_path("learning.bin"))) {
    if (r.text("kind") != kind) continue;
    INFO(r.title());
    trainer m(device);
    start(m);
    auto op = make(m, r.text("id"));
    const auto& want = r.at("variables").values;
    for (int k = 0; k < 5; ++k) {
      CHECK(op(inputs(k), classes(k)) ==
            Approx(r.at("losses").values[std::size_t(k)]).epsilon(2e-7));
      const auto got = all_variables(m);
      for (std::size_t i = 0; i < got.size(); ++i)
        CHECK(std::abs(got[i] - want[std::size_t(k) * got.size() + i]) < 1e-9);
    }
    CHECK(m.global_step() == r.integer("global_step"));
    ++count;
  }
  CHECK(count == wanted);
}

}  // namespace

TEST_CASE("create_train_op takes TF-Slim's steps") {
  check_steps("train_op", 5, [](trainer& m, const std::string& id) {
    return learning::create_train_op(m, momentum{0.1, 0.9}, options_of(id));
  });
}

TEST_CASE("optimize_loss takes TF-Slim's steps") {
  check_steps("optimize_loss", 4, [](trainer& m, const std::string& id) {
    return learning::optimize_loss(m, momentum{0.1, 0.9}, optimized_options_of(id));
  });
}

TEST_CASE("optimize_loss tells its norms, clips by a function, and refuses what makes no sense") {
  trainer m;
  start(m);
  auto op = learning::optimize_loss(
      m, momentum{}, {.clip_fn = [](double norm, std::int64_t) { return 0.5 / norm; }});
  op(inputs(0), classes(0));
  CHECK(op.gradient_norm() > 0.5);
  CHECK(op.clipped_gradient_norm() == Approx(0.5));
  const std::vector<int> all{0, 1, 2, 3};
  CHECK(learning::global_gradient_norm(m.shared_runner(), all) == Approx(0.5));
  CHECK_THROWS_WITH(learning::optimize_loss(m, momentum{-1}), Contains("negative"));
  CHECK_THROWS_WITH(
      learning::optimize_loss(m, momentum{}, {.gradient_multipliers = {{"net/a/weights", 1}}}),
      Contains("does not end in :0"));
}

TEST_CASE("adaptive clipping lets usual norms pass and holds back others") {
  learning::adaptive_clipping clip;
  for (int i = 0; i < 200; ++i) CHECK(clip.factor(1.0 + 0.01 * (i % 2), i) <= 1.0);
  CHECK(clip.factor(1.0, 200) == 1.0);
  CHECK(clip.factor(100.0, 201) < 0.02);
  clip.static_max_norm = 0.25;
  CHECK(clip.factor(1.0, 202) <= 0.25);
}

TEST_CASE("moving averages are TensorFlow's, and can stand in for the variables") {
  int count = 0;
  for (const record& r : read(data_path("learning.bin"))) {
    if (r.text("kind") != "average") continue;
    INFO(r.title());
    trainer m;
    m.initialize(1);
    const auto set = [&](int k) {  // the first variable's first elements
      const auto w = uniform("learning/ema" + std::to_string(k), 8);
      std::copy(w.begin(), w.end(), m.variable(0).begin());
    };
    set(0);
    learning::exponential_moving_average average(m, 0.9, r.integer("id") != 0);
    for (int k = 1; k < 6; ++k) {
      set(k);
      m.set_global_step(k);
      average.apply();
      for (std::size_t i = 0; i < 8; ++i)
        CHECK(average.average(m.variable_name(0))[i] ==
              Approx(r.at("values").values[std::size_t(k - 1) * 8 + i]).epsilon(1e-6));
    }
    const double shadow = average.average(m.variable_name(0))[3], variable = m.variable(0)[3];
    average.swap();
    CHECK(m.variable(0)[3] == shadow);
    average.swap();
    CHECK(m.variable(0)[3] == variable);
    CHECK(average.tensors().at(0).name == "net/a/weights/ExponentialMovingAverage");
    CHECK(learning::variables_to_restore(m).entries().size() == 4);
    CHECK_THROWS_WITH(average.average("x"), Contains("no average of x"));
    ++count;
  }
  CHECK(count == 2);
}

TEST_CASE("a train op refuses names that are no trained variable's") {
  trainer m;
  const auto made = [&](const learning::train_op_options& o) {
    return learning::create_train_op(m, momentum{}, o);
  };
  CHECK_THROWS_WITH(made({.variables_to_train = {"net/c"}}), Contains("no variable named net/c"));
  CHECK_THROWS_WITH(made({.gradient_multipliers = {{"net/a/weights:0", 1}}}),
                    Contains("gradient_multipliers: there is no variable named net/a/weights:0"));
  CHECK_THROWS_WITH(made({.gradient_multipliers = {{"net/a/weights", 1}},
                          .variables_to_train = {"net/b/weights"}}),
                    Contains("net/a/weights is not trained"));
}

TEST_CASE("a loss that is not finite names the step and where it comes from, and changes nothing") {
  trainer m;
  start(m);
  auto op = learning::create_train_op(m, momentum{0.1, 0.9});
  op(inputs(0), classes(0));
  SECTION("a layer") {
    auto bad = inputs(1);
    bad[3] = std::numeric_limits<double>::quiet_NaN();
    const auto before = all_variables(m);
    CHECK_THROWS_WITH(op(bad, classes(1)), Contains("at step 1") && Contains("net/a"));
    CHECK(all_variables(m) == before);
    CHECK(m.global_step() == 1);
    CHECK(std::isfinite(op(inputs(1), classes(1))));
  }
  SECTION("a variable") {
    m.variable<"net/b/biases">()[1] = std::numeric_limits<double>::infinity();
    CHECK_THROWS_WITH(op(inputs(1), classes(1)), Contains("in variable net/b/biases"));
  }
  SECTION("unless nobody checks") {
    auto blind = learning::create_train_op(m, momentum{}, {.check_numerics = false});
    m.variable<"net/b/biases">()[1] = std::numeric_limits<double>::infinity();
    CHECK_FALSE(std::isfinite(blind(inputs(1), classes(1))));
  }
}

TEST_CASE("gradients are clipped together, and noise is a function of seed, step and element") {
  trainer m;
  start(m);
  m.backward(inputs(0), classes(0));
  auto& r = m.shared_runner();
  const std::vector<int> all{0, 1, 2, 3};
  double sum = 0;
  for (const int v : all)
    for (const double g : m.gradient(v)) sum += g * g;
  CHECK(learning::global_gradient_norm(r, all) == Approx(std::sqrt(sum)));
  const double before = m.gradient(0)[1];
  CHECK(learning::clip_by_global_norm(r, all, 1e6) == Approx(std::sqrt(sum)));
  CHECK(m.gradient(0)[1] == before);
  learning::clip_by_global_norm(r, all, 0.01);
  CHECK(learning::global_gradient_norm(r, all) == Approx(0.01));
  CHECK(m.gradient(0)[1] == Approx(before * 0.01 / std::sqrt(sum)));

  const auto noisy = [&](std::uint64_t seed, std::int64_t step) {
    for (const int v : all) std::fill(m.gradient(v).begin(), m.gradient(v).end(), 0.0);
    learning::add_gradient_noise(r, all, 0.5, seed, step);
    return std::vector<double>(m.gradient(0).begin(), m.gradient(0).end());
  };
  const auto noise = noisy(1, 2);
  CHECK(noise == noisy(1, 2));
  CHECK(noise != noisy(1, 3));
  CHECK(noise != noisy(2, 2));
  for (const double x : noise) CHECK(std::abs(x) <= 1.0);  // two deviations
  m.gradient(0)[0] = std::numeric_limits<double>::infinity();
  learning::clip_by_global_norm(r, all, 1.0);
  CHECK(std::isnan(m.gradient(1)[0]));
}
