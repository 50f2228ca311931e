// The snippets of TF-Slim's README that define models, losses and what is restored, in its order and
// under its headings: what each makes here, by shapes, names and values. That the spellings of one
// network lower to the same graph is in network_test.cpp. Where README and TF-Slim's code disagree,
// the code is right here, and a comment says so.
#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <slim/nets/vgg.hpp>
#include <slim/slim.hpp>
#include <slim/variables.hpp>

#include "golden.hpp"
#include "lowered.hpp"

namespace {

using namespace slim;
using strings = std::vector<std::string>;
using Catch::Equals;

template <class View>
auto numbers(const View& v) {
  return std::vector<std::remove_cvref_t<decltype(v[0])>>(v.begin(), v.end());
}
std::vector<float> data(const char* name, std::size_t count) {
  const auto u = slim_test::uniform(name, count);
  return {u.begin(), u.end()};
}
template <class T>
strings names_of(const std::vector<named_tensor<T>>& tensors) {
  strings names;
  for (const auto& t : tensors) names.push_back(t.name);
  return names;
}

/// Two models' answers to the same images, from the same seed: values follow from names.
template <class A, class B>
bool equal_answers(std::size_t inputs) {
  A a;
  B b;
  a.initialize(3), b.initialize(3);
  const auto x = data("readme/images", inputs);
  return numbers(a.forward(x)) == numbers(b.forward(x));
}

}  // namespace

// ---- "Variables" --------------------------------------------------------------------------------

namespace {

template <template <text, auto...> class Kind>
using weights_of = Kind<"weights", shape{10, 10, 3, 3}, initializer{truncated_normal{0.0, 0.1}},
                        regularizer{l2_regularizer{0.05}}, slim::device{"/CPU:0"}>;

struct regular : net<"", weights_of<variable>, fully_connected<2, scope{"fc"}>> {};
struct model_and_regular : net<"", weights_of<model_variable>,
                               variable<"my_var", shape{20, 1}, initializer{zeros{}}>> {};
/// CreateViaCustomCode() is any entry that makes a variable.
struct custom : net<"",
  variable<"mine", shape{4}>, variable<"other", shape{4}>, add_model_variable<"mine">> {};

}  // namespace

TEST_CASE("Variables: slim.variable has initializer, regularizer and device") {
  using model_t = model<regular, input<2, 3>, labels<2>, sparse_softmax_cross_entropy<>>;
  constexpr variable_facts facts = variable_facts_of<model_t, "weights">();
  STATIC_REQUIRE(facts.dims == shape{10, 10, 3, 3});
  STATIC_REQUIRE(facts.device == "/CPU:0");
  STATIC_REQUIRE(facts.regularizer == "l2_regularizer");
  STATIC_REQUIRE(facts.trainable && !facts.model_variable);
  model_t m;
  m.initialize(1);
  double squares = 0;
  for (const float w : m.variable<"weights">()) {
    REQUIRE(std::abs(w) <= 0.2f);  // truncated at two deviations
    squares += double(w) * double(w);
  }
  CHECK(std::sqrt(squares / 900) == Approx(0.1 * 0.8796).epsilon(0.1));
  m.backward(data("readme/x", 6), std::vector<int>{0, 1});
  REQUIRE(get_regularization_losses(m).size() == 1);
  CHECK(get_regularization_losses(m)[0] == Approx(0.05 * squares / 2));
}

TEST_CASE("Variables: model variables and regular variables") {
  model<model_and_regular, input<2, 3>> m;
  m.initialize(1);
  CHECK_THAT(names_of(get_model_variables(m)), Equals(strings{"weights"}));
  CHECK_THAT(names_of(get_variables(m)), Equals(strings{"weights", "my_var"}));
  CHECK(get_variables(m)[1].values.dims == shape{20, 1});
  for (const float w : m.variable<"my_var">()) CHECK(w == 0);
}

