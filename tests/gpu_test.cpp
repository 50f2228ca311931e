// Networks on the GPU against the same networks on the CPU: outputs, losses, gradients, updates.
// Needs a GPU, or the emulation of one.
#include "gpu_test.hpp"

#include <catch2/catch.hpp>

#include <cstdio>
#include <fstream>
#include <sstream>


#include "own_functions.hpp"

using namespace gpu_tests;

namespace {

/// Runs a trainer on both devices and compares all there is.
template <class Precision, class Net, class... Part>
void compare(const limits& l, int batch, std::vector<float> images, std::vector<int> labels) {
  model<Net, Part...> cpu;
  model<Net, Part..., gpu<Precision>> there;
  cpu.initialize(3);
  disturb(cpu);
  copy_variables(cpu, there);
  cpu.set_random(5, 1), there.set_random(5, 1);

  const auto wanted = cpu.forward(images);
  for (int run = 0; run < 3; ++run) {  // as it is, recorded, replayed
    const auto got = there.forward(images);
    INFO("forward " << run);
    CHECK(distance_of(got, wanted) < l.forward);
  }
  for (int run = 0; run < 3; ++run) {
    const double wanted_loss = cpu.backward(images, labels), loss = there.backward(images, labels);
    INFO("backward " << run);
    CHECK(loss == Approx(wanted_loss).epsilon(l.forward));
    for (int v = 0; v < decltype(cpu)::variable_count; ++v) {
      if (!cpu.trainable(v)) continue;
      INFO(cpu.variable_name(v));
      CHECK(distance_of(there.gradient(v), cpu.gradient(v)) < l.gradients);
    }
  }
  const long each = static_cast<long>(images.size()) / batch;
  images.resize(static_cast<std::size_t>(each)), labels.resize(1);
  CHECK(distance_of(there.forward(images), cpu.forward(images)) < l.forward);
  cpu.backward(images, labels), there.backward(images, labels);
  cpu.update(momentum{0.01, 0.9}), there.update(momentum{0.01, 0.9});
  for (int v = 0; v < decltype(cpu)::variable_count; ++v) {
    INFO(cpu.variable_name(v));
    CHECK(distance_of(std::as_const(there).variable(v), std::as_const(cpu).variable(v)) <
          l.forward * 2);
  }
}

// Layers of every kind, small enough to be compared one by one.

struct plain_net
    : arg_scope<
          on<ops::conv2d, ops::fully_connected>, with<weights_regularizer{l2_regularizer{0.01}}>,
          net<"plain", conv2d<16, kernel_size{3}, scope{"conv1"}>,
              max_pool2d<kernel_size{2}, scope{"pool1"}>,
              conv2d<24, kernel_size{3}, activation_fn{none}, scope{"conv2"}>,
              conv2d<8, kernel_size{5, 3}, stride{2}, activation_fn{slim::tanh}, scope{"conv3"}>,
              avg_pool2d<kernel_size{3}, stride{1}, scope{"pool3"}>, flatten<>,
              fully_connected<32, activation_fn{sigmoid}, scope{"fc4"}>, dropout<keep_prob{0.7}>,
              fully_connected<10, activation_fn{none}, scope{"logits"}>>> {};

constexpr auto norm = normalizer_fn{ops::batch_norm{}};

struct normal_net
    : arg_scope<
          on<ops::conv2d>, with<norm, weights_regularizer{l1_l2_regularizer{0.001, 0.01}}>,
          net<"normal", conv2d<16, kernel_size{3}, stride{2}, scope{"conv1"}>,
              max_pool2d<kernel_size{3}, stride{2}, padding::same, scope{"pool1"}>,
              sum<identity,
                  sequence<conv2d<8, kernel_size{1}, scope{"conv2"}>,
                           conv2d<16, kernel_size{3}, activation_fn{none}, scope{"conv3"}>>>,
              apply<relu>, concat<identity, conv2d<12, kernel_size{3}, rate{2}, scope{"conv4"}>>,
              batch_norm<activation_fn{elu}, scope{"post"}>, flatten<>,
              fully_connected<10, activation_fn{none}, scope{"logits"}>>> {};

struct other_net
    : net<"other", separable_conv2d<12, kernel_size{3}, depth_multiplier{2}, scope{"conv1"}>,
          local_response_normalization<depth_radius{2}, bias{1}, alpha{0.1}, beta{0.75}>,
          conv2d_transpose<8, kernel_size{3}, stride{2}, scope{"up2"}>,
          max_pool2d<kernel_size{3}, stride{2}, scope{"pool2"}>, unit_norm<dim{3}>,
          conv2d_in_plane<kernel_size{3}, scope{"plane3"}>, flatten<>,
          fully_connected<10, activation_fn{none}, scope{"logits"}>> {};

template <class Precision, class Net, class... More>
void compare_small(const limits& l) {
  compare<Precision, Net, input<6, 20, 24, 3>, labels<6>, sparse_softmax_cross_entropy<>, More...>(
      l, 6, random_numbers<float>(6 * 20 * 24 * 3, 1), random_labels(6, 10));
}

}  // namespace

