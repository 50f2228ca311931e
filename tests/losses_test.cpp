// Losses against the answers of the real TF-Slim in tests/data/losses.bin: as parts of a model, on
// the reference and on the CPU's own kernels, and as functions on spans; in float and double.

#include <catch2/catch.hpp>

#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <slim/losses/on_spans.hpp>

#include "dynamic.hpp"
#include "golden.hpp"

namespace {

using slim::constant;
using slim::shape;
using slim_test::record;

using eigen_double = slim::target<double, slim::backend::eigen>;
using eigen_float = slim::target<float, slim::backend::eigen>;
using cpu_double = slim::target<double, slim::backend::cpu>;
using cpu_float = slim::target<float, slim::backend::cpu>;

template <class T>
constexpr double limit = std::is_same_v<T, double> ? 1e-12 : 1e-5;

slim::cpu_device& device() {
  static slim::cpu_device two_threads(2);
  return two_threads;
}

const std::vector<record>& records() {
  static const std::vector<record> all = slim_test::read(slim_test::data_path("losses.bin"));
  return all;
}

shape dims_of(const std::vector<int>& extents) {
  shape s;
  for (int e : extents) s.extents[s.rank++] = e;
  return s;
}

// ---- What a record's names stand for ----------------------------------------------------------

/// The numbers a record's loss is of.
struct given {
  explicit given(const record& r) : dims(dims_of(r.extents("dims"))), labels(r.text("labels")) {
    const auto count = static_cast<std::size_t>(dims.count());
    for (float u : slim_test::uniform(r.text("id") + "/p", count))
      p.push_back(r.number("p_offset") + r.number("p_scale") * double(u));
    const auto rows = static_cast<std::size_t>(dims[0]);
    for (float u : slim_test::uniform(r.text("id") + "/y", labels == "classes" ? rows : count))
      y.push_back(label(double(u)));
    if (labels == "distribution") normalise();
    w = r.at("w").values;
  }

  shape dims;
  std::string labels;
  std::vector<double> p, y, w;

