// The layers against the answers of the real TF-Slim in tests/data/layers.bin: outputs and all
// gradients, in float and double, on the reference and on the CPU's own kernels.

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "dynamic.hpp"
#include "golden.hpp"

namespace {

using slim::attributes;
using slim::constant;
using slim::element;
using slim::shape;
using slim_test::dynamic_model;
using slim_test::record;

using eigen_double = slim::target<double, slim::backend::eigen>;
using eigen_float = slim::target<float, slim::backend::eigen>;
using cpu_double = slim::target<double, slim::backend::cpu>;
using cpu_float = slim::target<float, slim::backend::cpu>;

template <class Target>
using model_on = dynamic_model<typename Target::scalar, typename Target::backend>;

/// Agreement asked of the target's numbers, in the 2-norm.
template <class Target>
constexpr double limit = std::is_same_v<typename Target::scalar, double> ? 1e-7 : 1e-5;
/// TF-Slim reduces losses in float32, so its answers are no better than that.
template <class Target>
constexpr double loss_limit = std::is_same_v<typename Target::scalar, double> ? 1e-6 : 1e-5;
/// In float Winograd's transform costs the gradient of the weights one digit.
template <class Target>
constexpr double winograd_filter_limit = 10 * limit<Target>;

slim::cpu_device& device() {
  static slim::cpu_device two_threads(2);
  return two_threads;
}

const std::vector<record>& records() {
  static const std::vector<record> all = slim_test::read(slim_test::data_path("layers.bin"));
  return all;
}

std::vector<record> of_kind(const std::string& kind) {
  std::vector<record> some;
  for (const record& r : records())
    if (r.text("kind") == kind) some.push_back(r);
  REQUIRE_FALSE(some.empty());
  return some;
}

shape dims_of(const std::vector<int>& extents) {
  shape s;
  for (int e : extents) s.extents[s.rank++] = e;
  return s;
}

template <class T>
std::vector<T> input_of(const record& r, const std::string& leaf, long count) {
  const std::string name = r.text("id") + "/" + leaf;
  const bool repeats = r.has("quantised") && r.integer("quantised") == 1;
  const auto size = static_cast<std::size_t>(count);
  const auto values =
      repeats && leaf != "g" ? slim_test::quantised(name, size) : slim_test::uniform(name, size);
  return {values.begin(), values.end()};
}

template <class T>
std::vector<std::remove_const_t<T>> numbers(const slim::tensor_view<T>& v) {
  return {v.begin(), v.end()};
}

template <class Target>
auto output_of(model_on<Target>& m) {
  return numbers(m.run().value(m.program().output));
}

// ---- Activations ------------------------------------------------------------------------------

/// All but ReLU by one type that chooses at run time, so that no kernel is compiled once for each.
using functions =
    std::variant<slim::relu6_fn, slim::elu_fn, slim::sigmoid_fn, slim::tanh_fn, slim::softplus_fn>;
functions chosen_function;

struct chosen_fn {
  static constexpr std::string_view name = "chosen";
  template <std::floating_point T>
  T operator()(T x) const {
    return std::visit([x](auto f) { return f(x); }, chosen_function);
  }
  template <std::floating_point T>
  T gradient(T y) const {
    return std::visit([y](auto f) { return f.gradient(y); }, chosen_function);
  }
};

/// What TF-Slim's names stand for here; softsign, selu and leaky_relu have no counterpart.
template <class B>
int activated(B& b, const std::string& name, int x) {
  static const std::map<std::string, functions> others{{"relu6", slim::relu6},
                                                       {"elu", slim::elu},
                                                       {"sigmoid", slim::sigmoid},
                                                       {"tanh", slim::tanh_fn{}},
                                                       {"softplus", slim::softplus}};
  if (name == "none") return x;
  if (name == "relu") return b.template add<slim::op::activation<constant<slim::relu>>>({x});
  chosen_function = others.at(name);
  return b.template add<slim::op::activation<constant<chosen_fn{}>>>({x});
}

// ---- Networks of one layer --------------------------------------------------------------------

slim::window window_of(const record& r) {
  slim::window w;
  w.kernel_h = r.integer("kernel_h"), w.kernel_w = r.integer("kernel_w");
  w.stride_h = r.integer("stride_h"), w.stride_w = r.integer("stride_w");
  if (r.has("rate")) w.rate_h = w.rate_w = r.integer("rate");
  w.pad = r.text("padding") == "SAME" ? slim::padding::same : slim::padding::valid;
  return w;
}

template <class B>
int variable(B& b, const char* leaf, const shape& dims) {
  using T = typename B::target_type::scalar;
  return b.add_variable(leaf, dims, &slim::variable_hooks_of<T, constant<slim::zeros{}>>, true);
}

/// Bias and activation as a record asks for them; `mark` sees each value on the way.
template <class B, class Mark>
int finished(B& b, const record& r, int y, Mark mark) {
  mark(y);
  if (r.integer("bias") == 1) {
    y = b.template add<slim::op::bias_add>(
        {y, variable(b, "biases", dims_of(r.extents("b_dims")))});
    mark(y);
  }
  return activated(b, r.text("activation"), y);
}

template <class B, class Mark>
int convolved(B& b, const record& r, int x, Mark mark) {
  attributes a;
  a.win = window_of(r);
  b.enter("layer");
  const int w = variable(b, "weights", dims_of(r.extents("w_dims")));
  int y = finished(b, r, b.template add<slim::op::convolution>({x, w}, a), mark);
  if (r.text("kind") != "conv2d_pool") return y;
  mark(y);
  attributes halve;
  halve.win.kernel_h = halve.win.kernel_w = halve.win.stride_h = halve.win.stride_w = 2;
  return b.template add<slim::op::max_pool>({y}, halve);
}

template <class B>
int connected(B& b, const record& r, int x) {
  b.enter("layer");
  const int w = variable(b, "weights", dims_of(r.extents("w_dims")));
  return finished(b, r, b.template add<slim::op::matmul>({x, w}), [](int) {});
}

template <class Op, class B>
int pooled(B& b, const record& r, int x) {
  attributes a;
  a.win = window_of(r);
  return b.template add<Op>({x}, a);
}

template <class T, class Model>
void load(Model& m, const record& r, const std::string& leaf, const std::string& input) {
  const auto v = m.variable(leaf);
  std::ranges::copy(input_of<T>(r, input, v.dims.count()), v.begin());
}

/// Every variable from the record's names, then the gradients of sum(y * g).
template <class Target>
void fill_and_run(model_on<Target>& m, const record& r) {
  using T = typename Target::scalar;
  load<T>(m, r, "x", "x");
  if (r.has("w_dims")) load<T>(m, r, "weights", "w");
  if (r.has("b_dims")) load<T>(m, r, "biases", "b");
  const auto g = input_of<T>(r, "g", m.program().tensors[m.program().output].dims.count());
  m.run().backward({g});
}

template <class Target>
using build_function = std::function<int(slim::builder<Target>&, const record&, int)>;

/// The layer `build` makes of a record, after one run.
template <class Target>
struct ran : model_on<Target> {
  ran(const record& r, const build_function<Target>& build)
      : model_on<Target>(dims_of(r.extents("x_dims")), true, device(),
                         [&](auto& b, int x) { return build(b, r, x); }) {
    fill_and_run<Target>(*this, r);
  }
};

bool runs(const slim::program& p, std::string_view op, std::string_view kernel = {}) {
  return std::any_of(p.steps.begin(), p.steps.end(), [&](const slim::step_row& s) {
    return s.op == op && s.kernel.starts_with(kernel);
  });
}

template <class Target>
void check(model_on<Target>& m, const record& r) {
  INFO(r.title());
  CHECK(slim_test::distance(r, "y", output_of<Target>(m)) < limit<Target>);
  CHECK(slim_test::distance(r, "dx", numbers(m.gradient("x"))) < limit<Target>);
  const bool winograd = runs(m.program(), "convolution_backward_filter", "winograd");
  if (r.has("w_dims"))
    CHECK(slim_test::distance(r, "dw", numbers(m.gradient("weights"))) <
          (winograd ? winograd_filter_limit<Target> : limit<Target>));
  if (r.has("b_dims"))
    CHECK(slim_test::distance(r, "db", numbers(m.gradient("biases"))) < limit<Target>);
}

template <class Target>
void check_all(const std::string& kind, const build_function<Target>& build) {
  for (const record& r : of_kind(kind)) {
    ran<Target> m(r, build);
    check<Target>(m, r);
  }
}

}  // namespace

