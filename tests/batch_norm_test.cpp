// Batch norm against the real TF-Slim, alone and as a normalizer: by batch statistics, by moving
// averages, folded into what comes before it, and its averages after an update.
#include <catch2/catch.hpp>

#include "dynamic.hpp"
#include "golden.hpp"

namespace {

using namespace slim;
using slim_test::record;

template <class Target>
using model_on = slim_test::dynamic_model<typename Target::scalar, typename Target::backend>;
using eigen_double = target<double, backend::eigen>;
using cpu_double = target<double, backend::cpu>;
using eigen_float = target<float, backend::eigen>;
using cpu_float = target<float, backend::cpu>;

cpu_device& device() {
  static cpu_device d(2);
  return d;
}

shape dims_of(const std::vector<int>& extents) {
  shape s;
  for (int e : extents) s.extents[s.rank++] = e;
  return s;
}

/// What this precision of ours is held against: float answers are TensorFlow's fused kernel's.
template <class T>
std::vector<record> records() {
  const char* const precision = std::is_same_v<T, double> ? "float64" : "float32";
  std::vector<record> some;
  for (const record& r : slim_test::read(slim_test::data_path("batch_norm.bin")))
    if (r.text("precision") == precision) some.push_back(r);
  REQUIRE(some.size() > 80);
  return some;
}
template <class T>
constexpr double limit = std::is_same_v<T, double> ? 1e-10 : 2e-5;

/// The layer with the options that change its structure; the numbers follow at run time.
template <bool Training, bool Center, bool Scale, bool Fused, class B>
int normalized(B& b, int x) {
  return batch_norm<is_training{Training}, center{Center}, scale{Scale}, fused{Fused},
                    slim::scope{"norm"}>::template lower<no_context>(b, x);
}
template <class B, std::size_t... I>
auto all_layers(std::index_sequence<I...>) {
  return std::array{&normalized<(I & 1) != 0, (I & 2) != 0, (I & 4) != 0, (I & 8) != 0, B>...};
}

template <class B>
void set_numbers(B& b, const record& r) {
  for (int i = 0; i < b.g.nodes.size(); ++i) {
    node_row& n = b.g.nodes[i];
    if (n.update) n.a.number = r.number("decay");
    else if (n.op->name.starts_with("batch_norm")) n.a.number = r.number("epsilon");
  }
}

window window_of(const record& r) {
  window w;
  w.kernel_h = r.integer("kernel_h"), w.kernel_w = r.integer("kernel_w");
  w.stride_h = r.integer("stride_h"), w.stride_w = r.integer("stride_w");
  w.pad = r.text("padding") == "SAME" ? padding::same : padding::valid;
  return w;
}

/// The contraction before the norm, if the record has one, and what follows it.
template <class B>
int build(B& b, const record& r, int x, bool training) {
  using T = typename B::target_type::scalar;
  if (r.has("w_dims")) {
    b.enter("layer");
    const int w = b.add_variable("weights", dims_of(r.extents("w_dims")),
                                 &variable_hooks_of<T, constant<zeros{}>>, true);
    attributes a;
    if (r.text("kind") == "conv2d_batch_norm") a.win = window_of(r);
    x = r.has("kernel_h") ? b.template add<op::convolution>({x, w}, a)
                          : b.template add<op::matmul>({x, w});
  }
  const int layer = training + 2 * r.integer("center") + 4 * r.integer("scale") +
                    8 * r.integer("fused");
  const int y = all_layers<B>(std::make_index_sequence<16>())[std::size_t(layer)](b, x);
  set_numbers(b, r);
  return r.text("activation") == "relu" ? b.template add<op::activation<constant<relu>>>({y}) : y;
}

template <class T>
std::vector<T> input_of(const record& r, const std::string& leaf, long count) {
  const auto values = slim_test::uniform(r.text("id") + "/" + leaf, std::size_t(count));
  const bool around_1 = leaf == "gamma" || leaf == "moving_variance";
  std::vector<T> out;
  for (const double v : values) out.push_back(static_cast<T>(around_1 ? 1 + v / 2 : v));
  return out;
}

template <class Target>
void load(model_on<Target>& m, const record& r) {
  using T = typename Target::scalar;
  for (int v = 0; v < m.program().variables.size(); ++v) {
    const std::string leaf(m.program().variables[v].leaf);
    const auto view = m.run().variable(v);
    std::ranges::copy(input_of<T>(r, leaf == "weights" ? "w" : leaf, view.dims.count()),
                      view.begin());
  }
}

template <class View>
auto numbers(const View& v) {
  return std::vector<std::remove_cvref_t<decltype(v[0])>>(v.begin(), v.end());
}

template <class Target>
void check_training_pass(const record& r) {
  using T = typename Target::scalar;
  const bool training = r.integer("training") == 1;
  model_on<Target> m(dims_of(r.extents("x_dims")), true, device(),
                     [&](auto& b, int x) { return build(b, r, x, training); });
  load<Target>(m, r);
  const int output = m.program().output;
  m.run().backward({input_of<T>(r, "g", m.program().tensors[output].dims.count())});
  CHECK(slim_test::distance(r, "y", numbers(m.run().value(output))) < limit<T>);
  const std::pair<const char*, const char*> gradients[] = {
      {"dx", "x"}, {"dw", "weights"}, {"dgamma", "gamma"}, {"dbeta", "beta"}};
  for (const auto& [name, leaf] : gradients) {
    if (!r.arrays.contains(name)) continue;
    INFO(name);
    const auto got = numbers(m.gradient(leaf));
    // Where the batch has one element a channel, rounding is all there is.
    double largest = 0;
    for (const double want : r.at(name).values) largest = std::max(largest, std::abs(want));
    if (largest < 1e-12)
      CHECK(std::ranges::all_of(got, [](T x) { return std::abs(x) < 1e-4; }));
    else
      CHECK(slim_test::distance(r, name, got) < (std::is_same_v<T, double> ? 1e-8 : 2e-3));
  }
  if (!training) return;
  for (const char* name : {"moving_mean", "moving_variance"}) {
    INFO(name);
    m.run().run_update_ops();
    CHECK(slim_test::distance(r, name, numbers(m.variable(name))) < limit<T>);
  }
}

/// The same layer in a forward pass, where it is folded, whatever it is in training.
template <class Target>
void check_inference(const record& r) {
  using T = typename Target::scalar;
  if (r.integer("training") == 1) return;
  const shape dims = dims_of(r.extents("x_dims"));
  model_on<Target> m(dims, false, device(),
                     [&](auto& b, int x) { return build(b, r, x, true); });
  load<Target>(m, r);
  const auto x = input_of<T>(r, "x", dims.count());
  CHECK(slim_test::distance(r, "y", numbers(m.run().forward({x}))) < limit<T>);
  for (const step_row& s : m.program().steps) CHECK_FALSE(s.op.starts_with("batch_norm_inference"));
  const bool contracts = r.has("w_dims");
  CHECK(m.program().first_run == (contracts ? 3 : 2));  // scale, shift and the scaled weights
  // Prepared once; a variable that is asked for may change, so then again.
  const auto shift = r.integer("center") == 1 ? "beta" : "moving_mean";
  const auto before = numbers(m.run().forward({x}));
  for (T& value : m.variable(shift)) value += r.integer("center") == 1 ? T(2) : T(-2);
  CHECK(numbers(m.run().forward({x})) != before);
}

}  // namespace