TEST_CASE("Variables: slim.add_model_variable") {
  model<custom, input<2, 3>> m;
  CHECK_THAT(names_of(get_model_variables(m)), Equals(strings{"mine"}));
  CHECK_THAT(names_of(get_variables(m)), Equals(strings{"mine", "other"}));
}

// ---- "Layers" -----------------------------------------------------------------------------------

namespace {

struct conv1_1 : net<"", conv2d<16, kernel_size{3, 3}, scope{"conv1_1"}>> {};
struct conv1_1_linear
    : net<"", conv2d<16, kernel_size{3, 3}, activation_fn{none}, scope{"conv1_1"}>> {};
using layer_input = input<2, 6, 6, 8>;

/// The table of layers, each by its own name.
struct every_layer : net<"",
  conv2d<4, kernel_size{3}>, batch_norm<>, bias_add<>, conv2d_in_plane<kernel_size{3}>,
  conv2d_transpose<4, kernel_size{2}, stride{2}>, separable_conv2d<6, kernel_size{3}>,
  avg_pool2d<kernel_size{2}>, max_pool2d<kernel_size{2}>, unit_norm<dim{3}>, dropout<>, flatten<>,
  fully_connected<5>> {};
using every_layer_n = network<every_layer, layer_input>;
static_assert(every_layer_n::end_point<"Conv">() == shape{2, 6, 6, 4});
static_assert(every_layer_n::end_point<"BatchNorm">() == shape{2, 6, 6, 4});
static_assert(every_layer_n::end_point<"BiasAdd">() == shape{2, 6, 6, 4});
static_assert(every_layer_n::end_point<"ConvInPlane">() == shape{2, 6, 6, 4});
static_assert(every_layer_n::end_point<"Conv2d_transpose">() == shape{2, 12, 12, 4});
static_assert(every_layer_n::end_point<"SeparableConv2d">() == shape{2, 12, 12, 6});
static_assert(every_layer_n::end_point<"AvgPool2D">() == shape{2, 6, 6, 6});
static_assert(every_layer_n::end_point<"MaxPool2D">() == shape{2, 3, 3, 6});
static_assert(every_layer_n::end_point<"UnitNorm">() == shape{2, 3, 3, 6});
static_assert(every_layer_n::end_point<"Dropout">() == shape{2, 3, 3, 6});
static_assert(every_layer_n::end_point<"Flatten">() == shape{2, 54});
static_assert(every_layer_n::output_shape == shape{2, 5});
using one_hot_n = network<net<"", one_hot_encoding<7>>, named_input<"labels", int, 3>>;
static_assert(one_hot_n::output_shape == shape{3, 7});

struct three_calls : net<"",
  conv2d<6, kernel_size{3, 3}, scope{"conv3/conv3_1"}>,
  conv2d<6, kernel_size{3, 3}, scope{"conv3/conv3_2"}>,
  conv2d<6, kernel_size{3, 3}, scope{"conv3/conv3_3"}>,
  max_pool2d<kernel_size{2, 2}, scope{"pool2"}>> {};
struct by_repeat : net<"",
  repeat<3, conv2d<6, kernel_size{3, 3}>, "conv3">,
  max_pool2d<kernel_size{2, 2}, scope{"pool2"}>> {};

struct fc_verbose : net<"",
  fully_connected<32, scope{"fc/fc_1"}>, fully_connected<64, scope{"fc/fc_2"}>,
  fully_connected<128, scope{"fc/fc_3"}>> {};
struct fc_stack : net<"", stack<ops::fully_connected, "fc", args<32>, args<64>, args<128>>> {};

struct core_verbose : net<"",
  conv2d<32, kernel_size{3, 3}, scope{"core/core_1"}>,
  conv2d<32, kernel_size{1, 1}, scope{"core/core_2"}>,
  conv2d<64, kernel_size{3, 3}, scope{"core/core_3"}>,
  conv2d<64, kernel_size{1, 1}, scope{"core/core_4"}>> {};
struct core_stack : net<"",
  stack<ops::conv2d, "core", args<32, kernel_size{3, 3}>, args<32, kernel_size{1, 1}>,
                             args<64, kernel_size{3, 3}>, args<64, kernel_size{1, 1}>>> {};

}  // namespace