 private:
  double label(double u) const {
    if (labels == "real") return u;
    if (labels == "probability") return (u + 1) / 2;
    if (labels == "binary") return u > 0;
    if (labels == "distribution") return u + 1.1;
    return std::floor((u + 1) / 2 * dims.back());
  }
  void normalise() {
    const auto k = static_cast<std::size_t>(dims.back());
    for (std::size_t row = 0; row < y.size(); row += k) {
      double sum = 0;
      for (std::size_t j = 0; j < k; ++j) sum += y[row + j];
      for (std::size_t j = 0; j < k; ++j) y[row + j] /= sum;
    }
  }
};

template <class To>
std::vector<To> numbers(const std::vector<double>& v) {
  std::vector<To> out;
  for (double x : v) out.push_back(static_cast<To>(x));
  return out;
}

/// A record's kind and what its loss is called with.
std::string signature(const record& r) {
  std::string s = r.text("kind");
  for (const char* own : {"epsilon", "label_smoothing", "axis"})
    if (r.has(own)) s += std::string(" ") + own + " " + r.text(own);
  return s;
}

// ---- As parts of a model ----------------------------------------------------------------------

/// hinge_loss, and the mean of its end point.
template <auto Labels, auto... Option>
struct mean_hinge_loss {
  template <class B>
  static void lower(B& b) {
    using namespace slim;
    hinge_loss<Labels>::lower(b);
    compute_weighted_loss<losses_from{"hinge_loss"}, Option...>::lower(b);
  }
};

/// A loss with each of the weights that records have.
template <class B>
using by_weights = std::map<std::string, void (*)(B&)>;

template <class B, template <auto...> class Loss, auto... Option>
by_weights<B> weighted() {
  using namespace slim;
  constexpr labels_from y{"y"};
  constexpr void (*tensor)(B&) = &Loss<y, weights_from{"w"}, Option...>::template lower<B>;
  return {{"1.0", &Loss<y, Option...>::template lower<B>},
          {"0.5", &Loss<y, loss_weight{0.5}, Option...>::template lower<B>},
          {"0.0", &Loss<y, loss_weight{0}, Option...>::template lower<B>},
          {"tensor", tensor},
          {"zeros", tensor}};
}

template <class B>
const std::map<std::string, by_weights<B>>& parts() {
  using namespace slim;
  constexpr label_smoothing smooth{0.2};
  static const std::map<std::string, by_weights<B>> all{
      {"absolute_difference", weighted<B, absolute_difference>()},
      {"mean_squared_error", weighted<B, mean_squared_error>()},
      {"log_loss", weighted<B, log_loss>()},
      {"log_loss epsilon 0.001", weighted<B, log_loss, epsilon{0.001}>()},
      {"sigmoid_cross_entropy", weighted<B, sigmoid_cross_entropy>()},
      {"sigmoid_cross_entropy label_smoothing 0.2", weighted<B, sigmoid_cross_entropy, smooth>()},
      {"hinge_loss", weighted<B, mean_hinge_loss>()},
      {"cosine_distance axis 0", weighted<B, cosine_distance, axis{0}>()},
      {"cosine_distance axis 1", weighted<B, cosine_distance, axis{1}>()},
      {"cosine_distance axis 2", weighted<B, cosine_distance, axis{2}>()},
      {"cosine_distance axis 3", weighted<B, cosine_distance, axis{3}>()},
      {"mean_pairwise_squared_error", weighted<B, mean_pairwise_squared_error>()},
      {"softmax_cross_entropy", weighted<B, softmax_cross_entropy>()},
      {"softmax_cross_entropy label_smoothing 0.2", weighted<B, softmax_cross_entropy, smooth>()},
      {"sparse_softmax_cross_entropy", weighted<B, sparse_softmax_cross_entropy>()}};
  return all;
}

/// A variable under its own name, as an end point.
template <class B>
int end_point(B& b, const char* name, const shape& dims) {
  using T = typename B::target_type::scalar;
  const int outer = b.scope;
  b.enter(name);
  const int v =
      b.add_variable(name, dims, &slim::variable_hooks_of<T, constant<slim::zeros{}>>, true);
  b.add_end_point(v, {});
  b.scope = outer;
  return v;
}

/// The record's loss of variables, so that all three have gradients.
template <class B>
int lower(B& b, const record& r, const given& in, int x, bool fetch) {
  const bool classes = in.labels == "classes";
  b.g.output = x;
  if (classes)
    b.add_input("y", shape{in.dims[0]}, slim::element::int32);
  else
    end_point(b, "y", in.dims);
  if (in.w.size() > 1) end_point(b, "w", dims_of(r.extents("w_dims")));
  parts<B>().at(signature(r)).at(r.text("weights"))(b);
  if (r.text("kind") == "hinge_loss" && fetch)
    b.g.values[slim::find_end_point(b.g, "hinge_loss")].fetched = true;
  return x;
}

template <class Target>
using model_on = slim_test::dynamic_model<typename Target::scalar, typename Target::backend>;

template <class Model, class T>
void set(Model& m, const char* name, const std::vector<T>& values) {
  std::ranges::copy(values, m.variable(name).begin());
}
template <class Model>
auto gradient(Model& m, const char* name) {
  const auto g = m.gradient(name);
  return std::vector<std::remove_cvref_t<decltype(g[0])>>(g.begin(), g.end());
}

template <class Target>
void check_part(const record& r) {
  using T = typename Target::scalar;
  INFO(r.title() << " " << signature(r) << " weights " << r.text("weights"));
  const given in(r);
  model_on<Target> m(in.dims, true, device(),
                     [&](auto& b, int x) { return lower(b, r, in, x, true); });
  set(m, "x", numbers<T>(in.p));
  const std::vector<int> classes = numbers<int>(in.y);
  if (in.labels != "classes") set(m, "y", numbers<T>(in.y));
  if (in.w.size() > 1) set(m, "w", numbers<T>(in.w));
  const T loss = in.labels == "classes" ? m.run().backward({classes}) : m.run().backward({});
  CHECK(slim_test::distance(r, "loss", std::vector<T>{loss}) < limit<T>);
  CHECK(slim_test::distance(r, "dp", gradient(m, "x")) < limit<T>);
  if (r.arrays.contains("dy")) CHECK(slim_test::distance(r, "dy", gradient(m, "y")) < limit<T>);
  if (in.w.size() > 1) CHECK(slim_test::distance(r, "dw", gradient(m, "w")) < limit<T>);
  if (r.text("kind") == "hinge_loss") {
    const auto losses = m.run().value(slim::find_end_point(m.graph(), "hinge_loss"));
    CHECK(slim_test::distance(r, "losses", std::vector<T>(losses.begin(), losses.end())) <
          limit<T>);
  }
}

// ---- As functions on spans --------------------------------------------------------------------

template <class T>
T hinge_on_spans(const std::vector<T>& p, const std::vector<T>& y,
                 const slim::losses::weights<T>& w, std::vector<T>& gradient) {
  std::vector<T> losses(p.size()), slopes(p.size());
  slim::losses::hinge_loss(p, y, losses, slopes);
  const T loss = slim::losses::compute_weighted_loss(losses, w, gradient);
  for (std::size_t i = 0; i < p.size(); ++i) gradient[i] *= slopes[i];
  return loss;
}

template <class T>
T on_spans(const record& r, const given& in, const slim::losses::weights<T>& w,
           std::vector<T>& gradient) {
  namespace losses = slim::losses;
  const std::string kind = r.text("kind");
  const std::vector<T> p = numbers<T>(in.p), y = numbers<T>(in.y);
  const double smoothing = r.has("label_smoothing") ? r.number("label_smoothing") : 0;
  if (kind == "absolute_difference") return losses::absolute_difference(p, y, w, gradient);
  if (kind == "mean_squared_error") return losses::mean_squared_error(p, y, w, gradient);
  if (kind == "log_loss")
    return losses::log_loss(p, y, w, gradient, r.has("epsilon") ? r.number("epsilon") : 1e-7);
  if (kind == "sigmoid_cross_entropy")
    return losses::sigmoid_cross_entropy(p, y, w, gradient, smoothing);
  if (kind == "hinge_loss") return hinge_on_spans(p, y, w, gradient);
  if (kind == "cosine_distance")
    return losses::cosine_distance(p, y, in.dims, r.integer("axis"), w, gradient);
  if (kind == "mean_pairwise_squared_error")
    return losses::mean_pairwise_squared_error(p, y, in.dims[0], w, gradient);
  if (kind == "softmax_cross_entropy")
    return losses::softmax_cross_entropy(p, y, in.dims, w, gradient, smoothing);
  REQUIRE(kind == "sparse_softmax_cross_entropy");
  return losses::sparse_softmax_cross_entropy(p, numbers<int>(in.y), in.dims, w, gradient);
}

}  // namespace