TEST_CASE("golden inputs are those of the oracle") {
  for (const record& r : of_kind("uniform")) {
    const std::string name = r.text("id") == "empty" ? "" : r.text("id");
    INFO(r.title());
    const auto u = slim_test::uniform(name, 16), q = slim_test::quantised(name, 16);
    CHECK(std::ranges::equal(u, r.at("values").values));
    CHECK(std::ranges::equal(q, r.at("quantised").values));
    const auto hundred = slim_test::uniform(name, 100);
    const auto want = slim_test::stored_digest(r, "digest");
    const auto got = slim_test::make_digest<float>(name, hundred);
    CHECK(slim_test::distance(want, got) < 1e-12);
    CHECK(slim_test::sample_distance(want, got) == 0);
  }
}

TEST_CASE("every kind of record has a test") {
  const std::set<std::string> tested{"uniform",
                                     "conv2d",
                                     "conv2d_pool",
                                     "fully_connected",
                                     "max_pool2d",
                                     "avg_pool2d",
                                     "bias_add",
                                     "flatten",
                                     "dropout",
                                     "softmax",
                                     "softmax_cross_entropy",
                                     "sparse_softmax_cross_entropy",
                                     "regularizer",
                                     "activation"};
  std::set<std::string> stored;
  for (const record& r : records()) stored.insert(r.text("kind"));
  CHECK(stored == tested);
}

