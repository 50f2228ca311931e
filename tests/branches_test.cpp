// Graphs that branch, as models: against the real TF-Slim (tests/data/graphs.bin), and what each of
// the means in branches.hpp does by itself.
#include <catch2/catch.hpp>

#include <algorithm>
#include <string>
#include <vector>

#include "dynamic.hpp"
#include "golden.hpp"
#include "lowered.hpp"

namespace {

using namespace slim;
using slim_test::record;

/// sum(y * g) of the network's output y and the input "g".
struct dot_tag {
  static constexpr std::string_view name = "dot";
  static constexpr std::string_view options[] = {"logits"};

  template <class O, class B>
  static constexpr void build(B& b) {
    const int y = loss_logits<O>(b);
    if (b.failed()) return;
    const int g = loss_input(b, "g", "scalar", b.g.values[y].dims);
    if (!b.failed()) b.g.losses.add(b.template add<slim_test::dot_loss>({y, g}));
  }
};
struct dot : loss<dot_tag> {};

cpu_device& two_threads() {
  static cpu_device d(2);
  return d;
}

template <class View>
auto numbers(const View& v) {
  return std::vector<std::remove_cvref_t<decltype(v[0])>>(v.begin(), v.end());
}

// ---- TF-Slim's answers -------------------------------------------------------------------------

const record& graph_named(const std::string& name) {
  static const std::vector<record> all = slim_test::read(slim_test::data_path("graphs.bin"));
  return slim_test::find(all, {{"graph", name}});
}

template <class T>
std::vector<T> input_of(const record& r, const std::string& leaf, long count) {
  const auto u = slim_test::uniform(r.text("id") + "/" + leaf, std::size_t(count));
  return {u.begin(), u.end()};
}
/// The input that the record says the extents of.
template <class T>
std::vector<T> input_of(const record& r, const std::string& leaf) {
  long count = 1;
  for (const int extent : r.extents(leaf + "_dims")) count *= extent;
  return input_of<T>(r, leaf, count);
}
/// g, which has y's shape.
template <class T>
std::vector<T> direction_of(const record& r) {
  return input_of<T>(r, "g", long(r.at("y").values.size()));
}

/// The values the record's variables had: tests/oracle/README.md.
template <class Model>
void load(Model& m, const record& r) {
  using T = typename Model::element_type;
  for (int v = 0; v < Model::variable_count; ++v) {
    const std::string name = m.variable_name(v), full = r.text("id") + "/" + name;
    const auto view = m.variable(v);
    const std::vector<int> dims(view.dims.extents, view.dims.extents + view.dims.rank);
    if (name.ends_with("/gamma") || name.ends_with("/moving_variance")) {
      const auto u = slim_test::uniform(full, std::size_t(view.dims.count()));
      std::ranges::transform(u, view.begin(), [](double x) { return T(1 + x / 2); });
    } else {
      const auto values = slim_test::variable_value(full, dims);
      std::ranges::transform(values, view.begin(), [](float x) { return T(x); });
    }
  }
}

/// How far answers may be off, in the 2-norm.
struct limits {
  double value, gradient;
};
template <class T>
constexpr limits near = std::is_same_v<T, double> ? limits{1e-10, 1e-9} : limits{1e-5, 1e-4};
/// Batch norm divides by deviations, which float rounds.
template <class T>
constexpr limits normalized = std::is_same_v<T, double> ? limits{1e-10, 1e-8} : limits{2e-5, 2e-3};

template <class Model>
int variable_number(Model& m, const std::string& name) {
  for (int v = 0; v < Model::variable_count; ++v)
    if (m.variable_name(v) == name) return v;
  FAIL("there is no variable " + name);
  return -1;
}

/// Every array of the record that starts with `prefix` is near what `of` says of that variable;
/// returns how many there are.
template <class Model, class F>
int check_each(Model& m, const record& r, const std::string& prefix, double limit, F of) {
  int found = 0;
  for (const auto& [name, want] : r.arrays) {
    if (!name.starts_with(prefix)) continue;
    INFO(name);
    const int v = variable_number(m, name.substr(prefix.size()));
    CHECK(slim_test::distance(r, name, numbers(of(v))) < limit);
    ++found;
  }
  return found;
}

/// After a backward pass: the gradients of all trainable variables, and the moving averages after
/// one update.
template <class Model>
void check_variables(Model& m, const record& r, const limits& limit) {
  CHECK(long(Model::variable_count) == r.integer("variables"));
  int trained = 0;
  for (int v = 0; v < Model::variable_count; ++v) trained += m.trainable(v);
  CHECK(check_each(m, r, "gradients/", limit.gradient, [&](int v) { return m.gradient(v); }) ==
        trained);
  m.run_update_ops();
  CHECK(check_each(m, r, "updated/", limit.value, [&](int v) { return m.variable(v); }) ==
        long(Model::variable_count) - trained);
}

template <class View>
void check_value(const record& r, const std::string& name, const View& got, double limit) {
  INFO(name);
  CHECK(slim_test::distance(r, name, numbers(got)) < limit);
}

/// The normalizer of the graphs: unfused, so its variances are biased.
template <auto... Param>
using normalized_by =
    with<normalizer_fn{ops::batch_norm{}}, normalizer_params{with<fused{false}, Param...>{}}>;

struct inception_block : arg_scope<on<ops::conv2d>, normalized_by<decay{0.9}>, net<"Mixed",
  concat<
    variable_scope<"Branch_0", conv2d<4, kernel_size{1}, scope{"Conv2d_0a_1x1"}>>,
    variable_scope<"Branch_1", conv2d<3, kernel_size{1}, scope{"Conv2d_0a_1x1"}>,
                               conv2d<6, kernel_size{3}, scope{"Conv2d_0b_3x3"}>>,
    variable_scope<"Branch_2", conv2d<2, kernel_size{1}, scope{"Conv2d_0a_1x1"}>,
                               conv2d<3, kernel_size{3}, scope{"Conv2d_0b_3x3"}>>,
    variable_scope<"Branch_3",
      max_pool2d<kernel_size{3}, stride{1}, padding::same, scope{"MaxPool_0a_3x3"}>,
      conv2d<2, kernel_size{1}, scope{"Conv2d_0b_1x1"}>>>>> {};

template <int Stride>
using bottleneck = sequence<conv2d<4, kernel_size{1}, scope{"conv1"}>,
                            conv2d<4, kernel_size{3}, stride{Stride}, scope{"conv2"}>,
                            conv2d<12, kernel_size{1}, activation_fn{none}, scope{"conv3"}>>;
struct residual_units
    : arg_scope<on<ops::conv2d>, normalized_by<decay{0.9}, epsilon{1e-5}, scale{true}>, net<"",
        scoped_end_point<"unit_1",
          sum<conv2d<12, kernel_size{1}, stride{2}, activation_fn{none}, scope{"shortcut"}>,
              bottleneck<2>>,
          apply<relu>>,
        scoped_end_point<"unit_2", sum<identity, bottleneck<1>>, apply<relu>>>> {};

struct unet : net<"unet",
  conv2d<4, kernel_size{3}, scope{"down1"}>, max_pool2d<kernel_size{2}, scope{"pool1"}>,
  conv2d<6, kernel_size{3}, scope{"down2"}>, max_pool2d<kernel_size{2}, scope{"pool2"}>,
  conv2d<8, kernel_size{3}, scope{"bottom"}>,
  conv2d_transpose<6, kernel_size{2}, stride{2}, scope{"up2"}>,
  concat<identity, from<"down2">>, conv2d<6, kernel_size{3}, scope{"join2"}>,
  conv2d_transpose<4, kernel_size{3}, stride{2}, scope{"up1"}>,
  concat<identity, from<"down1">>, conv2d<4, kernel_size{3}, scope{"join1"}>,
  conv2d<3, kernel_size{1}, activation_fn{none}, scope{"logits"}>> {};

struct tower : arg_scope<on<ops::conv2d, ops::fully_connected>,
                         with<weights_regularizer{l2_regularizer{0.1}}>,
  variable_scope<"tower",
    conv2d<4, kernel_size{3}, scope{"conv1"}>, max_pool2d<kernel_size{2}, scope{"pool1"}>,
    flatten<>, fully_connected<5, activation_fn{none}, scope{"fc2"}>>> {};
struct towers : net<"", sum<end_point<"first", tower>, sequence<from<"x2">, reuse<tower>>>> {};

struct two_heads : net<"",
  arg_scope<on<ops::conv2d, ops::fully_connected>,
            with<weights_regularizer{l2_regularizer{0.01}}>,
    variable_scope<"shared",
      conv2d<4, kernel_size{3}, scope{"conv1"}>, max_pool2d<kernel_size{2}, scope{"pool1"}>,
      flatten<>, fully_connected<8, scope{"fc2"}>>,
    heads<fully_connected<3, activation_fn{none}, scope{"class"}>,
          fully_connected<2, activation_fn{none}, scope{"position"}>>>> {};

/// A type and a backend.
template <class T, class Backend>
struct on_backend {
  using type = T;
  template <class Net, class... Part>
  using model_of = model<Net, Part..., slim::scalar<T>, Backend>;
};
using eigen_double = on_backend<double, backend::eigen>;
using cpu_double = on_backend<double, backend::cpu>;
using cpu_float = on_backend<float, backend::cpu>;

}  // namespace