TEMPLATE_TEST_CASE("losses as parts of a model", "", eigen_double, cpu_double, eigen_float,
                   cpu_float) {
  for (const record& r : records()) check_part<TestType>(r);
}

TEMPLATE_TEST_CASE("losses on spans", "", double, float) {
  using T = TestType;
  for (const record& r : records()) {
    INFO(r.title() << " " << signature(r) << " weights " << r.text("weights"));
    const given in(r);
    const std::vector<T> w = numbers<T>(in.w);
    const bool number = r.text("w_dims") == "scalar";
    const slim::losses::weights<T> weights =
        number ? slim::losses::weights<T>(in.w[0]) : slim::losses::weights<T>(w);
    std::vector<T> gradient(in.p.size(), T(-7)), none;
    const T loss = on_spans<T>(r, in, weights, gradient);
    CHECK(slim_test::distance(r, "loss", std::vector<T>{loss}) < limit<T>);
    CHECK(slim_test::distance(r, "dp", gradient) < limit<T>);
    if (r.text("kind") != "hinge_loss") CHECK(on_spans<T>(r, in, weights, none) == loss);
  }
}

// ---- What the records do not hold -------------------------------------------------------------

namespace {

using namespace slim;

/// A user's own: |p - y| (p - y)^2.
struct cubic_fn {
  static constexpr std::string_view name = "cubic";
  template <std::floating_point T>
  T operator()(T p, T y) const {
    return std::abs(p - y) * (p - y) * (p - y);
  }
  template <std::floating_point T>
  T gradient(T p, T y) const {
    return T(3) * (p - y) * std::abs(p - y);
  }
};

struct pixels : net<"pixels", conv2d<3, kernel_size{1}, activation_fn{none}, scope{"y"}>> {};

using some_images = input<4, 2, 3, 3>;
using their_labels = named_input<"labels", float, 4, 2, 3, 3>;

std::vector<float> random_numbers(const char* name, std::size_t count) {
  return slim_test::uniform(name, count);
}

/// Losses of three examples of a batch of four: their output's, computed on spans.
template <class Backend>
void check_partial_batch() {
  using model_t =
      model<pixels, some_images, their_labels, named_input<"w", float, 4, 2>, Backend,
            fetch<"pixels/y">, mean_squared_error<weights_from{"w"}>, elementwise<cubic_fn{}>,
            cosine_distance<axis{-1}, weights_from{"w"}>, mean_pairwise_squared_error<>>;
  model_t m;
  m.initialize(3);
  const auto x = random_numbers("x", 54), y = random_numbers("y", 54);
  const std::vector<float> w{1, 0, 2, 1, 0, 0.5f};
  m.backward(x, y, w);
  const auto p = m.template fetched<"pixels/y">();
  const auto near = [](float value) { return Approx(value).epsilon(1e-5); };
  REQUIRE(m.losses().size() == 4);
  CHECK(m.losses()[0] == near(losses::mean_squared_error(p, y, w)));
  CHECK(m.losses()[1] == near(losses::elementwise<cubic_fn{}>(p, y)));
  CHECK(m.losses()[2] == near(losses::cosine_distance(p, y, p.dims, -1, w)));
  CHECK(m.losses()[3] == near(losses::mean_pairwise_squared_error(p, y, 3)));
}

template <class T>
T sum_of_shards(int threads) {
  using model_t = model<pixels, input<64, 20, 20, 3>, named_input<"labels", float, 64, 20, 20, 3>,
                        slim::scalar<T>, mean_squared_error<>>;
  cpu_device some(threads);
  model_t m(some);
  m.initialize(1);
  const auto u = slim_test::uniform("many", 64 * 20 * 20 * 3);
  const std::vector<T> x(u.begin(), u.end());
  return m.backward(x, x);
}

struct scored : net<"scored", flatten<>, fully_connected<1, activation_fn{none}, scope{"score"}>> {
};

std::string complaint(const std::function<void()>& f) {
  try {
    f();
  } catch (const error& e) {
    return e.what();
  }
  return "nothing";
}

}  // namespace