TEST_CASE("convolutions, products and pools") {
  compare_small<float, plain_net>(float_limits);
  compare_small<tf32, plain_net>(tf32_limits);
  compare_small<bfloat16, plain_net>(bfloat16_limits);
}
namespace {

/// Extents and channels that nothing divides, pools of several shapes.
struct odd_net : net<"odd", conv2d<16, kernel_size{3}, scope{"conv1"}>,
                     max_pool2d<kernel_size{2}, scope{"pool1"}>,
                     max_pool2d<kernel_size{3}, stride{1}, padding::same, scope{"pool2"}>,
                     conv2d<6, kernel_size{3}, normalizer_fn{ops::batch_norm{}}, scope{"conv3"}>,
                     max_pool2d<kernel_size{2, 3}, stride{1, 2}, padding::same, scope{"pool3"}>,
                     avg_pool2d<kernel_size{2}, stride{2}, padding::same, scope{"pool4"}>,
                     flatten<>, fully_connected<10, activation_fn{none}, scope{"logits"}>> {};

}  // namespace

TEST_CASE("odd extents") {
  const auto run = [](auto precision, const limits& l) {
    compare<decltype(precision), odd_net, input<5, 21, 23, 3>, labels<5>,
            sparse_softmax_cross_entropy<>>(l, 5, random_numbers<float>(5 * 21 * 23 * 3, 1),
                                            random_labels(5, 10));
  };
  run(float(), float_limits);
  run(bfloat16(), {5e-2, 0.5});
}

TEST_CASE("batch norm, sums and concatenation") {
  compare_small<float, normal_net>(float_limits);
  compare_small<tf32, normal_net>(tf32_limits);
  compare_small<bfloat16, normal_net>(bfloat16_limits);
}

namespace {

template <int Channels, class... Shortcut>
using unit = sum<Shortcut..., sequence<conv2d<8, kernel_size{1}>,
                                       conv2d<Channels, kernel_size{3}, activation_fn{none}>>>;
template <int Channels, auto... Option>
using projection = conv2d<Channels, kernel_size{1}, activation_fn{none}, Option...>;

constexpr auto scaled = normalizer_params{with<scale{true}, epsilon{0.01}>{}};

/// Residual units, with the identity and with projections, some with gamma; channels that eight
/// divides, and that it does not; a sum that nothing is behind, and two without batch norm.
struct residual_net
    : arg_scope<on<ops::conv2d>, with<norm>,
                net<"residual", conv2d<16, kernel_size{3}, stride{2}, scope{"conv1"}>,
                    unit<16, identity>, apply<relu>, unit<16, identity>, apply<elu>,
                    unit<12, projection<12, scaled>>, apply<relu>,
                    arg_scope<on<ops::conv2d>, with<scaled>, unit<16, projection<16>>>,
                    apply<relu>, unit<16, identity>,
                    arg_scope<on<ops::conv2d>, with<normalizer_fn{none}>, unit<16, identity>,
                              apply<relu>, unit<16, identity>>,
                    flatten<>, fully_connected<10, activation_fn{none}, scope{"logits"}>>> {};

/// Steps of a training program that run `op`.
template <class... Backend>
int steps_of(std::string_view op) {
  using trained = model<residual_net, input<6, 20, 24, 3>, labels<6>,
                        sparse_softmax_cross_entropy<>, Backend...>;
  int count = 0;
  for (const step_row& s : trained::training_program().steps) count += s.op == op;
  return count;
}

}  // namespace