TEMPLATE_TEST_CASE("batch norm answers as TF-Slim's", "", eigen_double, cpu_double, eigen_float,
                   cpu_float) {
  for (const record& r : records<typename TestType::scalar>()) {
    INFO(r.title());
    check_training_pass<TestType>(r);
    check_inference<TestType>(r);
  }
}

namespace {

constexpr auto norm = normalizer_fn{ops::batch_norm{}};

struct normalized_net
    : arg_scope<on<ops::conv2d>, with<norm, weights_regularizer{l2_regularizer{0.01}}>,
                net<"n", conv2d<8, kernel_size{3}, scope{"conv1"}>,
                    max_pool2d<kernel_size{2}, scope{"pool1"}>,
                    conv2d<4, kernel_size{1}, normalizer_fn{none}, activation_fn{none}, scope{"conv2"}>,
                    batch_norm<activation_fn{relu}, scope{"post"}>, flatten<>,
                    fully_connected<3, activation_fn{none}, scope{"logits"}>>> {};

template <int N, class... More>
using trainer = model<normalized_net, input<N, 6, 8, 3>, labels<N>, sparse_softmax_cross_entropy<>,
                      More...>;

std::vector<float> images(int n) {
  const auto u = slim_test::uniform("batch_norm/images", std::size_t(n) * 6 * 8 * 3);
  return {u.begin(), u.end()};
}

int count(const program& p, std::string_view op) {
  int found = 0;
  for (const step_row& s : p.steps) found += s.op == op;
  return found;
}

/// Weights that take a scale: as they are, or while a kernel's form of them is made.
int scaled_weights(const program& p) {
  int found = count(p, "scale_columns");
  for (const step_row& s : p.steps) found += s.op == "prepared_weights" && s.inputs == 2;
  return found;
}

}  // namespace