TEMPLATE_TEST_CASE("conv2d", "", eigen_double, cpu_double, eigen_float, cpu_float) {
  for (const record& r : of_kind("conv2d")) {
    ran<TestType> m(
        r, [](auto& b, const record& some, int x) { return convolved(b, some, x, [](int) {}); });
    INFO(r.title());
    const bool something = r.integer("bias") == 1 || r.text("activation") != "none";
    CHECK(runs(m.program(), something ? "fused_convolution" : "convolution"));
    CHECK_FALSE(runs(m.program(), "bias_add"));
    check<TestType>(m, r);
  }
}

TEMPLATE_TEST_CASE("conv2d and pooling", "", eigen_double, cpu_double, eigen_float, cpu_float) {
  int in_one_node = 0;
  for (const record& r : of_kind("conv2d_pool")) {
    ran<TestType> m(
        r, [](auto& b, const record& some, int x) { return convolved(b, some, x, [](int) {}); });
    in_one_node += !runs(m.program(), "max_pool");
    check<TestType>(m, r);
  }
  const bool own_kernels = std::is_same_v<typename TestType::backend, slim::backend::cpu>;
  CHECK((in_one_node > 0) == own_kernels);
}

// Values the caller reads cannot be fused away, so the same network runs node by node.
TEMPLATE_TEST_CASE("fusion changes no answer", "", eigen_double, cpu_double, eigen_float,
                   cpu_float) {
  int n = 0;
  std::vector<record> some = of_kind("conv2d_pool");
  for (const record& r : of_kind("conv2d"))
    if (++n % 4 == 0 || r.text("stored") == "digest") some.push_back(r);
  for (const record& r : some) {
    ran<TestType> m(r, [](auto& b, const record& some, int x) {
      return convolved(b, some, x, [&](int y) { b.g.values[y].fetched = true; });
    });
    INFO(r.title());
    CHECK_FALSE(runs(m.program(), "fused_convolution"));
    check<TestType>(m, r);
  }
}