TEST_CASE("residual units") {
  // Few pixels: of many, some ReLU's input is as close to zero as rounding is, with either sign.
  compare<float, residual_net, input<3, 10, 8, 3>, labels<3>, sparse_softmax_cross_entropy<>>(
      float_limits, 3, random_numbers<float>(3 * 10 * 8 * 3, 1), random_labels(3, 10));
  // An update by one image has larger errors.
  compare_small<bfloat16, residual_net>({8e-2, 0.5});
  CHECK(steps_of<gpu<bfloat16>>("batch_norm_statistics") == 7);
  CHECK(steps_of<gpu<bfloat16>>("batch_norm+add") == 3);
  CHECK(steps_of<gpu<bfloat16>>("batch_norm+batch_norm+add") == 2);
  CHECK(steps_of<gpu<bfloat16>>("batch_norm+activation_backward") == 6);
  CHECK(steps_of<gpu<bfloat16>>("activation_backward+batch_norm_backward") == 4);
  CHECK(steps_of<gpu<bfloat16>>("add+activation_backward") == 1);
  // The gradient of the only loss is 1, and scales nothing.
  for (std::string_view op : {"batch_norm", "activation_backward", "one", "scale"})
    CHECK(steps_of<gpu<bfloat16>>(op) == 0);
  for (std::string_view op :
       {"batch_norm_statistics", "add+activation_backward", "batch_norm+activation_backward",
        "activation_backward+batch_norm_backward", "one", "scale"})
    CHECK(steps_of<>(op) == 0);
}
TEST_CASE("what has kernels of its own") {
  compare_small<float, other_net>(float_limits);
  // Gradients that cancel in sums have larger errors.
  compare_small<bfloat16, other_net>({5e-2, 0.5});
}

namespace {

struct regression : net<"r", fully_connected<16, scope{"fc1"}>,
                        fully_connected<6, activation_fn{sigmoid}, scope{"fc2"}>> {};

/// Losses of predictions and labels of one shape.
template <class Loss>
void compare_loss() {
  using cpu_model = model<regression, input<5, 8>, named_input<"labels", float, 5, 6>, Loss>;
  using gpu_model =
      model<regression, input<5, 8>, named_input<"labels", float, 5, 6>, Loss, gpu<float>>;
  cpu_model cpu;
  gpu_model there;
  cpu.initialize(1);
  copy_variables(cpu, there);
  const auto x = random_numbers<float>(5 * 8, 2);
  auto y = random_numbers<float>(5 * 6, 3);
  for (float& v : y) v = v > 0 ? 1.0f : 0.0f;
  CHECK(there.backward(x, y) == Approx(cpu.backward(x, y)).epsilon(1e-5));
  for (int v = 0; v < cpu_model::variable_count; ++v)
    CHECK(distance_of(there.gradient(v), cpu.gradient(v)) < 1e-4);
}

}  // namespace

namespace {

template <class... More>
using logits_model =
    model<net<"n", fully_connected<6, activation_fn{none}, scope{"fc"}>>, input<5, 6>, More...>;

/// Predictions are the inputs: the weights are the identity.
template <class Model>
void pass_through(Model& m) {
  auto w = m.template variable<"n/fc/weights">();
  for (int i = 0; i < 6; ++i)
    for (int j = 0; j < 6; ++j) w[i * 6 + j] = float(i == j);
}

}  // namespace

TEST_CASE("numbers that are large or not numbers") {
  using net_t = net<"n", fully_connected<6, activation_fn{none}, scope{"fc"}>, slim::softmax<>>;
  model<net_t, input<5, 6>, gpu<float>> soft;
  pass_through(soft);
  std::vector<float> x(30, 0.0f);
  x[0] = x[1] = 1e6f;
  CHECK(soft.forward(x)[0] == 0.5f);

  logits_model<named_input<"labels", float, 5, 6>, hinge_loss<>,
               compute_weighted_loss<losses_from{"hinge_loss"}>, gpu<float>>
      hinge;
  pass_through(hinge);
  x[7] = NAN;
  CHECK(std::isnan(hinge.backward(x, std::vector<float>(30, 1.0f))));
}

