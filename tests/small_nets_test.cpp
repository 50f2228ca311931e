// LeNet and CifarNet in whole against the same nets of the real TF-Slim: names, every end point,
// losses, gradients, and three steps of momentum, in double and float.
#include <catch2/catch.hpp>

#include <slim/slim.hpp>

#include "golden.hpp"
#include "lowered.hpp"

namespace {

using namespace slim;
using slim_test::extents_of;
using slim_test::record;

const std::vector<record>& records() {
  static const std::vector<record> all = slim_test::read(slim_test::data_path("small_nets.bin"));
  return all;
}
const record& inputs_of(const std::string& net) {
  return slim_test::find(records(), {{"kind", "inputs"}, {"net", net}});
}
const record& answer(const std::string& net, const std::string& mode, const std::string& precision,
                     const std::string& tensor) {
  return slim_test::find(records(), {{"kind", "digest"},
                                     {"net", net},
                                     {"mode", mode},
                                     {"precision", precision},
                                     {"tensor", tensor}});
}

struct lenet_case {
  static constexpr const char* name = "lenet";
  template <class... More>
  using model_of = model<nets::lenet_arg_scope<nets::lenet<dropout_keep_prob{1.0}>>,
                         input<4, 28, 28, 1>, labels<4>, sparse_softmax_cross_entropy<>, More...>;
};
struct cifarnet_case {
  static constexpr const char* name = "cifarnet";
  template <class... More>
  using model_of = model<nets::cifarnet_arg_scope<nets::cifarnet<dropout_keep_prob{1.0}>>,
                         input<4, 32, 32, 3>, labels<4>, sparse_softmax_cross_entropy<>, More...>;
};

template <class Case, class T>
constexpr double limit(const std::string& mode, const std::string& tensor) {
  if (std::is_same_v<T, double>) return 1e-7;
  const auto exact = slim_test::stored_digest(answer(Case::name, mode, "float64", tensor), "digest"),
             rounded = slim_test::stored_digest(answer(Case::name, mode, "float32", tensor), "digest");
  return std::max(1e-4, 3 * slim_test::distance(exact, rounded));
}

template <class Case, class T>
void check(const std::string& mode, const std::string& tensor, const tensor_view<T>& got) {
  using number = std::remove_const_t<T>;
  INFO(Case::name << " " << mode << " " << tensor);
  const record& want = answer(Case::name, mode, "float64", tensor);
  REQUIRE(extents_of(got.dims) == want.text("shape"));
  const auto d = slim_test::make_digest<number>(tensor, got.span());
  CHECK(slim_test::distance(slim_test::stored_digest(want, "digest"), d) <
        limit<Case, number>(mode, tensor));
}
template <class Case, class T>
void check_value(const std::string& mode, const std::string& tensor, T got) {
  INFO(Case::name << " " << mode << " " << tensor);
  const double want = answer(Case::name, mode, "float64", tensor).at("value").values.at(0);
  CHECK(double(got) == Approx(want).epsilon(std::is_same_v<T, double> ? 1e-7 : 1e-5).margin(1e-12));
}

/// A model with the record's variables, and its images and labels.
template <class Case, class T, class... More>
struct loaded {
  using model_type = typename Case::template model_of<scalar<T>, More...>;

  loaded() {
    const record& r = inputs_of(Case::name);
    for (int v = 0; v < model_type::variable_count; ++v) {
      const auto view = m.variable(v);
      std::vector<int> dims;
      for (int i = 0; i < view.dims.rank; ++i) dims.push_back(view.dims[i]);
      std::ranges::copy(slim_test::variable_value(m.variable_name(v), dims), view.begin());
    }
    const auto count = std::size_t(r.integer("batch") * r.integer("height") * r.integer("width") *
                                   r.integer("channels"));
    const auto u = slim_test::uniform(r.text("images"), count);
    images.assign(u.begin(), u.end());
    classes = r.extents("labels");
  }

  model_type m;
  std::vector<T> images;
  std::vector<int> classes;
};

template <class Case, class T, class Backend>
void check_passes() {
  loaded<Case, T, fetch_all, Backend> l;
  const auto end_points = [&](const char* mode) {
    check<Case>(mode, "logits", l.m.output());
    for (const auto& e : l.m.end_points()) check<Case>(mode, "end_points/" + e.name, e.values);
  };
  l.m.forward(l.images);
  end_points("inference");
  const T total = l.m.backward(l.images, l.classes);
  end_points("training");
  check_value<Case>("training", "total_loss", total);
  check_value<Case>("training", "loss", get_total_loss(l.m, false));
  for (int v = 0; v < decltype(l.m)::variable_count; ++v)
    check<Case>("training", "gradients/" + l.m.variable_name(v), l.m.gradient(v));
}

template <class Case, class T, class Backend>
void check_steps() {
  loaded<Case, T, Backend> l;
  const record& r = inputs_of(Case::name);
  const auto& want = answer(Case::name, "steps", "float64", "losses").at("values").values;
  for (int step = 0; step < r.integer("steps"); ++step) {
    const T loss = l.m.backward(l.images, l.classes);
    // TF-Slim rounds its losses to float32, whatever the logits are.
    CHECK(double(loss) ==
          Approx(want.at(std::size_t(step))).epsilon(std::is_same_v<T, double> ? 3e-7 : 1e-4));
    l.m.update(momentum{r.number("learning_rate"), r.number("momentum")});
  }
  for (int v = 0; v < decltype(l.m)::variable_count; ++v)
    check<Case>("steps", "variables/" + l.m.variable_name(v), l.m.variable(v));
}

template <class Case>
void check_names() {
  using m = typename Case::template model_of<>;
  std::vector<std::string> variables, end_points, got_variables, got_end_points;
  for (const record& r : records()) {
    if (r.text("net") != Case::name) continue;
    if (r.text("kind") == "variable") variables.push_back(r.text("name"));
    if (r.text("kind") == "end_point") end_points.push_back(r.text("name"));
  }
  const graph g = m::lowered();
  for (const variable_row& v : g.variables) got_variables.emplace_back(variable_name(g, v).view());
  for (const end_point_row& e : g.end_points)
    if (!e.collection.empty()) got_end_points.emplace_back(end_point_name(g, e).view());
  CHECK(got_variables == variables);
  CHECK(got_end_points == end_points);
}

}  // namespace

TEMPLATE_TEST_CASE("small nets answer as TF-Slim's", "", lenet_case, cifarnet_case) {
  check_names<TestType>();
  check_passes<TestType, double, backend::eigen>();
  check_passes<TestType, double, backend::cpu>();
  check_passes<TestType, float, backend::cpu>();
}

TEMPLATE_TEST_CASE("small nets learn as TF-Slim's", "", lenet_case, cifarnet_case) {
  check_steps<TestType, double, backend::eigen>();
  check_steps<TestType, double, backend::cpu>();
  check_steps<TestType, float, backend::cpu>();
}