TEST_CASE("Layers: a convolution is a kernel, biases and an activation") {
  using model_t = model<conv1_1, layer_input>;
  CHECK_THAT(slim_test::variable_names<model_t>(),
             Equals(strings{"conv1_1/weights", "conv1_1/biases"}));
  STATIC_REQUIRE(model_t::variable_shape<"conv1_1/weights">() == shape{3, 3, 8, 16});
  STATIC_REQUIRE(model_t::output_shape == shape{2, 6, 6, 16});
  model_t m;
  model<conv1_1_linear, layer_input> linear;
  m.initialize(3), linear.initialize(3);
  const auto x = data("readme/images", 576);
  const auto y = numbers(m.forward(x));
  auto z = numbers(linear.forward(x));
  for (float& v : z) v = std::max(v, 0.0f);
  CHECK(y == z);
}

TEST_CASE("Layers: slim.repeat unrolls scopes") {
  // README: 'conv3/conv3_1', 'conv3/conv3_2' and 'conv3/conv3_3'. The calls it compares with have
  // no scope conv3 around them; with it the two are one network.
  using model_t = model<by_repeat, layer_input>;
  CHECK_THAT(slim_test::variable_names<model_t>(),
             Equals(strings{"conv3/conv3_1/weights", "conv3/conv3_1/biases",
                            "conv3/conv3_2/weights", "conv3/conv3_2/biases",
                            "conv3/conv3_3/weights", "conv3/conv3_3/biases"}));
  STATIC_REQUIRE(model_t::end_point<"pool2">() == shape{2, 3, 3, 6});
  CHECK(equal_answers<model_t, model<three_calls, layer_input>>(576));
}

TEST_CASE("Layers: slim.stack of fully connected layers") {
  using model_t = model<fc_stack, input<3, 20>>;
  STATIC_REQUIRE(model_t::variable_shape<"fc/fc_2/weights">() == shape{32, 64});
  STATIC_REQUIRE(model_t::output_shape == shape{3, 128});
  CHECK(equal_answers<model_t, model<fc_verbose, input<3, 20>>>(60));
}

TEST_CASE("Layers: slim.stack of convolutions") {
  using model_t = model<core_stack, layer_input>;
  STATIC_REQUIRE(model_t::variable_shape<"core/core_3/weights">() == shape{3, 3, 32, 64});
  STATIC_REQUIRE(model_t::variable_shape<"core/core_4/weights">() == shape{1, 1, 64, 64});
  CHECK(equal_answers<model_t, model<core_verbose, layer_input>>(576));
}

// ---- "Scopes" -----------------------------------------------------------------------------------