TEST_CASE("losses of a part of a batch") {
  check_partial_batch<backend::cpu>();
  check_partial_batch<backend::eigen>();
}

TEST_CASE("a loss has the same bits on any number of threads") {
  CHECK(sum_of_shards<float>(1) == sum_of_shards<float>(2));
  CHECK(sum_of_shards<double>(1) == sum_of_shards<double>(2));
}

TEST_CASE("hinge_loss is an end point that is not collected") {
  using net_t = network<pixels, some_images, their_labels, hinge_loss<>, hinge_loss<>,
                        hinge_loss<scope{"margin"}>>;
  CHECK(net_t::end_point<"hinge_loss">() == shape{4, 2, 3, 3});
  CHECK(net_t::end_point<"hinge_loss_1">() == shape{4, 2, 3, 3});
  CHECK(net_t::end_point<"margin">() == shape{4, 2, 3, 3});
  CHECK(net_t::lowered().losses.size() == 0);
  using model_t = model<pixels, some_images, their_labels, hinge_loss<scope{"margin"}>,
                        fetch<"margin">, compute_weighted_loss<losses_from{"margin"}>>;
  model_t m;
  m.initialize(1);
  const std::vector<float> x = random_numbers("x", 36), y(36, 1.0f);
  const float loss = m.backward(x, y);
  const auto hinges = m.fetched<"margin">();
  CHECK(loss == Approx(losses::compute_weighted_loss(hinges)));
  CHECK(hinges.dims == shape{2, 2, 3, 3});
}