namespace {

/// A loss whose weights are an input of this shape; some are zero.
template <class Labels, class Weights, class... Loss>
void compare_weighted(const std::vector<float>& weights) {
  logits_model<Labels, Weights, Loss...> cpu;
  logits_model<Labels, Weights, Loss..., gpu<float>> there;
  cpu.initialize(1);
  copy_variables(cpu, there);
  const auto x = random_numbers<float>(30, 2);
  const auto labels = [] {
    if constexpr (std::is_same_v<Labels, slim::labels<5>>) {
      return random_labels(5, 6);
    } else {
      auto y = random_numbers<float>(30, 3);
      for (float& v : y) v = v > 0 ? 1.0f : 0.0f;
      return y;
    }
  }();
  CHECK(there.backward(x, labels, weights) ==
        Approx(cpu.backward(x, labels, weights)).epsilon(1e-5));
  CHECK(distance_of(there.gradient(0), cpu.gradient(0)) < 1e-5);
}

}  // namespace

TEST_CASE("losses with weights") {
  using targets = named_input<"labels", float, 5, 6>;
  using an_example = named_input<"w", float, 5>;
  using an_element = named_input<"w", float, 5, 6>;
  const std::vector<float> some{0.5f, 0, 2, 1, 0};
  std::vector<float> elements = random_numbers<float>(30, 5);
  elements[3] = elements[17] = 0;
  compare_weighted<labels<5>, an_example, sparse_softmax_cross_entropy<weights_from{"w"}>>(some);
  compare_weighted<targets, an_example, mean_squared_error<weights_from{"w"}>>(some);
  compare_weighted<targets, an_element, mean_squared_error<weights_from{"w"}>>(elements);
  compare_weighted<targets, an_element, sigmoid_cross_entropy<weights_from{"w"}>>(elements);
  compare_weighted<targets, an_example, hinge_loss<>,
                   compute_weighted_loss<losses_from{"hinge_loss"}, weights_from{"w"}>>(some);
}

TEST_CASE("losses") {
  compare_loss<mean_squared_error<>>();
  compare_loss<absolute_difference<>>();
  compare_loss<log_loss<>>();
  compare_loss<sigmoid_cross_entropy<label_smoothing{0.1}>>();
  compare_loss<softmax_cross_entropy<label_smoothing{0.1}>>();
  compare_loss<cosine_distance<axis{1}>>();
  compare_loss<mean_pairwise_squared_error<>>();
}

namespace {

template <class Optimizer>
void compare_updates(const Optimizer& optimizer) {
  lenet_model<> cpu;
  lenet_model<gpu<float>> there;
  cpu.initialize(2), there.initialize(2);
  for (int step = 0; step < 3; ++step) {
    cpu.set_random(9, static_cast<std::uint64_t>(step));
    there.set_random(9, static_cast<std::uint64_t>(step));
    cpu.backward(lenet_images, lenet_labels);
    cpu.update(optimizer);
    there.launch_step(optimizer, lenet_images, lenet_labels);
  }
  there.wait();
  CHECK(there.total_loss() == Approx(cpu.total_loss()).epsilon(1e-4));
  for (int v = 0; v < decltype(cpu)::variable_count; ++v) {
    INFO(cpu.variable_name(v));
    CHECK(distance_of(std::as_const(there).variable(v), std::as_const(cpu).variable(v)) < 1e-2);
  }
}

}  // namespace

TEST_CASE("steps, by each optimizer") {
  compare_updates(gradient_descent{0.01});
  compare_updates(momentum{0.01, 0.9});
  compare_updates(momentum{0.01, 0.9, true});
  compare_updates(adam{0.001});
  compare_updates(rmsprop{0.001, 0.9, 0.5});
  compare_updates(rmsprop{.learning_rate = 0.001, .momentum = 0.5, .centered = true});
  compare_updates(adagrad{0.01});
  compare_updates(adadelta{0.1});
  compare_updates(ftrl{0.01});
  compare_updates(proximal_gradient_descent{0.01, 0.001, 0.01});
  compare_updates(proximal_adagrad{0.01, 0.1, 0.001, 0.01});
}