TEST_CASE("a normalizer takes the place of biases, in a scope of its own") {
  using m = trainer<2>;
  STATIC_REQUIRE(m::variable_shape<"n/conv1/BatchNorm/beta">() == shape{8});
  STATIC_REQUIRE(m::variable_shape<"n/conv1/BatchNorm/moving_variance">() == shape{8});
  STATIC_REQUIRE(m::variable_shape<"n/conv2/biases">() == shape{4});
  STATIC_REQUIRE(m::variable_count == 4 + 2 + 3 + 2);
  STATIC_REQUIRE(m::parameter_count - m::trainable_parameter_count == 2 * 8 + 2 * 4);
}

TEST_CASE("batch norm folds at inference and never in training") {
  const program inference = trainer<2>::inference_program();
  CHECK(scaled_weights(inference) == 2);  // conv1; and conv2, whose biases take the shift
  CHECK(count(inference, "batch_norm_scale") == 2);
  CHECK(count(inference, "batch_norm+activation") + count(inference, "batch_norm") == 0);
  CHECK(inference.first_run == 7);  // twice scale, shift and weights; and a head's weights
  CHECK(inference.first_update == inference.steps.size());
  const program training = trainer<2>::training_program();
  CHECK(count(training, "batch_norm+activation") == 2);
  CHECK(count(training, "scale_columns") + count(training, "batch_norm_scale") == 0);
  CHECK(training.steps.size() - training.first_update == 4);
  CHECK(training.first_run == 0);
}

TEST_CASE("moving averages change with update, once for each backward, and not before") {
  trainer<4> m;
  m.initialize(3);
  const auto x = images(4);
  const std::vector<int> y{0, 1, 2, 0};
  const auto mean = [&] { return numbers(m.variable<"n/conv1/BatchNorm/moving_mean">()); };
  const auto at_first = mean();
  m.backward(x, y);
  CHECK(mean() == at_first);
  m.run_update_ops();
  const auto once = mean();
  CHECK(once != at_first);
  m.update(gradient_descent{0.01});
  CHECK(mean() == once);
  CHECK(m.global_step() == 1);
  m.forward(x);
  m.run_update_ops();
  CHECK(mean() == once);
}

TEST_CASE("a smaller batch has the statistics of its own examples") {
  trainer<4> large;
  trainer<2> small;
  large.initialize(3), small.initialize(3);
  const auto x = images(2);
  const std::vector<int> y{1, 2};
  CHECK(large.backward(x, y) == small.backward(x, y));
  large.update(momentum{0.1}), small.update(momentum{0.1});
  for (int v = 0; v < trainer<2>::variable_count; ++v)
    CHECK(numbers(large.variable(v)) == numbers(small.variable(v)));
}

TEST_CASE("batch norm has equal bits on any number of threads") {
  std::vector<std::vector<float>> answers;
  for (const int threads : {1, 2, 5}) {
    cpu_device d(threads);
    trainer<4> m(d);
    m.initialize(3);
    m.backward(images(4), std::vector<int>{0, 1, 2, 0});
    m.update(gradient_descent{0.1});
    std::vector<float> all;
    for (int v = 0; v < trainer<4>::variable_count; ++v)
      all.insert(all.end(), m.variable(v).begin(), m.variable(v).end());
    answers.push_back(all);
  }
  CHECK(answers[0] == answers[1]);
  CHECK(answers[0] == answers[2]);
}

