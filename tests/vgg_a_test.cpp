// VGG-A as a whole against the real TF-Slim: every end point, loss and gradient, in double on the
// reference and in float on the CPU's own kernels.

#include <catch2/catch.hpp>

#include <sys/resource.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <slim/slim.hpp>

#include "golden.hpp"
#include "lowered.hpp"

namespace {

using namespace slim;
using slim_test::extents_of;
using slim_test::record;

const std::vector<record>& records() {
  static const std::vector<record> all = slim_test::read(slim_test::data_path("vgg_a.bin"));
  return all;
}

using net = nets::vgg_arg_scope<nets::vgg_a<dropout_keep_prob{1.0}>>;
using double_model = model<net, input<2, 224, 224, 3>, labels<2>, sparse_softmax_cross_entropy<>,
                           fetch_all, scalar<double>, backend::eigen>;
using float_model = model<net, input<2, 224, 224, 3>, labels<2>, sparse_softmax_cross_entropy<>>;
using float_end_points = model<net, input<2, 224, 224, 3>, fetch_all>;

const record& answer(const std::string& mode, const std::string& precision,
                     const std::string& tensor) {
  return slim_test::find(records(), {{"kind", "digest"},
                                     {"net", "vgg_a"},
                                     {"mode", mode},
                                     {"precision", precision},
                                     {"tensor", tensor}});
}
slim_test::digest wanted(const std::string& mode, const std::string& precision,
                         const std::string& tensor) {
  return slim_test::stored_digest(answer(mode, precision, tensor), "digest");
}

/// How far a computation may be from TF-Slim's in float64. In float a rounding error sends the
/// gradient of a pool or rectifier elsewhere, so TensorFlow's own spread counts.
template <class T>
double limit(const std::string& mode, const std::string& tensor) {
  if (std::is_same_v<T, double>) return 1e-7;
  double spread = 0;
  const auto exact = wanted(mode, "float64", tensor), one = wanted(mode, "float32", tensor),
             other = wanted(mode, "float32_plain", tensor);
  for (const double d : {slim_test::distance(exact, one), slim_test::distance(exact, other),
                         slim_test::distance(one, other)})
    spread = std::max(spread, d);
  return std::max(1e-4, 3 * spread);
}

template <class T>
void check(const std::string& mode, const std::string& tensor, const tensor_view<T>& got) {
  using number = std::remove_const_t<T>;
  INFO(mode << " " << tensor);
  REQUIRE(extents_of(got.dims) == answer(mode, "float64", tensor).text("shape"));
  const auto d = slim_test::make_digest<number>(tensor, got.span());
  const auto want = wanted(mode, "float64", tensor);
  const double allowed = limit<number>(mode, tensor);
  CHECK(slim_test::distance(want, d) < allowed);
  // Single elements stray further than the whole.
  CHECK(slim_test::sample_distance(want, d) < 20 * allowed);
}
void check_value(const std::string& tensor, double got, double allowed) {
  INFO(tensor);
  const double want = answer("training", "float64", tensor).at("value").values.at(0);
  CHECK(std::abs(got - want) < allowed * std::abs(want));
}

template <class T>
std::vector<T> images() {
  const auto u = slim_test::uniform("images", 2 * 224 * 224 * 3);
  return {u.begin(), u.end()};
}
const std::vector<int> classes{7, 423};

template <class M>
void fill(M& m) {
  for (int v = 0; v < M::variable_count; ++v) {
    const auto view = m.variable(v);
    const std::vector<int> dims(view.dims.extents, view.dims.extents + view.dims.rank);
    std::ranges::copy(slim_test::variable_value(m.variable_name(v), dims), view.begin());
  }
}

template <text... Name, class M>
void check_end_points(M& m, const std::string& mode) {
  (check(mode, "end_points/" + std::string(static_text<Name>::view()), m.template fetched<Name>()),
   ...);
}
template <class M>
void check_all_end_points(M& m, const std::string& mode) {
  check_end_points<"vgg_a/conv1/conv1_1", "vgg_a/pool1", "vgg_a/conv2/conv2_1", "vgg_a/pool2",
                   "vgg_a/conv3/conv3_1", "vgg_a/conv3/conv3_2", "vgg_a/pool3",
                   "vgg_a/conv4/conv4_1", "vgg_a/conv4/conv4_2", "vgg_a/pool4",
                   "vgg_a/conv5/conv5_1", "vgg_a/conv5/conv5_2", "vgg_a/pool5", "vgg_a/fc6",
                   "vgg_a/fc7", "vgg_a/fc8">(m, mode);
}

/// Losses and the gradient of every variable.
template <class M, class T>
void check_training(M& m, const std::vector<T>& x, double loss_limit) {
  m.backward(x, classes);
  REQUIRE(get_losses(m).size() == 1);
  REQUIRE(get_regularization_losses(m).size() == 11);
  double penalties = 0;
  for (T penalty : get_regularization_losses(m)) penalties += double(penalty);
  check_value("loss", double(get_losses(m)[0]), loss_limit);
  check_value("regularization_loss", penalties, loss_limit);
  check_value("total_loss", double(get_total_loss(m)), loss_limit);
  for (int v = 0; v < M::variable_count; ++v)
    check("training", "gradients/" + m.variable_name(v), m.gradient(v));
}

}  // namespace

TEST_CASE("vgg_a in double on the reference") {
  double_model m;
  fill(m);
  const auto x = images<double>();
  // The inputs are the oracle's.
  for (int v = 0; v < double_model::variable_count; ++v)
    check("inference", "variables/" + m.variable_name(v), m.variable(v));
  check("inference", "images", tensor_view<const double>{x.data(), {2, 224, 224, 3}});

  const auto logits = m.forward(x);
  check("inference", "logits", logits);
  CHECK(slim_test::distance(
            [] {
              record r = answer("inference", "float64", "logits");
              r.attributes["id"] = "logits";
              return r;
            }(),
            "values", std::vector<double>(logits.begin(), logits.end())) < 1e-7);
  check_all_end_points(m, "inference");
  // The losses are reduced in float32 over there.
  check_training(m, x, 1e-6);
  check_all_end_points(m, "training");
}

TEST_CASE("vgg_a in float on the CPU's kernels, fused") {
  float_model m;
  fill(m);
  const auto x = images<float>();
  check("inference", "logits", m.forward(x));
  check_training(m, x, 1e-5);
}

TEST_CASE("vgg_a in float on the CPU's kernels, every end point") {
  float_end_points m;
  fill(m);
  check("inference", "logits", m.forward(images<float>()));
  check_all_end_points(m, "inference");
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  WARN("peak memory of this process so far: " << used.ru_maxrss / 1024 << " MiB");
}