TEMPLATE_TEST_CASE("an Inception block answers as TF-Slim's", "", eigen_double, cpu_double,
                   cpu_float) {
  using T = typename TestType::type;
  const record& r = graph_named("inception_block");
  typename TestType::template model_of<inception_block, input<2, 6, 7, 5>,
                                       named_input<"g", float, 2, 6, 7, 15>, dot>
      m(two_threads());
  load(m, r);
  m.backward(input_of<T>(r, "x"), direction_of<T>(r));
  check_value(r, "y", m.output(), normalized<T>.value);
  check_variables(m, r, normalized<T>);
}

TEMPLATE_TEST_CASE("residual units answer as TF-Slim's", "", eigen_double, cpu_double, cpu_float) {
  using T = typename TestType::type;
  const record& r = graph_named("residual_unit");
  typename TestType::template model_of<residual_units, input<2, 5, 6, 8>,
                                       named_input<"g", float, 2, 3, 3, 12>, dot, fetch<"unit_1">>
      m(two_threads());
  load(m, r);
  m.backward(input_of<T>(r, "x"), direction_of<T>(r));
  check_value(r, "y", m.output(), normalized<T>.value);
  check_value(r, "unit_1", m.template fetched<"unit_1">(), normalized<T>.value);
  check_variables(m, r, normalized<T>);
}