namespace {

constexpr auto pad = padding::same;
constexpr weights_initializer init{truncated_normal{0.0, 0.01}};
constexpr weights_regularizer penalty{l2_regularizer{0.0005}};

struct shared_by_values : net<"",
  conv2d<8, kernel_size{11}, stride{4}, pad, init, penalty, scope{"conv1"}>,
  conv2d<6, kernel_size{11}, padding::valid, init, penalty, scope{"conv2"}>,
  conv2d<4, kernel_size{11}, pad, init, penalty, scope{"conv3"}>> {};
struct shared_by_scope : net<"",
  arg_scope<on<ops::conv2d>,
            with<padding::same, weights_initializer{truncated_normal{0.0, 0.01}},
                 weights_regularizer{l2_regularizer{0.0005}}>,
    conv2d<8, kernel_size{11}, stride{4}, scope{"conv1"}>,
    conv2d<6, kernel_size{11}, padding::valid, scope{"conv2"}>,
    conv2d<4, kernel_size{11}, scope{"conv3"}>>> {};

// In TF-Slim this snippet is a TypeError: stride=1 of the scope and the 4 at conv1, which is passed
// by position, are two values for one argument. Here what a layer is given always wins, as README
// says of arguments in general.
struct nested : net<"",
  arg_scope<on<ops::conv2d, ops::fully_connected>,
            with<activation_fn{relu}, weights_initializer{truncated_normal{0.0, 0.01}},
                 weights_regularizer{l2_regularizer{0.0005}}>,
    arg_scope<on<ops::conv2d>, with<stride{1}, padding::same>,
      conv2d<8, kernel_size{11}, stride{4}, padding::valid, scope{"conv1"}>,
      conv2d<12, kernel_size{5}, weights_initializer{truncated_normal{0.0, 0.03}}, scope{"conv2"}>,
      fully_connected<10, activation_fn{none}, scope{"fc"}>>>> {};
using scope_input = input<1, 48, 48, 3>;

template <class View>
float largest(const View& v) {
  float most = 0;
  for (const float x : v) most = std::max(most, std::abs(x));
  return most;
}

}  // namespace

TEST_CASE("Scopes: arg_scope shares arguments, a call overrides them") {
  using model_t = model<shared_by_scope, scope_input>;
  STATIC_REQUIRE(model_t::end_point<"conv1">() == shape{1, 12, 12, 8});
  STATIC_REQUIRE(model_t::end_point<"conv2">() == shape{1, 2, 2, 6});  // VALID
  STATIC_REQUIRE(model_t::end_point<"conv3">() == shape{1, 2, 2, 4});
  STATIC_REQUIRE(slim_test::penalties<model_t> == 3);
  CHECK(equal_answers<model_t, model<shared_by_values, scope_input>>(48 * 48 * 3));
}

TEST_CASE("Scopes: arg_scopes nest and speak to several operations") {
  using model_t = model<nested, scope_input>;
  STATIC_REQUIRE(model_t::end_point<"conv1">() == shape{1, 10, 10, 8});
  STATIC_REQUIRE(model_t::end_point<"conv2">() == shape{1, 10, 10, 12});
  STATIC_REQUIRE(model_t::output_shape == shape{1, 10, 10, 10});  // it does not flatten
  STATIC_REQUIRE(slim_test::penalties<model_t> == 3);
  model_t m;
  m.initialize(1);
  CHECK(largest(m.variable<"conv1/weights">()) <= 0.02f);
  CHECK(largest(m.variable<"conv2/weights">()) > 0.02f);  // its own initializer
  CHECK(largest(m.variable<"conv2/weights">()) <= 0.06f);
  CHECK(largest(m.variable<"fc/weights">()) <= 0.02f);
  const auto y = numbers(m.forward(data("readme/images", 48 * 48 * 3)));
  CHECK(std::ranges::any_of(y, [](float v) { return v < 0; }));  // fc has no activation
}

// ---- "Working Example: Specifying the VGG16 Layers" -----------------------------------------------