namespace {

/// An optimizer of a user's own: it runs on the CPU, on copies.
struct sign_descent {
  double learning_rate = 0.01;
  template <class T>
  void update(runner<T>& r) const {
    const auto w = r.flat_variables(), g = r.flat_gradients();
    for (std::size_t i = 0; i < w.size(); ++i)
      w[i] -= T(learning_rate) * T((g[i] > 0) - (g[i] < 0));
  }
};

}  // namespace

TEST_CASE("optimizers in turn") {
  lenet_model<> cpu;
  lenet_model<gpu<float>> there;
  cpu.initialize(2), there.initialize(2);
  const auto step = [&](const auto& optimizer) {
    for (int i = 0; i < 3; ++i) {  // as it is, recorded, replayed
      cpu.launch_step(optimizer, lenet_images, lenet_labels);
      there.launch_step(optimizer, lenet_images, lenet_labels);
    }
  };
  step(adam{0.001}), step(momentum{0.01, 0.9}), step(adam{0.001}), step(adagrad{0.01});
  for (int v = 0; v < decltype(cpu)::variable_count; ++v) {
    INFO(cpu.variable_name(v));
    CHECK(distance_of(std::as_const(there).variable(v), std::as_const(cpu).variable(v)) < 1e-2);
  }
}

TEST_CASE("an optimizer of one's own") {
  lenet_model<> cpu;
  lenet_model<gpu<float>> there;
  cpu.initialize(2), there.initialize(2);
  cpu.backward(lenet_images, lenet_labels), cpu.update(sign_descent{});
  there.launch_step(sign_descent{}, lenet_images, lenet_labels);
  const auto w = there.variable<"LeNet/fc3/weights">();
  const auto wanted = cpu.variable<"LeNet/fc3/weights">();
  CHECK(distance_of(w, wanted) < 1e-2);
}

TEST_CASE("a replayed step sees another rate and another mask") {
  lenet_model<gpu<bfloat16>> m;
  m.initialize(2);
  std::vector<float> losses;
  for (int step = 0; step < 4; ++step) {
    m.set_random(1, static_cast<std::uint64_t>(step));
    m.launch_step(momentum{0.0, 0.9}, lenet_images, lenet_labels);
    m.wait();
    losses.push_back(m.total_loss());
  }
  CHECK(losses[2] != losses[3]);  // the variables stayed: the mask did not
  for (int step = 0; step < 2; ++step) {
    m.set_random(1, 3);
    m.launch_step(momentum{0.01, 0.9}, lenet_images, lenet_labels);
  }
  m.wait();
  CHECK(m.total_loss() < losses[3]);
}

TEST_CASE("equal bits every run") {
  std::vector<std::vector<float>> first;
  for (int run = 0; run < 2; ++run) {
    lenet_model<gpu<bfloat16>> m;
    m.keep_plans("gpu_test.plans");
    m.initialize(2);
    for (int step = 0; step < 5; ++step) {
      m.set_random(1, static_cast<std::uint64_t>(step));
      m.launch_step(adam{0.001}, lenet_images, lenet_labels);
    }
    std::vector<std::vector<float>> all;
    for (int v = 0; v < decltype(m)::variable_count; ++v) {
      const auto w = std::as_const(m).variable(v);
      all.emplace_back(w.begin(), w.end());
    }
    if (run == 0)
      first = all;
    else
      CHECK(all == first);
  }
  std::remove("gpu_test.plans");
}