TEMPLATE_TEST_CASE("a U-Net answers as TF-Slim's", "", eigen_double, cpu_double, cpu_float) {
  using T = typename TestType::type;
  const record& r = graph_named("unet");
  typename TestType::template model_of<unet, input<2, 8, 8, 2>,
                                       named_input<"g", float, 2, 8, 8, 3>, dot,
                                       fetch<"unet/bottom", "unet/up2", "unet/up1">>
      m(two_threads());
  load(m, r);
  m.backward(input_of<T>(r, "x"), direction_of<T>(r));
  check_value(r, "y", m.output(), near<T>.value);
  check_value(r, "bottom", m.template fetched<"unet/bottom">(), near<T>.value);
  check_value(r, "up2", m.template fetched<"unet/up2">(), near<T>.value);
  check_value(r, "up1", m.template fetched<"unet/up1">(), near<T>.value);
  check_variables(m, r, near<T>);
}

TEMPLATE_TEST_CASE("towers that share variables answer as TF-Slim's", "", eigen_double, cpu_double,
                   cpu_float) {
  using T = typename TestType::type;
  const record& r = graph_named("towers");
  typename TestType::template model_of<towers, named_input<"x1", float, 2, 6, 6, 3>,
                                       named_input<"x2", float, 2, 6, 6, 3>,
                                       named_input<"g", float, 2, 5>, dot, fetch<"first">>
      m(two_threads());
  load(m, r);
  m.backward(input_of<T>(r, "x1"), input_of<T>(r, "x2"), direction_of<T>(r));
  check_value(r, "y", m.output(), near<T>.value);
  check_value(r, "first", m.template fetched<"first">(), near<T>.value);
  REQUIRE(get_regularization_losses(m).size() == 2);  // a penalty for each variable, not each use
  const double penalty = double(m.regularization_losses()[0]) + double(m.regularization_losses()[1]);
  CHECK(penalty == Approx(r.at("regularization_loss").values[0]).epsilon(near<T>.value));
  check_variables(m, r, near<T>);
}