TEMPLATE_TEST_CASE("fully_connected", "", eigen_double, cpu_double, eigen_float, cpu_float) {
  check_all<TestType>("fully_connected",
                      [](auto& b, const record& r, int x) { return connected(b, r, x); });
}

TEMPLATE_TEST_CASE("pooling", "", eigen_double, cpu_double, eigen_float, cpu_float) {
  check_all<TestType>("max_pool2d", [](auto& b, const record& r, int x) {
    return pooled<slim::op::max_pool>(b, r, x);
  });
  check_all<TestType>("avg_pool2d", [](auto& b, const record& r, int x) {
    return pooled<slim::op::avg_pool>(b, r, x);
  });
}

TEMPLATE_TEST_CASE("bias_add, flatten and dropout", "", eigen_double, cpu_double, eigen_float,
                   cpu_float) {
  check_all<TestType>("bias_add", [](auto& b, const record& r, int x) {
    b.enter("layer");
    return finished(b, r, x, [](int) {});
  });
  check_all<TestType>("flatten", [](auto& b, const record&, int x) {
    return slim::flatten<>::template lower<slim::no_context>(b, x);
  });
  check_all<TestType>("dropout", [](auto& b, const record& r, int x) {
    using namespace slim;
    if (r.number("keep_prob") == 1)
      return dropout<keep_prob{1.0}>::template lower<no_context>(b, x);
    REQUIRE(r.number("keep_prob") == 0.5);
    REQUIRE(r.integer("training") == 0);
    return dropout<keep_prob{0.5}, is_training{false}>::template lower<no_context>(b, x);
  });
}

TEMPLATE_TEST_CASE("dropout at inference", "", eigen_double, cpu_float) {
  using T = typename TestType::scalar;
  const record r = of_kind("dropout").back();
  model_on<TestType> m(dims_of(r.extents("x_dims")), false, device(), [](auto& b, int x) {
    return slim::dropout<slim::keep_prob{0.5}>::template lower<slim::no_context>(b, x);
  });
  const auto x = input_of<T>(r, "x", dims_of(r.extents("x_dims")).count());
  CHECK(slim_test::distance(r, "y", numbers(m.run().forward({x}))) == 0);
}

TEMPLATE_TEST_CASE("softmax", "", eigen_double, cpu_double, eigen_float, cpu_float) {
  using T = typename TestType::scalar;
  for (const record& r : of_kind("softmax")) {
    const T scale = static_cast<T>(r.integer("x_scale"));
    model_on<TestType> m(dims_of(r.extents("x_dims")), true, device(), [](auto& b, int x) {
      return slim::softmax<>::template lower<slim::no_context>(b, x);
    });
    auto x = input_of<T>(r, "x", m.variable("x").dims.count());
    for (T& value : x) value *= scale;
    std::ranges::copy(x, m.variable("x").begin());
    m.run().backward({input_of<T>(r, "g", m.variable("x").dims.count())});
    auto dx = numbers(m.gradient("x"));
    for (T& value : dx) value *= scale;
    INFO(r.title());
    // The scaled x is rounded, and softmax turns that error into a relative one; a gradient near
    // zero (where one class takes all) has lost as much to cancellation.
    const double rounded = limit<TestType> + double(std::numeric_limits<T>::epsilon()) * scale;
    CHECK(slim_test::distance(r, "y", output_of<TestType>(m)) < rounded);
    CHECK(slim_test::distance(r, "dx", dx) < 10 * rounded);
  }
}

// ---- Losses -----------------------------------------------------------------------------------