namespace {

template <class... Entry>
using scoped = network<arg_scope<on<ops::batch_norm>, with<decay{0.5}, epsilon{0.1}>, Entry...>,
                       input<1, 4, 4, 2>>;
constexpr double epsilon_of(const graph& g) {
  for (const node_row& n : g.nodes)
    if (n.op->name == "batch_norm") return n.a.number;
  return 0;
}
constexpr double decay_of(const graph& g) {
  for (const node_row& n : g.nodes)
    if (n.update) return n.a.number;
  return 0;
}

}  // namespace

TEST_CASE("normalizer_params beat an arg_scope on batch_norm, which beats the defaults") {
  using by_scope = scoped<conv2d<2, kernel_size{1}, norm>>;
  using by_params =
      scoped<conv2d<2, kernel_size{1}, norm, normalizer_params{with<epsilon{0.25}>{}}>>;
  STATIC_REQUIRE(epsilon_of(by_scope::lowered()) == 0.1);
  STATIC_REQUIRE(epsilon_of(by_params::lowered()) == 0.25);
  STATIC_REQUIRE(decay_of(by_params::lowered()) == 0.5);
  using by_default = network<batch_norm<>, input<1, 4, 4, 2>>;
  STATIC_REQUIRE(epsilon_of(by_default::lowered()) == 0.001);
  STATIC_REQUIRE(decay_of(by_default::lowered()) == 0.999);
}

namespace {

/// A normalized layer on images of 7x6x3, with a loss so that it has a training program. Without
/// batch statistics that one computes what the forward pass does, but does not fold.
template <class Layer>
using frozen = model<arg_scope<on<ops::batch_norm>, with<is_training{false}, slim::scale{true}>,
                               arg_scope<on<ops::conv2d, ops::conv2d_in_plane,
                                            ops::conv2d_transpose, ops::separable_conv2d,
                                            ops::fully_connected>,
                                         with<norm>, Layer>>,
                     input<2, 7, 6, 3>, named_input<"labels", float, 2, 7, 6, 4>,
                     mean_squared_error<>, scalar<double>>;

template <class Layer>
void check_folding(int folded) {
  frozen<Layer> m;
  m.initialize(7);
  for (int v = 0; v < frozen<Layer>::variable_count; ++v) {
    const auto view = m.variable(v);
    if (m.variable_name(v).find("BatchNorm") == std::string::npos) continue;
    const auto u = slim_test::uniform("fold/" + m.variable_name(v), std::size_t(view.dims.count()));
    std::ranges::transform(u, view.begin(), [](double x) { return 1.5 + x; });
  }
  const auto u = slim_test::uniform("fold/x", 2 * 7 * 6 * 3);
  const std::vector<double> x(u.begin(), u.end()), wanted(2 * 7 * 6 * 4, 0.5);
  const auto forward = numbers(m.forward(x, wanted));
  m.backward(x, wanted);
  const auto training = numbers(m.output());
  REQUIRE(forward.size() == training.size());
  for (std::size_t i = 0; i < forward.size(); ++i)
    CHECK(forward[i] == Approx(training[i]).epsilon(1e-12).margin(1e-12));
  CHECK(scaled_weights(frozen<Layer>::inference_program()) == folded);
  CHECK(scaled_weights(frozen<Layer>::training_program()) == 0);
}

}  // namespace

TEST_CASE("every layer with a normalizer computes the same folded and not") {
  check_folding<conv2d<4, kernel_size{3}>>(1);
  check_folding<conv2d<4, kernel_size{3}, activation_fn{none}>>(1);
  check_folding<separable_conv2d<4, kernel_size{3}>>(1);  // its pointwise half takes the scale
  check_folding<sequence<conv2d<4, kernel_size{1}, normalizer_fn{none}>,
                         conv2d_in_plane<kernel_size{3}>>>(1);
  check_folding<sequence<conv2d<2, kernel_size{1}, normalizer_fn{none}>,
                         separable_conv2d<none, kernel_size{3}, depth_multiplier{2}>>>(1);
  check_folding<conv2d_transpose<4, kernel_size{3}>>(0);  // a scale and a shift of its own
  check_folding<fully_connected<4>>(1);
  check_folding<sequence<conv2d<4, kernel_size{3}, normalizer_fn{none}>, batch_norm<>>>(0);  // ReLU
}