namespace {

// README calls this "the entire VGG architecture". TF-Slim's fully_connected does not flatten, so
// its outputs keep the extents of pool5, and there are 37,694,248 parameters. tf_slim.nets' vgg_16,
// which is the published one, has a 7x7 convolution for fc6.
template <class FullyConnected4096, class Logits>
struct vgg16_of : net<"",
  arg_scope<on<ops::conv2d, ops::fully_connected>,
            with<activation_fn{relu}, weights_initializer{truncated_normal{0.0, 0.01}},
                 weights_regularizer{l2_regularizer{0.0005}}>,
    repeat<2, conv2d<64, kernel_size{3, 3}>, "conv1">,
    max_pool2d<kernel_size{2, 2}, scope{"pool1"}>,
    repeat<2, conv2d<128, kernel_size{3, 3}>, "conv2">,
    max_pool2d<kernel_size{2, 2}, scope{"pool2"}>,
    repeat<3, conv2d<256, kernel_size{3, 3}>, "conv3">,
    max_pool2d<kernel_size{2, 2}, scope{"pool3"}>,
    repeat<3, conv2d<512, kernel_size{3, 3}>, "conv4">,
    max_pool2d<kernel_size{2, 2}, scope{"pool4"}>,
    repeat<3, conv2d<512, kernel_size{3, 3}>, "conv5">,
    max_pool2d<kernel_size{2, 2}, scope{"pool5"}>,
    FullyConnected4096, dropout<keep_prob{0.5}, scope{"dropout6"}>,
    fully_connected<4096, scope{"fc7"}>, dropout<keep_prob{0.5}, scope{"dropout7"}>,
    Logits>> {};
struct vgg16 : vgg16_of<fully_connected<4096, scope{"fc6"}>,
                        fully_connected<1000, activation_fn{none}, scope{"fc8"}>> {};
using vgg16_n = network<vgg16, input<2, 224, 224, 3>>;
static_assert(vgg16_n::output_shape == shape{2, 7, 7, 1000});
static_assert(vgg16_n::parameter_count == 37'694'248);
static_assert(vgg16_n::end_point<"pool5">() == shape{2, 7, 7, 512});
static_assert(vgg16_n::variable_shape<"conv4/conv4_1/weights">() == shape{3, 3, 256, 512});
static_assert(vgg16_n::variable_count == 32 && slim_test::penalties<vgg16_n> == 16);
static_assert(network<nets::vgg_16<>, input<2, 224, 224, 3>>::parameter_count == 138'357'544);

}  // namespace

TEST_CASE("Specifying the VGG16 layers: it runs on images of any size") {
  model<vgg16, input<1, 32, 32, 3>> m;
  m.initialize(1);
  const auto y = m.forward(data("readme/vgg", 32 * 32 * 3));
  CHECK(y.dims == shape{1, 1, 1, 1000});
  CHECK(std::ranges::all_of(y, [](float v) { return std::isfinite(v); }));
  CHECK(std::ranges::any_of(y, [](float v) { return v < 0; }));
}

// ---- "Losses" -----------------------------------------------------------------------------------

// README: `predictions, _ = vgg.vgg_16(images)` and the standard classification loss.
static_assert(network<nets::vgg_16<>, input<2, 224, 224, 3>, one_hot_labels<2, 1000>,
                      softmax_cross_entropy<>>::lowered().losses.size() == 1);

namespace {

/// CreateMultiTaskModel(images).
struct multi_task : net<"",
  arg_scope<on<ops::fully_connected>, with<weights_regularizer{l2_regularizer{0.01}}>,
    flatten<>, fully_connected<6, scope{"shared"}>,
    heads<fully_connected<3, activation_fn{none}, scope{"scene"}>,
          fully_connected<4, activation_fn{none}, scope{"depth"}>,
          fully_connected<2, activation_fn{none}, scope{"pose"}>>>> {};

/// MyCustomLossFunction: log(cosh(p - y)).
struct log_cosh_fn {
  static constexpr std::string_view name = "log_cosh";
  template <std::floating_point T>
  T operator()(T p, T y) const {
    return std::log(std::cosh(p - y));
  }
  template <std::floating_point T>
  T gradient(T p, T y) const {
    return std::tanh(p - y);
  }
};

// README's slim.losses.sum_of_squares has gone from TF-Slim: mean_squared_error is what it was.
using scene_loss = softmax_cross_entropy<logits{"scene"}, labels_from{"scene_labels"}>;
using depth_loss = mean_squared_error<predictions{"depth"}, labels_from{"depth_labels"}>;
using pose_loss =
    elementwise<log_cosh_fn{}, predictions{"pose"}, labels_from{"pose_labels"}>;
template <class... Loss>
using multi_task_model =
    model<multi_task, input<2, 2, 2, 3>, named_input<"scene_labels", float, 2, 3>,
          named_input<"depth_labels", float, 2, 4>, named_input<"pose_labels", float, 2, 2>,
          Loss..., fetch<"scene", "depth", "pose">>;

const std::vector<float> scene_labels{0, 1, 0, 0, 0, 1};

template <class Model>
float train(Model& m) {
  m.initialize(4);
  return m.backward(data("readme/images", 24), scene_labels, data("readme/depth", 8),
                    data("readme/pose", 4));
}

/// The mean of f over all elements.
template <class View, class F>
double mean(const View& p, const std::vector<float>& y, F f) {
  double sum = 0;
  for (std::size_t i = 0; i < y.size(); ++i) sum += f(double(p[long(i)]), double(y[i]));
  return sum / double(y.size());
}
/// Cross entropy of [2, 3] and one-hot labels.
template <class View>
double cross_entropy(const View& logits) {
  double sum = 0;
  for (long row = 0; row < 2; ++row) {
    double all = 0, right = 0;
    for (long k = 0; k < 3; ++k) {
      all += std::exp(double(logits[3 * row + k]));
      if (scene_labels[std::size_t(3 * row + k)] == 1) right = double(logits[3 * row + k]);
    }
    sum += std::log(all) - right;
  }
  return sum / 2;
}

}  // namespace