TEST_CASE("bfloat16's losses follow float's") {
  lenet_model<gpu<float>> wide;
  lenet_model<gpu<bfloat16>> narrow;
  wide.initialize(6), narrow.initialize(6);
  double apart = 0, size = 0;
  for (int step = 0; step < 60; ++step) {
    wide.set_random(2, static_cast<std::uint64_t>(step));
    narrow.set_random(2, static_cast<std::uint64_t>(step));
    wide.launch_step(momentum{0.001, 0.9}, lenet_images, lenet_labels);
    narrow.launch_step(momentum{0.001, 0.9}, lenet_images, lenet_labels);
    wide.wait(), narrow.wait();
    apart += std::abs(double(wide.total_loss()) - double(narrow.total_loss()));
    size += double(wide.total_loss());
  }
  INFO(apart / size);
  CHECK(apart < 0.02 * size);
}

namespace {

/// Batches without an end of patterns in noise. Every tenth label is drawn, so that the loss of the
/// best answer is far from zero.
class noisy_patterns {
 public:
  noisy_patterns() : patterns_(random_numbers<float>(10 * pixels, 11)) {}
  void next() {
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const int shown = random_.below(10);
      labels[i] = random_.below(10) == 0 ? random_.below(10) : shown;
      const float* pattern = patterns_.data() + static_cast<std::size_t>(shown) * pixels;
      for (std::size_t p = 0; p < pixels; ++p)
        images[i * pixels + p] = 2 * pattern[p] + static_cast<float>(random_.normal());
    }
  }

  static constexpr std::size_t pixels = 28 * 28;
  std::vector<float> images = std::vector<float>(8 * pixels);
  std::vector<int> labels = std::vector<int>(8);

 private:
  std::vector<float> patterns_;
  random_stream random_{7};
};

}  // namespace

// So slowly that what is learnt hardly depends on how numbers are rounded: steps ten times as large
// take two runs in float, their first weights a thousandth apart, 10 % apart.
TEST_CASE("bfloat16's losses follow float's for 4000 steps", "[.long]") {
  lenet_model<gpu<float>> wide;
  lenet_model<gpu<bfloat16>> narrow;
  wide.initialize(6), narrow.initialize(6);
  noisy_patterns data;
  constexpr int steps = 4000, each = 500;
  double size = 0, narrow_size = 0, apart = 0;
  for (int step = 0; step < steps; ++step) {
    data.next();
    wide.set_random(2, static_cast<std::uint64_t>(step));
    narrow.set_random(2, static_cast<std::uint64_t>(step));
    wide.launch_step(momentum{0.0001, 0.9}, data.images, data.labels);
    narrow.launch_step(momentum{0.0001, 0.9}, data.images, data.labels);
    wide.wait(), narrow.wait();
    const double wanted = double(wide.total_loss()), got = double(narrow.total_loss());
    size += wanted, narrow_size += got, apart += std::abs(got - wanted);
    if ((step + 1) % each != 0) continue;
    std::printf("steps to %4d: mean loss %.4f in float, %.4f in bfloat16; apart by %.2f %%\n",
                step + 1, size / each, narrow_size / each, 100 * apart / size);
    CHECK(apart < 0.02 * size);
    size = narrow_size = apart = 0;
  }
}

namespace {

/// Layers read the second input, too, one of them pooling that it is given to first.
struct two_inputs
    : net<"two", conv2d<8, kernel_size{3}, scope{"conv1"}>,
          concat<identity,
                 sequence<from<"second">,
                          max_pool2d<kernel_size{3}, stride{1}, padding::same, scope{"pool"}>>,
                 sequence<from<"second">, conv2d<8, kernel_size{3}, scope{"conv2"}>>>,
          flatten<>, fully_connected<10, activation_fn{none}, scope{"logits"}>> {};
template <class... More>
using two_model = model<two_inputs, input<5, 6, 6, 3>, named_input<"second", float, 5, 6, 6, 8>,
                        labels<5>, sparse_softmax_cross_entropy<>, More...>;

template <class Precision>
void compare_two(const limits& l) {
  two_model<> cpu;
  two_model<gpu<Precision>> there;
  cpu.initialize(1);
  copy_variables(cpu, there);
  const auto a = random_numbers<float>(5 * 6 * 6 * 3, 1),
             b = random_numbers<float>(5 * 6 * 6 * 8, 2);
  const auto y = random_labels(5, 10);
  CHECK(distance_of(there.forward(a, b), cpu.forward(a, b)) < l.forward);
  CHECK(there.backward(a, b, y) == Approx(cpu.backward(a, b, y)).epsilon(l.forward));
  for (int v = 0; v < decltype(cpu)::variable_count; ++v)
    CHECK(distance_of(there.gradient(v), cpu.gradient(v)) < l.gradients);
}

}  // namespace