TEST_CASE("add_loss takes an end point of one element as it is") {
  using model_t = model<scored, input<1, 2, 2, 1>, fetch<"scored/score">,
                        add_loss<losses_from{"scored/score"}>>;
  model_t m;
  m.initialize(1);
  const std::vector<float> x{1, 2, 3, 4};
  const float loss = m.backward(x);
  CHECK(loss == m.fetched<"scored/score">()[0]);
  const auto slopes = m.gradient<"scored/score/weights">();
  CHECK(std::vector<float>(slopes.begin(), slopes.end()) == x);
}

TEST_CASE("sizes that do not fit are named") {
  const std::vector<double> four(4), three(3);
  std::vector<double> two(2);
  const std::vector<int> classes{0, 2};
  const auto nothing = losses::weights<double>();
  CHECK(complaint([&] { losses::mean_squared_error(four, three); }) ==
        "mean_squared_error: 4 predictions, but 3 labels");
  CHECK(complaint([&] { losses::log_loss(four, four, three); }) ==
        "log_loss: 3 weights do not fit 4 losses");
  CHECK(complaint([&] { losses::log_loss(four, four, nothing, two); }) ==
        "log_loss: 4 predictions, but 2 elements of the gradient");
  CHECK(complaint([&] { losses::log_loss(four, four, nothing, {}, -1); }) ==
        "log_loss: epsilon must not be negative");
  CHECK(complaint([&] {
          losses::cosine_distance(four, four, {2, 2}, 2);
        }) == "cosine_distance: there is no axis 2 in a shape of rank 2");
  CHECK(complaint([&] {
          losses::softmax_cross_entropy(four, four, {2, 3});
        }) == "softmax_cross_entropy: 4 predictions, but 6 elements of the shape");
  CHECK(complaint([&] {
          losses::sparse_softmax_cross_entropy(four, classes, {2, 2});
        }) == "sparse_softmax_cross_entropy: labels[1] = 2 is not in [0, 2)");
  CHECK(complaint([&] { losses::mean_pairwise_squared_error(four, four, 3); }) ==
        "mean_pairwise_squared_error: 4 predictions are not whole examples, 3 of them");
  CHECK(complaint([&] { losses::hinge_loss(four, four, two); }) ==
        "hinge_loss: 4 predictions, but 2 losses");
}

TEST_CASE("fill gives the numbers a model gives a variable") {
  model<pixels, some_images> m;
  m.initialize(7);
  const auto w = m.variable<"pixels/y/weights">();
  std::vector<float> filled(9), few(3);
  fill(std::span(filled), w.dims, xavier_initializer{}, 7, "pixels/y/weights");
  CHECK(std::vector<float>(w.begin(), w.end()) == filled);
  std::vector<double> doubles(9);
  fill(std::span(doubles), w.dims, truncated_normal{1, 0.1}, 7);
  CHECK(doubles[0] != doubles[1]);
  CHECK(complaint([&] { fill(std::span(few), w.dims, zeros{}, 7); }) ==
        "fill: 3 elements, but 9 in the shape");
}