TEMPLATE_TEST_CASE("two heads answer as TF-Slim's", "", eigen_double, cpu_double, cpu_float) {
  using T = typename TestType::type;
  // TF-Slim's mean_squared_error computes in float32, whatever it is given.
  constexpr limits limit = std::is_same_v<T, double> ? limits{1e-10, 1e-6} : limits{1e-5, 1e-4};
  const record& r = graph_named("two_heads");
  typename TestType::template model_of<
      two_heads, input<4, 6, 6, 2>, one_hot_labels<4, 3>, named_input<"targets", float, 4, 2>,
      softmax_cross_entropy<logits{"class"}>,
      mean_squared_error<predictions{"position"}, labels_from{"targets"}>>
      m(two_threads());
  load(m, r);
  const std::vector<T> labels{1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1};  // 0, 2, 1, 2
  m.backward(input_of<T>(r, "x"), labels, input_of<T>(r, "targets"));
  check_value(r, "y", m.output(), limit.value);
  check_value(r, "y", m.template fetched<"class">(), limit.value);  // heads are kept
  check_value(r, "position", m.template fetched<"position">(), limit.value);
  const auto want = [&](const char* name) {
    return Approx(r.at(name).values[0]).epsilon(limit.gradient);
  };
  REQUIRE(get_losses(m).size() == 2);
  CHECK(double(get_losses(m)[0]) == want("class_loss"));
  CHECK(double(get_losses(m)[1]) == want("position_loss"));
  CHECK(double(get_total_loss(m) - get_total_loss(m, false)) == want("regularization_loss"));
  CHECK(double(get_total_loss(m)) == want("total_loss"));
  check_variables(m, r, limit);
}

// ---- Nested nets, inputs by name, skips --------------------------------------------------------

namespace {

std::vector<float> uniform(const char* name, std::size_t count) {
  const auto u = slim_test::uniform(name, count);
  return {u.begin(), u.end()};
}

struct inner : net<"inner", conv2d<4, kernel_size{3}, scope{"conv1"}>,
                            conv2d<4, kernel_size{3}, scope{"conv2"}>> {};
/// Its from<> names an end point in full, from the open scope, and from inside another net.
struct outer : net<"outer",
  inner,
  sum<identity, from<"outer/inner/conv1">>,
  sum<identity, from<"inner/conv1">>,
  variable_scope<"deeper", sum<identity, from<"inner/conv2">>>,
  conv2d<2, kernel_size{1}, activation_fn{none}, scope{"conv3"}>> {};
using outer_n = network<outer, input<2, 5, 5, 3>>;
static_assert(outer_n::output_shape == shape{2, 5, 5, 2});
static_assert(outer_n::variable_shape<"outer/inner/conv2/weights">() == shape{3, 3, 4, 4});
static_assert(outer_n::variable_count == 6);
static_assert(slim_test::nodes_of<outer_n>("add") == 3);

/// The sum of conv3 and, over two layers, conv1.
struct long_skip : net<"skip",
  conv2d<4, kernel_size{3}, scope{"conv1"}>, conv2d<6, kernel_size{3}, scope{"conv2"}>,
  conv2d<4, kernel_size{3}, scope{"conv3"}>, sum<identity, from<"conv1">>> {};

struct two_inputs : net<"n",
  concat<fully_connected<2, scope{"a"}>,
         sequence<from<"second">, fully_connected<3, scope{"b"}>>>> {};
template <class Layer, int K>
using one_input = model<net<"n", Layer>, named_input<"second", float, 3, K>>;

}  // namespace

TEST_CASE("a skip over several layers adds what was there") {
  model<long_skip, input<2, 5, 5, 3>, fetch_all> m(two_threads());
  m.initialize(2);
  const auto y = numbers(m.forward(uniform("branches/x", 2 * 5 * 5 * 3)));
  const auto conv1 = numbers(m.fetched<"skip/conv1">()), conv3 = numbers(m.fetched<"skip/conv3">());
  REQUIRE(y.size() == conv1.size());
  for (std::size_t i = 0; i < y.size(); ++i) REQUIRE(y[i] == conv3[i] + conv1[i]);
}

TEST_CASE("from<> takes another input by its name") {
  model<two_inputs, named_input<"first", float, 3, 4>, named_input<"second", float, 3, 5>> m(
      two_threads());
  one_input<fully_connected<2, scope{"a"}>, 4> a(two_threads());
  one_input<fully_connected<3, scope{"b"}>, 5> b(two_threads());
  m.initialize(7), a.initialize(7), b.initialize(7);  // values follow from names
  const auto first = uniform("branches/first", 12), second = uniform("branches/second", 15);
  const auto y = numbers(m.forward(first, second));
  const auto left = numbers(a.forward(first)), right = numbers(b.forward(second));
  REQUIRE(y.size() == 15);
  for (std::size_t row = 0; row < 3; ++row)
    for (std::size_t k = 0; k < 5; ++k)
      CHECK(y[5 * row + k] == Approx(k < 2 ? left[2 * row + k] : right[3 * row + k - 2]));
}