TEST_CASE("Losses: two losses and their total") {
  // Each of the model's outputs needs a loss here, so the third has one of weight 0.
  using unused = elementwise<log_cosh_fn{}, predictions{"pose"}, labels_from{"pose_labels"},
                             loss_weight{0}>;
  multi_task_model<scene_loss, depth_loss, unused> m;
  train(m);
  const double classification_loss = cross_entropy(m.fetched<"scene">());
  const double sum_of_squares_loss =
      mean(m.fetched<"depth">(), data("readme/depth", 8),
           [](double p, double y) { return (p - y) * (p - y); });
  CHECK(get_losses(m)[0] == Approx(classification_loss));
  CHECK(get_losses(m)[1] == Approx(sum_of_squares_loss));
  CHECK(get_losses(m)[2] == 0);
  const double total_loss = classification_loss + sum_of_squares_loss;
  CHECK(get_total_loss(m, /*add_regularization_losses=*/false) == Approx(total_loss));
}

TEST_CASE("Losses: a custom loss is collected, and the total has the regularization loss") {
  multi_task_model<scene_loss, depth_loss, pose_loss> m;
  const float returned = train(m);
  REQUIRE(get_losses(m).size() == 3);
  const double custom_loss = mean(m.fetched<"pose">(), data("readme/pose", 4),
                                  [](double p, double y) { return std::log(std::cosh(p - y)); });
  CHECK(get_losses(m)[2] == Approx(custom_loss));
  REQUIRE(get_regularization_losses(m).size() == 4);
  double regularization_loss = 0, squares = 0;
  for (const float loss : get_regularization_losses(m)) regularization_loss += double(loss);
  for (const auto& v : get_variables_by_name(m, "weights"))
    for (const float w : v.values) squares += double(w) * double(w);
  CHECK(regularization_loss == Approx(0.01 * squares / 2));
  const double total_loss1 = double(get_losses(m)[0]) + double(get_losses(m)[1]) +
                             double(get_losses(m)[2]) + regularization_loss;
  const float total_loss2 = get_total_loss(m);
  CHECK(total_loss2 == Approx(total_loss1));
  CHECK(total_loss2 == returned);
}

// ---- "Fine-Tuning Existing Models" ----------------------------------------------------------------
// Checkpoints themselves, whole, in part and under other names, are restored in restore_test.cpp.

