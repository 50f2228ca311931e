// The layers of tests/data/layers2.bin against the answers of the real TF-Slim there, the CPU's
// kernels against the reference, and what the layers make of their options.

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "dynamic.hpp"
#include "golden.hpp"
#include "lowered.hpp"

namespace {

using namespace slim;
using slim_test::dynamic_model;
using slim_test::record;

using eigen_double = target<double, backend::eigen>;
using eigen_float = target<float, backend::eigen>;
using cpu_double = target<double, backend::cpu>;
using cpu_float = target<float, backend::cpu>;

template <class Target>
using model_on = dynamic_model<typename Target::scalar, typename Target::backend>;

/// Agreement asked of the target's numbers, in the 2-norm.
template <class Target>
constexpr double limit = std::is_same_v<typename Target::scalar, double> ? 1e-12 : 1e-5;
/// The same where the record itself was computed in float32.
constexpr double float_limit = 1e-5;

cpu_device& device(int threads) {
  static cpu_device one(1), two(2), five(5);
  return threads == 1 ? one : threads == 2 ? two : five;
}

const std::vector<record>& records() {
  static const std::vector<record> all = slim_test::read(slim_test::data_path("layers2.bin"));
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
std::vector<T> numbers_named(const std::string& name, long count) {
  const auto u = slim_test::uniform(name, static_cast<std::size_t>(count));
  return {u.begin(), u.end()};
}
template <class T>
std::vector<std::remove_const_t<T>> copied(const tensor_view<T>& v) {
  return {v.begin(), v.end()};
}

/// Fills every variable with uniform(<id>/<leaf>), and runs backward from sum(y * g).
template <class T, class Model>
void fill_and_run(Model& m, const std::string& id) {
  const program& p = m.program();
  for (int v = 0; v < p.variables.size(); ++v) {
    const std::string leaf(p.variables[v].leaf);
    const auto view = m.run().variable(v);
    std::ranges::copy(numbers_named<T>(id + "/" + leaf, view.dims.count()), view.begin());
  }
  m.run().backward({numbers_named<T>(id + "/g", p.tensors[p.output].dims.count())});
}

/// Builds a record's layer for its input.
template <class Target>
using build_function = std::function<int(builder<Target>&, const record&, int)>;

template <class Target>
void check_record(const record& r, const build_function<Target>& build, double most) {
  using T = typename Target::scalar;
  INFO(r.title());
  model_on<Target> m(dims_of(r.extents("x_dims")), true, device(2),
                     [&](auto& b, int x) { return build(b, r, x); });
  fill_and_run<T>(m, r.text("id"));
  const program& p = m.program();
  if (r.has("y_dims")) CHECK(p.tensors[p.output].dims == dims_of(r.extents("y_dims")));
  CHECK(slim_test::distance(r, "y", copied(m.run().value(p.output))) < most);
  for (int v = 0; v < p.variables.size(); ++v) {
    const std::string leaf(p.variables[v].leaf);
    INFO("gradient of " << leaf);
    if (leaf != "x") CHECK(m.run().variable(v).dims == dims_of(r.extents(leaf + "_dims")));
    const std::string stored = leaf == "x" ? "dx" : leaf;
    CHECK(slim_test::distance(r, stored, copied(m.run().gradient(v))) < most);
  }
}

// ---- Layers with the options of a record ------------------------------------------------------

/// What the layers make of their options, made of a record at run time.
window window_of_record(const record& r) {
  window w;
  w.kernel_h = r.integer("kernel_h"), w.kernel_w = r.integer("kernel_w");
  w.stride_h = r.integer("stride_h"), w.stride_w = r.integer("stride_w");
  w.rate_h = w.rate_w = r.integer("rate");
  w.pad = r.text("padding") == "SAME" ? padding::same : padding::valid;
  return w;
}

template <class B>
int variable(B& b, const char* leaf, const shape& dims) {
  using T = typename B::target_type::scalar;
  return b.add_variable(leaf, dims, &variable_hooks_of<T, constant<zeros{}>>, true);
}

template <class B>
int finished(B& b, const record& r, int y, int channels) {
  if (r.integer("bias") == 1)
    y = b.template add<op::bias_add>({y, variable(b, "biases", {channels})});
  const std::string& name = r.text("activation");
  if (name == "relu") return b.template add<op::activation<constant<relu>>>({y});
  if (name == "sigmoid") return b.template add<op::activation<constant<sigmoid>>>({y});
  if (name == "elu") return b.template add<op::activation<constant<elu>>>({y});
  REQUIRE(name == "none");
  return y;
}

template <class B>
int separable(B& b, const record& r, int x) {
  attributes a;
  a.win = window_of_record(r);
  const int c = b.g.values[x].dims[3], multiplier = r.integer("multiplier");
  const int outputs = r.integer("outputs");
  b.enter("layer");
  const int w =
      variable(b, "depthwise_weights", {a.win.kernel_h, a.win.kernel_w, c, multiplier});
  int y = b.template add<op::depthwise_convolution>({x, w}, a);
  if (outputs == 0) return finished(b, r, y, c * multiplier);
  const int p = variable(b, "pointwise_weights", {1, 1, c * multiplier, outputs});
  y = b.template add<op::convolution>({y, p});
  return finished(b, r, y, outputs);
}

template <class B>
int in_plane(B& b, const record& r, int x) {
  attributes a, copies;
  a.win = window_of_record(r);
  copies.integer = b.g.values[x].dims[3];
  b.enter("layer");
  const int one = variable(b, "weights", {a.win.kernel_h, a.win.kernel_w, 1, 1});
  const int w = b.template add<op::tile_channels>({one}, copies);
  return finished(b, r, b.template add<op::depthwise_convolution>({x, w}, a), copies.integer);
}

template <class B>
int transposed(B& b, const record& r, int x) {
  attributes a;
  const window w = window_of_record(r);
  const shape in = b.g.values[x].dims;
  const int k = r.integer("outputs");
  a.dims = {in[0], transposed_extent(in[1], w.kernel_h, w.stride_h, w.pad),
            transposed_extent(in[2], w.kernel_w, w.stride_w, w.pad), k};
  a.win = placed(w, a.dims[1], a.dims[2]);
  b.enter("layer");
  const int weights = variable(b, "weights", {w.kernel_h, w.kernel_w, k, in[3]});
  return finished(b, r, b.template add<op::convolution_transpose>({x, weights}, a), k);
}

/// The numbers of a record, which are part of the op's type.
template <class B>
int responding(B& b, const record& r, int x) {
  using op::response_options;
  constexpr response_options cases[] = {
      {5, 1, 1, 0.5}, {4, 1, 0.001 / 9, 0.75}, {5, 2, 0.5, 0.75}, {1, 1, 0.3, 1.3}};
  const int number = r.integer("number");
  const response_options& o = cases[number];
  REQUIRE(o.depth_radius == r.integer("depth_radius"));
  REQUIRE(o.bias == r.number("bias"));
  REQUIRE(o.alpha == Approx(r.number("alpha")));
  REQUIRE(o.beta == r.number("beta"));
  using op::local_response_normalization;
  switch (number) {
    case 0: return b.template add<local_response_normalization<constant<cases[0]>>>({x});
    case 1: return b.template add<local_response_normalization<constant<cases[1]>>>({x});
    case 2: return b.template add<local_response_normalization<constant<cases[2]>>>({x});
    default: return b.template add<local_response_normalization<constant<cases[3]>>>({x});
  }
}

template <class Target>
void check_all(const std::string& kind, const build_function<Target>& build,
               double most = limit<Target>) {
  for (const record& r : of_kind(kind)) check_record<Target>(r, build, most);
}

}  // namespace

TEST_CASE("every kind of record of layers2.bin has a test") {
  const std::set<std::string> tested{"separable_conv2d", "conv2d_in_plane",  "conv2d_transpose",
                                     "unit_norm",        "one_hot_encoding",
                                     "local_response_normalization"};
  std::set<std::string> stored;
  for (const record& r : records()) stored.insert(r.text("kind"));
  CHECK(stored == tested);
}

TEMPLATE_TEST_CASE("separable_conv2d", "", eigen_double, cpu_double, eigen_float, cpu_float) {
  check_all<TestType>("separable_conv2d",
                      [](auto& b, const record& r, int x) { return separable(b, r, x); });
}
TEMPLATE_TEST_CASE("conv2d_in_plane", "", eigen_double, cpu_double, eigen_float, cpu_float) {
  check_all<TestType>("conv2d_in_plane",
                      [](auto& b, const record& r, int x) { return in_plane(b, r, x); });
}
TEMPLATE_TEST_CASE("conv2d_transpose", "", eigen_double, cpu_double, eigen_float, cpu_float) {
  check_all<TestType>("conv2d_transpose",
                      [](auto& b, const record& r, int x) { return transposed(b, r, x); });
}
TEMPLATE_TEST_CASE("unit_norm", "", eigen_double, cpu_double, eigen_float, cpu_float) {
  check_all<TestType>("unit_norm", [](auto& b, const record& r, int x) {
    attributes a;
    a.integer = r.integer("dim"), a.number = r.number("epsilon");
    return b.template add<op::unit_norm>({x}, a);
  });
}
TEMPLATE_TEST_CASE("local_response_normalization", "", eigen_double, cpu_double, eigen_float,
                   cpu_float) {
  check_all<TestType>(
      "local_response_normalization",
      [](auto& b, const record& r, int x) { return responding(b, r, x); }, float_limit);
}

TEMPLATE_TEST_CASE("one_hot_encoding", "", eigen_double, cpu_double, eigen_float, cpu_float) {
  using T = typename TestType::scalar;
  for (const record& r : of_kind("one_hot_encoding")) {
    attributes a;
    a.integer = r.integer("classes"), a.number = r.number("on"), a.second = r.number("off");
    const int n = a.integer + 2;
    model_on<TestType> m({n, 1}, false, device(2), [&](auto& b, int) {
      return b.template add<op::one_hot>({b.add_input("labels", {n}, element::int32)}, a);
    });
    std::vector<int> labels;
    for (int label = -1; label <= a.integer; ++label) labels.push_back(label);
    INFO(r.title());
    const std::vector<T> unused(static_cast<std::size_t>(n));
    CHECK(slim_test::distance(r, "y", copied(m.run().forward({unused, labels}))) < 1e-7);
    CHECK_FALSE(m.graph().values[m.graph().output].differentiable);
  }
}

// ---- The CPU's kernels against the reference --------------------------------------------------

namespace {

/// A network over x as the tests below compare it.
template <class Backend, class T>
using build_of = int (*)(builder<target<T, Backend>>&, int);

/// The output and all gradients of a network, one after another.
template <class T, class Backend>
std::vector<std::vector<T>> answers(const shape& x, build_of<Backend, T> build, int threads) {
  dynamic_model<T, Backend> m(x, true, device(threads), build);
  fill_and_run<T>(m, "answers");
  std::vector<std::vector<T>> all{copied(m.run().value(m.program().output))};
  for (int v = 0; v < m.program().variables.size(); ++v)
    all.push_back(copied(m.run().gradient(v)));
  return all;
}

template <class T>
double distance(const std::vector<T>& want, const std::vector<T>& got) {
  REQUIRE(want.size() == got.size());
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    difference += std::pow(double(want[i]) - double(got[i]), 2);
    norm += double(want[i]) * double(want[i]);
  }
  return std::sqrt(difference / norm);
}

template <class T, class Layer>
void compare(const shape& x) {
  INFO(x[0] << "x" << x[1] << "x" << x[2] << "x" << x[3]);
  const auto with = []<class B>(B& b, int in) {
    return Layer::template lower<no_context>(b, in);
  };
  const auto want = answers<T, backend::eigen>(x, with, 2);
  const auto got = answers<T, backend::cpu>(x, with, 1);
  REQUIRE(want.size() == got.size());
  for (std::size_t i = 0; i < want.size(); ++i)
    CHECK(distance(want[i], got[i]) < (std::is_same_v<T, double> ? 1e-13 : 2e-6));
  for (const int threads : {2, 5}) {
    const auto again = answers<T, backend::cpu>(x, with, threads);
    for (std::size_t i = 0; i < got.size(); ++i)
      CHECK(std::memcmp(got[i].data(), again[i].data(), got[i].size() * sizeof(T)) == 0);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("CPU kernels of these layers are the reference, with any number of threads", "",
                   float, double) {
  constexpr auto linear = activation_fn{none};
  using depthwise = separable_conv2d<none, kernel_size{3}, linear>;
  for (const int c : {1, 7, 16, 33, 64, 100}) {
    compare<TestType, depthwise>({1, 9, 7, c});
    compare<TestType, depthwise>({3, 6, 11, c});
  }
  compare<TestType, separable_conv2d<none, kernel_size{3}, stride{2}, linear>>({2, 13, 10, 67});
  compare<TestType, separable_conv2d<none, kernel_size{2, 5}, rate{3, 2}, linear>>({1, 9, 12, 35});
  compare<TestType,
          separable_conv2d<none, kernel_size{3}, depth_multiplier{3}, padding::valid, linear>>(
      {2, 8, 9, 23});
  compare<TestType, separable_conv2d<none, kernel_size{1}, stride{3}, linear>>({1, 7, 8, 65});
  compare<TestType, conv2d_in_plane<kernel_size{5, 3}, linear>>({2, 9, 8, 37});
  compare<TestType, conv2d_transpose<17, kernel_size{3}, stride{2}, linear>>({2, 5, 4, 19});
  compare<TestType, unit_norm<dim{3}>>({2, 3, 4, 100});
  compare<TestType, unit_norm<dim{1}>>({1, 9, 4, 7});
  compare<TestType, local_response_normalization<>>({3, 4, 5, 37});
  compare<TestType, local_response_normalization<depth_radius{2}, beta{0.6}>>({1, 64, 64, 21});
}

// ---- Names and shapes -------------------------------------------------------------------------

namespace {

struct separated : net<"n",
  separable_conv2d<8, kernel_size{3}, depth_multiplier{2}, stride{2},
                   weights_regularizer{l2_regularizer{0.1}},
                   pointwise_initializer{truncated_normal{0.0, 0.1}}>,
  separable_conv2d<none, kernel_size{3}, depth_multiplier{3}>,
  conv2d_in_plane<kernel_size{5, 1}, padding::valid>,
  conv2d_transpose<4, kernel_size{3}, stride{2}, padding::valid>,
  local_response_normalization<scope{"norm1"}>, unit_norm<dim{3}>> {};
using separated_t = network<separated, input<2, 15, 9, 3>>;
static_assert(separated_t::end_point<"n/SeparableConv2d">() == shape{2, 8, 5, 8});
static_assert(separated_t::end_point<"n/SeparableConv2d_1">() == shape{2, 8, 5, 24});
static_assert(separated_t::end_point<"n/ConvInPlane">() == shape{2, 4, 5, 24});
static_assert(separated_t::end_point<"n/Conv2d_transpose">() == shape{2, 9, 11, 4});
static_assert(separated_t::end_point<"n/norm1">() == shape{2, 9, 11, 4});
static_assert(separated_t::end_point<"n/UnitNorm">() == shape{2, 9, 11, 4});
static_assert(separated_t::variable_shape<"n/SeparableConv2d/depthwise_weights">() ==
              shape{3, 3, 3, 2});
static_assert(separated_t::variable_shape<"n/SeparableConv2d/pointwise_weights">() ==
              shape{1, 1, 6, 8});
static_assert(separated_t::variable_shape<"n/SeparableConv2d_1/biases">() == shape{24});
static_assert(separated_t::variable_shape<"n/ConvInPlane/weights">() == shape{5, 1, 1, 1});
static_assert(separated_t::variable_shape<"n/Conv2d_transpose/weights">() == shape{3, 3, 4, 24});
static_assert(slim_test::penalties<separated_t> == 2);

struct encoded : net<"n", one_hot_encoding<10>, fully_connected<3>> {};
static_assert(network<encoded, labels<4>>::end_point<"n/OneHotEncoding">() == shape{4, 10});

struct unnamed : net<"n", repeat<2, separable_conv2d<3, kernel_size{3}>>,
  stack<ops::conv2d_transpose, "up", args<2, kernel_size{3}>, args<3, kernel_size{3}, stride{2}>>,
  arg_scope<on<ops::separable_conv2d, ops::conv2d_in_plane>, with<biases_initializer{none}>,
            separable_conv2d<3, kernel_size{3}, scope{"last"}>>> {};

}  // namespace

TEST_CASE("names of these layers' variables are TF-Slim's") {
  using names = std::vector<std::string>;
  CHECK(slim_test::variable_names<separated_t>() ==
        names{"n/SeparableConv2d/depthwise_weights", "n/SeparableConv2d/pointwise_weights",
              "n/SeparableConv2d/biases", "n/SeparableConv2d_1/depthwise_weights",
              "n/SeparableConv2d_1/biases", "n/ConvInPlane/weights", "n/ConvInPlane/biases",
              "n/Conv2d_transpose/weights", "n/Conv2d_transpose/biases"});
  CHECK(slim_test::variable_names<network<unnamed, input<1, 4, 4, 3>>>() ==
        names{"n/Repeat/separable_convolution2d_1/depthwise_weights",
              "n/Repeat/separable_convolution2d_1/pointwise_weights",
              "n/Repeat/separable_convolution2d_1/biases",
              "n/Repeat/separable_convolution2d_2/depthwise_weights",
              "n/Repeat/separable_convolution2d_2/pointwise_weights",
              "n/Repeat/separable_convolution2d_2/biases", "n/up/up_1/weights", "n/up/up_1/biases",
              "n/up/up_2/weights", "n/up/up_2/biases", "n/last/depthwise_weights",
              "n/last/pointwise_weights"});
}

TEST_CASE("a separable convolution's kernels have initializers of their own") {
  CHECK(slim_test::initializer_of<separated_t>(0) != slim_test::initializer_of<separated_t>(1));
  using same = network<unnamed, input<1, 4, 4, 3>>;
  CHECK(slim_test::initializer_of<same>(0) == slim_test::initializer_of<same>(1));
}