TEST_CASE("a second input is of the precision's type, too") {
  compare_two<float>(float_limits);
  compare_two<bfloat16>(bfloat16_limits);
}

namespace {

/// Convolutions of all kinds: channels that four divides and that it does not, strides and rates.
struct ways_net
    : net<"ways", conv2d<10, kernel_size{5}, scope{"conv1"}>,
          conv2d<16, kernel_size{3}, stride{2}, activation_fn{slim::tanh}, scope{"conv2"}>,
          conv2d<24, kernel_size{3}, rate{2}, scope{"conv3"}>,
          conv2d<70, kernel_size{3, 2}, padding::valid, scope{"conv4"}>, flatten<>,
          fully_connected<36, scope{"fc"}>, fully_connected<10, activation_fn{none}, scope{"logits"}>> {};
template <class... More>
using ways_model =
    model<ways_net, input<3, 17, 14, 3>, labels<3>, sparse_softmax_cross_entropy<>, More...>;

}  // namespace

TEST_CASE("each way to contract in float") {
  ways_model<> cpu;
  cpu.initialize(1);
  disturb(cpu);
  const auto x = random_numbers<float>(3 * 17 * 14 * 3, 1);
  const auto y = random_labels(3, 10);
  const float loss = cpu.backward(x, y);
  const std::string file = "gpu_test_ways.plans";
  for (const std::string way : {"", "patches", "direct"}) {
    INFO(way);
    if (!way.empty()) choose_everywhere(file, way);
    ways_model<gpu<float>> there;
    there.keep_plans(file);
    copy_variables(cpu, there);
    CHECK(there.backward(x, y) == Approx(loss).epsilon(1e-5));
    for (int v = 0; v < decltype(cpu)::variable_count; ++v) {
      INFO(cpu.variable_name(v));
      CHECK(distance_of(there.gradient(v), cpu.gradient(v)) < 2e-4);
    }
    const std::string plans = there.plans();
    for (const char* op : {"forward float", "data gradient float", "weight gradient float"})
      CHECK((way.empty() || plans.find(": " + way, plans.find(op)) != std::string::npos));
    if (way == "direct")
      for (const char* sizes : {"float 3x2940 36 ", "float 2940x3T 36 ", "float 3x36 2940T "}) {
        INFO(sizes << " of\n" << plans);
        const auto at = plans.find(sizes);
        CHECK(plans.find(": direct", at) < plans.find('\n', at));
      }
  }
  std::remove(file.c_str());
}

namespace {

struct own_net
    : net<"own", conv2d<8, kernel_size{3}, activation_fn{own::soft_sign{2}}, scope{"conv1"}>,
          conv2d<8, kernel_size{3}, normalizer_fn{ops::batch_norm{}},
                 activation_fn{own::soft_sign{2}}, weights_regularizer{own::fourth_regularizer{}},
                 scope{"conv2"}>,
          flatten<>, fully_connected<6, activation_fn{none}, scope{"logits"}>> {};
template <class... More>
using own_model = model<own_net, input<5, 6, 6, 3>, named_input<"labels", float, 5, 6>,
                        elementwise<own::fourth_power{0.5f}>, More...>;

}  // namespace

TEST_CASE("functions of one's own") {
  own_model<> cpu;
  own_model<gpu<float>> there;
  cpu.initialize(1);
  copy_variables(cpu, there);
  const auto x = random_numbers<float>(5 * 6 * 6 * 3, 1), y = random_numbers<float>(30, 2);
  CHECK(distance_of(there.forward(x), cpu.forward(x)) < float_limits.forward);
  CHECK(there.backward(x, y) == Approx(cpu.backward(x, y)).epsilon(1e-5));
  for (int v = 0; v < decltype(cpu)::variable_count; ++v)
    if (cpu.trainable(v)) CHECK(distance_of(there.gradient(v), cpu.gradient(v)) < 1e-4);
}