TEST_CASE("an input that does not fit is named") {
  model<two_inputs, named_input<"first", float, 3, 4>, named_input<"second", float, 3, 5>> m(
      two_threads());
  m.initialize(1);
  CHECK_THROWS_WITH(m.forward(uniform("x", 12), uniform("y", 14)), Catch::Contains("second"));
}

// ---- Reuse, asides, heads, until ----------------------------------------------------------------

namespace {

using towers_n = network<towers, named_input<"x1", float, 2, 6, 6, 3>,
                         named_input<"x2", float, 2, 6, 6, 3>>;
static_assert(towers_n::variable_count == 4);
static_assert(towers_n::parameter_count == 27 * 4 + 4 + 36 * 5 + 5);
static_assert(slim_test::nodes_of<towers_n>("convolution") == 2);
static_assert(slim_test::penalties<towers_n> == 2);

/// A layer's own reuse, and default names that are found again in their order.
struct reused_by_option : net<"n",
  conv2d<3, kernel_size{1}, scope{"conv"}>,
  conv2d<3, kernel_size{1}, reuse_variables{true}, scope{"conv"}>> {};
static_assert(network<reused_by_option, input<1, 4, 4, 3>>::variable_count == 2);
struct default_block : variable_scope<"block", conv2d<3, kernel_size{1}>,
                                               conv2d<3, kernel_size{3}>> {};
struct reused_defaults : net<"n", default_block, reuse<default_block>, reuse<default_block>> {};
using reused_defaults_n = network<reused_defaults, input<1, 4, 4, 3>>;
static_assert(reused_defaults_n::variable_count == 4);
static_assert(slim_test::nodes_of<reused_defaults_n>("convolution") == 6);

/// An auxiliary head beside a classifier.
struct with_aside : net<"n",
  fully_connected<6, scope{"fc1"}>,
  aside<fully_connected<5, scope{"aux1"}>, fully_connected<3, activation_fn{none}, scope{"aux"}>>,
  fully_connected<3, activation_fn{none}, scope{"logits"}>> {};
template <class... Part>
using aside_model = model<with_aside, input<2, 4>, labels<2>, Part...>;
using aside_trainer =
    aside_model<sparse_softmax_cross_entropy<>,
                sparse_softmax_cross_entropy<logits{"n/aux"}, loss_weight{0.4}>>;
static_assert(aside_trainer::end_point<"n/aux">() == shape{2, 3});
static_assert(aside_trainer::variable_shape<"n/logits/weights">() == shape{6, 3});

bool mentions(const program& p, const std::string& scope) {
  for (const step_row& s : p.steps)
    if (slim::detail::path_of(p, s.scope) == scope) return true;
  return false;
}

struct keyed : net<"n",
  end_point<"Mixed_3b", concat<conv2d<2, kernel_size{1}, scope{"a"}>,
                               conv2d<3, kernel_size{3}, scope{"b"}>>>,
  conv2d<4, kernel_size{3}, scope{"last"}>, flatten<>, fully_connected<2, scope{"fc"}>> {};
template <text Name>
using keyed_until = network<until<Name, keyed>, input<2, 4, 4, 3>>;
static_assert(network<keyed, input<2, 4, 4, 3>>::variable_count == 8);
static_assert(keyed_until<"Mixed_3b">::output_shape == shape{2, 4, 4, 5});
static_assert(keyed_until<"Mixed_3b">::variable_count == 4);
static_assert(keyed_until<"n/a">::output_shape == shape{2, 4, 4, 2});
static_assert(keyed_until<"n/a">::variable_count == 2);  // what stands beside it is not built
static_assert(keyed_until<"n/fc">::variable_count == 8);

/// What follows until<> is built on it.
struct head_on_trunk : net<"m", until<"Mixed_3b", keyed>, flatten<>,
                                fully_connected<7, scope{"new"}>> {};
static_assert(network<head_on_trunk, input<2, 4, 4, 3>>::variable_shape<"m/new/weights">() ==
              shape{80, 7});

}  // namespace

TEST_CASE("an aside trains, and does not run where nothing asks for it") {
  CHECK(mentions(aside_trainer::training_program(), "n/aux"));
  CHECK_FALSE(mentions(aside_trainer::inference_program(), "n/aux"));
  CHECK(mentions(aside_model<fetch<"n/aux">>::inference_program(), "n/aux"));
  aside_trainer m(two_threads());
  m.initialize(1);
  m.backward(uniform("aside/x", 8), std::vector<int>{0, 2});
  CHECK(get_losses(m).size() == 2);
  const auto slope = numbers(m.gradient<"n/aux/weights">());
  CHECK(std::ranges::any_of(slope, [](float g) { return g != 0; }));
}