namespace {

/// The inputs of a loss as the record gives them: a number for all, or one an example.
struct loss_inputs {
  explicit loss_inputs(const record& r)
      : rows(r.integer("rows")),
        classes(r.integer("classes")),
        sparse(!r.text("kind").find("sparse")),
        weighted(r.text("weights") == "vector"),
        weight(weighted ? 1 : r.number("weights")) {
    for (double label : r.at("labels").values) labels.push_back(static_cast<int>(label));
  }
  template <class T>
  std::vector<T> one_hot() const {
    std::vector<T> hot(static_cast<std::size_t>(rows * classes));
    for (int i = 0; i < rows; ++i)
      hot[static_cast<std::size_t>(i * classes + labels[static_cast<std::size_t>(i)])] = 1;
    return hot;
  }

  int rows, classes;
  bool sparse, weighted;
  double weight;
  std::vector<int> labels;
};

template <class B>
int build_loss(B& b, const record& r, const loss_inputs& in, int x, bool fetch) {
  const int labels = in.sparse ? b.add_input("labels", {in.rows}, element::int32)
                               : b.add_input("labels", {in.rows, in.classes}, element::scalar);
  attributes smooth, mean;
  smooth.number = r.number("label_smoothing"), mean.number = in.weight;
  const int log_p = b.template add<slim::op::log_softmax>({x});
  b.g.values[log_p].fetched = fetch;
  const int rows = b.template add<slim::op::cross_entropy_rows>({log_p, labels}, smooth);
  int loss = -1;
  if (in.weighted) {
    const int weights = b.add_input("weights", {in.rows}, element::scalar);
    loss = b.template add<slim::op::weighted_mean>({rows, weights}, mean);
  } else {
    loss = b.template add<slim::op::weighted_mean>({rows}, mean);
  }
  b.g.losses.add(loss);
  return x;
}

template <class T, class Model>
void run_loss(Model& m, const record& r, const loss_inputs& in) {
  std::vector<T> logits = input_of<T>(r, "logits", long{in.rows} * in.classes);
  for (T& value : logits) value *= static_cast<T>(r.number("logits_scale"));
  std::ranges::copy(logits, m.variable("x").begin());
  const std::vector<double>& given = r.at("weights").values;
  const std::vector<T> weights(given.begin(), given.end()), hot = in.one_hot<T>();
  const slim::input_data<T> labels =
      in.sparse ? slim::input_data<T>(in.labels) : slim::input_data<T>(hot);
  if (in.weighted)
    m.run().backward({labels, weights});
  else
    m.run().backward({labels});
}

template <class Target>
void check_loss(const record& r, bool fetch) {
  using T = typename Target::scalar;
  const loss_inputs in(r);
  model_on<Target> m({in.rows, in.classes}, true, device(),
                     [&](auto& b, int x) { return build_loss(b, r, in, x, fetch); });
  INFO(r.title());
  CHECK(runs(m.program(), "softmax_cross_entropy") != fetch);
  run_loss<T>(m, r, in);
  CHECK(slim_test::distance(r, "loss", std::vector<T>{m.run().total_loss()}) < loss_limit<Target>);
  CHECK(slim_test::distance(r, "dlogits", numbers(m.gradient("x"))) < loss_limit<Target>);
}

}  // namespace

TEMPLATE_TEST_CASE("cross entropies", "", eigen_double, cpu_double, eigen_float, cpu_float) {
  const bool fetch = GENERATE(false, true);
  for (const char* kind : {"softmax_cross_entropy", "sparse_softmax_cross_entropy"})
    for (const record& r : of_kind(kind)) check_loss<TestType>(r, fetch);
}

// ---- Regularizers and activation functions ----------------------------------------------------