namespace {

struct two_variables : net<"",
  variable<"v1", shape{3}>, variable_scope<"nested", variable<"v2", shape{2}>>> {};

/// nets::vgg_16 for 20 classes, its layers as narrow as can be.
template <int N>
using thin = conv2d<2, kernel_size{N}>;
struct thin_vgg_16 : net<"vgg_16",
  repeat<2, thin<3>, "conv1">, repeat<2, thin<3>, "conv2">, repeat<3, thin<3>, "conv3">,
  repeat<3, thin<3>, "conv4">, repeat<3, thin<3>, "conv5">,
  conv2d<2, kernel_size{7}, padding::valid, scope{"fc6"}>,
  conv2d<2, kernel_size{1}, scope{"fc7"}>,
  conv2d<20, kernel_size{1}, activation_fn{none}, scope{"fc8"}>> {};

/// README's two functions of a variable's name.
std::string in_scope_vgg16(const std::string& name) { return "vgg16/" + name; }
std::string with_params(std::string name) {
  for (const auto& [ours, theirs] : {std::pair{"weights", "params1"}, {"bias", "params2"}})
    if (const auto at = name.find(ours); at != name.npos)
      return name.replace(at, std::string(ours).size(), theirs);
  return name;
}

}  // namespace

TEST_CASE("Partially Restoring Models: five ways to name nested/v2") {
  model<two_variables, input<1, 1>> m;
  const strings v2{"nested/v2"};
  CHECK_THAT(slim::variable_names(m), Equals(strings{"v1", "nested/v2"}));
  CHECK_THAT(names_of(get_variables_by_name(m, "v2")), Equals(v2));
  CHECK_THAT(names_of(get_variables_by_suffix(m, "2")), Equals(v2));
  CHECK_THAT(names_of(get_variables(m, /*scope=*/"nested")), Equals(v2));
  CHECK_THAT(get_variables_to_restore(m, /*include=*/{"nested"}), Equals(v2));
  CHECK_THAT(get_variables_to_restore(m, /*include=*/{}, /*exclude=*/{"v1"}), Equals(v2));
}

TEST_CASE("Restoring models with different variable names: functions of names") {
  model<conv1_1, layer_input> m;
  strings prefixed, replaced;
  for (const auto& v : get_model_variables(m)) {
    prefixed.push_back(in_scope_vgg16(v.name));
    replaced.push_back(with_params(v.name));
  }
  CHECK_THAT(prefixed, Equals(strings{"vgg16/conv1_1/weights", "vgg16/conv1_1/biases"}));
  // README looks for "bias", but TF-Slim's variables are named "biases".
  CHECK_THAT(replaced, Equals(strings{"conv1_1/params1", "conv1_1/params2es"}));
}

TEST_CASE("Fine-Tuning a Model on a different task: what is excluded") {
  using model_t = model<thin_vgg_16, input<1, 7, 7, 3>>;
  const auto vgg_16_names = slim_test::variable_names<
      network<nets::vgg_16<num_classes{20}>, input<1, 224, 224, 3>>>();
  REQUIRE_THAT(slim_test::variable_names<model_t>(), Equals(vgg_16_names));
  model_t m;
  // README: exclude=['fc6', 'fc7', 'fc8']. Patterns match from the start of a name, and all names
  // start with "vgg_16/", so that excludes nothing ...
  CHECK_THAT(get_variables_to_restore(m, {}, {"fc6", "fc7", "fc8"}), Equals(vgg_16_names));
  // ... and this does what README means.
  const auto kept = get_variables_to_restore(m, {}, {"vgg_16/fc6", "vgg_16/fc7", "vgg_16/fc8"});
  CHECK(vgg_16_names.size() == 32);
  CHECK(kept.size() == 26);
  CHECK(std::ranges::all_of(kept, [](const auto& n) { return n.starts_with("vgg_16/conv"); }));
  CHECK_THAT(get_variables_to_restore(m, {"vgg_16/conv1", "vgg_16/fc8"}),
             Equals(strings{"vgg_16/conv1/conv1_1/weights", "vgg_16/conv1/conv1_1/biases",
                            "vgg_16/conv1/conv1_2/weights", "vgg_16/conv1/conv1_2/biases",
                            "vgg_16/fc8/weights", "vgg_16/fc8/biases"}));
}