TEST_CASE("end points have keys of their own, which are listed") {
  model<keyed, input<2, 4, 4, 3>, fetch<"Mixed_3b", "n/a">> m(two_threads());
  m.initialize(3);
  m.forward(uniform("keyed/x", 96));
  REQUIRE(m.end_points().size() == 1);  // n/a is in no collection
  CHECK(m.end_points()[0].name == "Mixed_3b");
  const auto joined = m.fetched<"Mixed_3b">(), a = m.fetched<"n/a">();
  CHECK(joined.dims == shape{2, 4, 4, 5});
  for (long i = 0; i < 32; ++i)
    for (long k = 0; k < 2; ++k) REQUIRE(joined[5 * i + k] == a[2 * i + k]);
}

TEST_CASE("until<> answers what the whole net has there") {
  const auto x = uniform("keyed/x", 96);
  model<keyed, input<2, 4, 4, 3>, fetch<"Mixed_3b">> whole(two_threads());
  model<until<"Mixed_3b", keyed>, input<2, 4, 4, 3>> part(two_threads());
  whole.initialize(3), part.initialize(3);
  whole.forward(x);
  CHECK(numbers(part.forward(x)) == numbers(whole.fetched<"Mixed_3b">()));
}

TEST_CASE("heads are kept at inference without being asked for") {
  model<two_heads, input<4, 6, 6, 2>> m(two_threads());
  m.initialize(1);
  const auto y = m.forward(uniform("heads/x", 288));
  CHECK(y.dims == shape{4, 3});
  CHECK(numbers(m.fetched<"class">()) == numbers(y));
  CHECK(m.fetched<"position">().dims == shape{4, 2});
}

// ---- Reports and passes -------------------------------------------------------------------------

TEST_CASE("a report and a graph show joins") {
  using model_t = model<residual_units, input<2, 5, 6, 8>>;
  const std::string text = report(model_t::inference_program());
  CHECK_THAT(text, Catch::Contains("unit_1/conv3") && Catch::Contains("fused_convolution") &&
                       Catch::Contains("[2,3,3,12]"));
  using joined_t = model<inception_block, input<2, 6, 7, 5>>;
  CHECK_THAT(report(joined_t::inference_program()),
             Catch::Contains("concat") && Catch::Contains("[2,6,7,15]"));
  // An edge into the join for each of its branches.
  const program p = joined_t::inference_program();
  const std::string dots = graphviz(p);
  CHECK_THAT(dots, Catch::StartsWith("digraph") && Catch::EndsWith("}\n"));
  for (int i = 0; i < p.steps.size(); ++i) {
    if (p.steps[i].op != "concat") continue;
    const std::string into = " -> \"step" + std::to_string(i) + "\";";
    int edges = 0;
    for (auto at = dots.find(into); at != dots.npos; at = dots.find(into, at + 1)) ++edges;
    CHECK(edges == 4);
  }
}

TEST_CASE("a value that the caller alone reads has no consumer") {
  slim_test::dynamic_graph tables(8);
  builder<target<float, backend::eigen>> b(tables.g);
  const int x = b.add_input("x", {2, 3}, element::scalar);
  const int y = b.add<op::activation<constant<relu>>>({x});
  const int z = b.add<op::activation<constant<relu>>>({y});
  SECTION("the output") { b.g.output = z; }
  SECTION("what is fetched") { b.g.values[z].fetched = true; }
  SECTION("a loss") { b.g.losses.add(z); }
  const consumers users(b.g);
  CHECK(users.only(z) == -1);  // once it was node 0
  CHECK(users.only(x) == 0);
  CHECK(users.only(y) == 1);
}

TEST_CASE("a value that a node and the caller read has no only consumer") {
  slim_test::dynamic_graph tables(8);
  builder<target<float, backend::eigen>> b(tables.g);
  const int x = b.add_input("x", {2, 3}, element::scalar);
  const int y = b.add<op::activation<constant<relu>>>({x});
  b.g.output = b.add<op::activation<constant<relu>>>({y});
  b.g.values[y].fetched = true;
  CHECK(consumers(b.g).only(y) == -1);
}