namespace {

template <auto R, class B>
int penalty(B& b, int w) {
  return b.template add<slim::op::regularizer<constant<R>>>({w});
}

/// By name and scales: those of the records.
template <class B>
int penalised(B& b, const record& r, int w) {
  using namespace slim;
  constexpr double l1 = 0.5, l2 = 0.25, small_l1 = 0.0005, small_l2 = 0.0004;
  using row = std::pair<int (*)(B&, int), int (*)(B&, int)>;
  static const std::map<std::string, row> table{
      {"l1", {&penalty<l1_regularizer{l1}, B>, &penalty<l1_regularizer{small_l1}, B>}},
      {"l2", {&penalty<l2_regularizer{l2}, B>, &penalty<l2_regularizer{small_l2}, B>}},
      {"l1_l2",
       {&penalty<l1_l2_regularizer{l1, l2}, B>,
        &penalty<l1_l2_regularizer{small_l1, small_l2}, B>}},
      {"sum",
       {&penalty<sum_regularizer{l1_regularizer{l1}, l2_regularizer{l2}}, B>,
        &penalty<sum_regularizer{l1_regularizer{small_l1}, l2_regularizer{small_l2}}, B>}}};
  const row& both = table.at(r.text("regularizer"));
  const bool large = r.number("scale_l1") == l1;
  REQUIRE(r.number("scale_l1") == (large ? l1 : small_l1));
  REQUIRE(r.number("scale_l2") == (large ? l2 : small_l2));
  return (large ? both.first : both.second)(b, w);
}

}  // namespace

TEMPLATE_TEST_CASE("regularizers", "", eigen_double, cpu_double, eigen_float, cpu_float) {
  using T = typename TestType::scalar;
  for (const record& r : of_kind("regularizer")) {
    model_on<TestType> m(dims_of(r.extents("w_dims")), true, device(), [&](auto& b, int w) {
      b.g.regularizers.add(penalised(b, r, w));
      return w;
    });
    load<T>(m, r, "x", "w");
    // A gradient from elsewhere arrives too: the penalty's is added to it.
    const auto g = input_of<T>(r, "g", m.variable("x").dims.count());
    m.run().backward({g});
    INFO(r.title());
    const auto losses = m.run().regularization_losses();
    REQUIRE(losses.size() == 1);
    CHECK(slim_test::distance(r, "value", std::vector<T>{losses[0]}) < limit<TestType>);
    const auto dw = numbers(m.gradient("x"));
    double difference = 0;
    for (std::size_t i = 0; i < dw.size(); ++i)
      difference = std::max(difference, std::abs(double(dw[i]) - g[i] - r.at("dw").values[i]));
    CHECK(difference < limit<TestType>);
    m.run().backward({std::vector<T>(g.size())});
    CHECK(slim_test::distance(r, "dw", numbers(m.gradient("x"))) < limit<TestType>);
  }
}

namespace {

/// The largest difference of an element, relative where the answer is above 1.
template <class T>
double largest_difference(const std::vector<double>& want, const std::vector<T>& got) {
  REQUIRE(want.size() == got.size());
  double worst = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double d = std::abs(want[i] - double(got[i])) / std::max(1.0, std::abs(want[i]));
    worst = d <= worst ? worst : d;  // keeps a NaN
  }
  return worst;
}

}  // namespace

TEMPLATE_TEST_CASE("activation functions", "", eigen_double, cpu_double, eigen_float, cpu_float) {
  using T = typename TestType::scalar;
  const std::set<std::string> no_counterpart{"softsign", "selu", "leaky_relu"};
  std::string skipped;
  for (const record& r : of_kind("activation")) {
    const std::string name = r.text("activation");
    if (no_counterpart.contains(name)) {
      skipped += " " + name;
      continue;
    }
    const std::vector<double>& x = r.at("x").values;
    model_on<TestType> m({static_cast<int>(x.size())}, true, device(),
                         [&](auto& b, int from) { return activated(b, name, from); });
    std::ranges::transform(x, m.variable("x").begin(), [](double v) { return T(v); });
    m.run().backward({std::vector<T>(x.size(), T(1))});
    INFO(r.title());
    CHECK(largest_difference(r.at("y").values, output_of<TestType>(m)) < limit<TestType>);
    CHECK(largest_difference(r.at("dx").values, numbers(m.gradient("x"))) < limit<TestType>);
  }
  WARN("activations that slim does not have, skipped:" << skipped);
  CHECK(skipped == " softsign selu leaky_relu");
}
