// The library's nets as a compiler knows them, and their initial values, against the real TF-Slim.
#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>
#include <vector>

#include <slim/nets/alexnet.hpp>
#include <slim/nets/inception_v1.hpp>
#include <slim/nets/overfeat.hpp>
#include <slim/nets/resnet_v1.hpp>
#include <slim/nets/vgg.hpp>

#include "golden.hpp"
#include "lowered.hpp"

using namespace slim_test;

namespace {

template <class Net, int Batch>
using alexnet_n = network<nets::alexnet_v2_arg_scope<Net>, input<Batch, 224, 224, 3>>;
template <class Net, int Batch>
using vgg_n = network<nets::vgg_arg_scope<Net>, input<Batch, 224, 224, 3>>;
template <class Net, int Batch>
using overfeat_n = network<nets::overfeat_arg_scope<Net>, input<Batch, 231, 231, 3>>;
template <int Batch>
using inception_n =
    network<nets::inception_v1_arg_scope<nets::inception_v1<>>, input<Batch, 224, 224, 3>>;
template <class Net, int Batch>
using resnet_n = network<nets::resnet_arg_scope<Net>, input<Batch, 224, 224, 3>>;
constexpr num_classes thousand{1000};

}  // namespace

// TF-Slim's counts.
using alexnet_v2_n = alexnet_n<nets::alexnet_v2<>, 4>;
using vgg_a_n = vgg_n<nets::vgg_a<>, 1>;
using vgg_16_n = vgg_n<nets::vgg_16<>, 8>;
using vgg_19_n = vgg_n<nets::vgg_19<>, 2>;
using overfeat_231_n = overfeat_n<nets::overfeat<>, 3>;
static_assert(alexnet_v2_n::parameter_count == 50'303'912);
static_assert(alexnet_v2_n::trainable_parameter_count == 50'303'912);
static_assert(alexnet_v2_n::multiply_adds == 4 * 736'555'776L);
static_assert(alexnet_v2_n::variable_count == 16 && penalties<alexnet_v2_n> == 8);
static_assert(alexnet_v2_n::batch == 4 && alexnet_v2_n::output_shape == shape{4, 1000});
static_assert(vgg_a_n::parameter_count == 132'863'336);
static_assert(vgg_a_n::multiply_adds == 7'609'090'048);
static_assert(vgg_a_n::variable_count == 22 && penalties<vgg_a_n> == 11);
static_assert(vgg_16_n::parameter_count == 138'357'544);
static_assert(vgg_16_n::trainable_parameter_count == 138'357'544);
static_assert(vgg_16_n::multiply_adds == 8 * 15'470'264'320);
static_assert(vgg_16_n::variable_count == 32 && penalties<vgg_16_n> == 16);
static_assert(vgg_16_n::batch == 8 && vgg_16_n::output_shape == shape{8, 1000});
static_assert(vgg_19_n::parameter_count == 143'667'240);
static_assert(vgg_19_n::multiply_adds == 2 * 19'632'062'464);
static_assert(vgg_19_n::variable_count == 38 && penalties<vgg_19_n> == 19);
static_assert(overfeat_231_n::parameter_count == 145'704'424);
static_assert(overfeat_231_n::trainable_parameter_count == 145'704'424);
static_assert(overfeat_231_n::multiply_adds == 3 * 2'647'011'328L);
static_assert(overfeat_231_n::variable_count == 16 && penalties<overfeat_231_n> == 8);
static_assert(overfeat_231_n::batch == 3 && overfeat_231_n::output_shape == shape{3, 1000});

// Some shapes; all of them are below.
static_assert(alexnet_v2_n::variable_shape<"alexnet_v2/conv1/weights">() == shape{11, 11, 3, 64});
static_assert(alexnet_v2_n::variable_shape<"alexnet_v2/fc6/weights">() == shape{5, 5, 256, 4096});
static_assert(alexnet_v2_n::end_point<"alexnet_v2/conv1">() == shape{4, 54, 54, 64});
static_assert(alexnet_v2_n::end_point<"alexnet_v2/pool5">() == shape{4, 5, 5, 256});
static_assert(vgg_16_n::variable_shape<"vgg_16/conv1/conv1_1/weights">() == shape{3, 3, 3, 64});
static_assert(vgg_16_n::variable_shape<"vgg_16/fc6/weights">() == shape{7, 7, 512, 4096});
static_assert(vgg_16_n::variable_shape<"vgg_16/fc8/biases">() == shape{1000});
static_assert(vgg_19_n::end_point<"vgg_19/conv5/conv5_4">() == shape{2, 14, 14, 512});
static_assert(overfeat_231_n::variable_shape<"overfeat/fc6/weights">() == shape{6, 6, 1024, 3072});
static_assert(overfeat_231_n::end_point<"overfeat/conv2">() == shape{3, 24, 24, 256});
static_assert(overfeat_231_n::end_point<"overfeat/fc6">() == shape{3, 1, 1, 3072});

// The scopes they do not open themselves, and the scale of the penalty.
static_assert(penalties<network<nets::alexnet_v2<>, input<1, 224, 224, 3>>> == 0);
static_assert(penalties<network<nets::vgg_16<>, input<1, 224, 224, 3>>> == 0);
static_assert(penalties<network<nets::overfeat<>, input<1, 231, 231, 3>>> == 0);
static_assert(penalties<network<nets::alexnet_v2_arg_scope_of<weight_decay{0.0},
                                                              nets::alexnet_v2<>>,
                                input<1, 224, 224, 3>>> == 0);
static_assert(penalties<network<nets::vgg_arg_scope_of<weight_decay{0.0}, nets::vgg_16<>>,
                                input<1, 224, 224, 3>>> == 0);
static_assert(penalties<network<nets::overfeat_arg_scope_of<weight_decay{0.0}, nets::overfeat<>>,
                                input<1, 231, 231, 3>>> == 0);

// Options. Larger images give a map of logits; the sizes are those of TF-Slim's own tests.
using vgg_unsqueezed_n = vgg_n<nets::vgg_16<num_classes{10}, squeeze{false}>, 3>;
static_assert(vgg_unsqueezed_n::output_shape == shape{3, 1, 1, 10});
using vgg_large_n = network<nets::vgg_a<num_classes{10}, squeeze{false}>, input<1, 256, 320, 3>>;
static_assert(vgg_large_n::output_shape == shape{1, 2, 4, 10});
using alexnet_large_n =
    network<nets::alexnet_v2<num_classes{10}, squeeze{false}>, input<1, 300, 400, 3>>;
static_assert(alexnet_large_n::output_shape == shape{1, 4, 7, 10});
using overfeat_large_n =
    network<nets::overfeat<num_classes{10}, squeeze{false}>, input<1, 281, 281, 3>>;
static_assert(overfeat_large_n::output_shape == shape{1, 2, 2, 10});
static_assert(overfeat_large_n::end_point<"overfeat/fc8">() == shape{1, 2, 2, 10});

// Dropout; keeping everything leaves none.
static_assert(nodes_of<alexnet_v2_n>("dropout") == 2);
static_assert(nodes_of<vgg_16_n>("dropout") == 2);
static_assert(nodes_of<overfeat_231_n>("dropout") == 2);
static_assert(nodes_of<alexnet_n<nets::alexnet_v2<dropout_keep_prob{1.0}>, 1>>("dropout") == 0);
static_assert(nodes_of<vgg_n<nets::vgg_16<dropout_keep_prob{1.0}>, 1>>("dropout") == 0);
static_assert(nodes_of<overfeat_n<nets::overfeat<dropout_keep_prob{1.0}>, 1>>("dropout") == 0);

// Every layer but the last is rectified.
static_assert(nodes_of<alexnet_v2_n>("relu") == 7 && nodes_of<overfeat_231_n>("relu") == 7);

// fc6 to fc8 start from values of their own, whether or not there is an arg_scope: numbers 10 to 15
// are their weights and biases. Below, what lies in the variables.
template <class Network>
constexpr bool own_values = [] {
  const std::string_view own[] = {"truncated_normal", "constant", "truncated_normal",
                                  "constant",         "truncated_normal", "zeros"};
  for (int i = 0; i < 6; ++i)
    if (initializer_of<Network>(10 + i) != own[i]) return false;
  return true;
}();
static_assert(own_values<alexnet_v2_n> && own_values<overfeat_231_n>);
static_assert(own_values<alexnet_large_n> && own_values<overfeat_large_n>);
static_assert(initializer_of<alexnet_v2_n>(9) == "constant");
static_assert(initializer_of<alexnet_large_n>(9) == "zeros");
static_assert(initializer_of<overfeat_231_n>(9) == "zeros");

namespace {

/// A name and a shape.
struct named_shape {
  std::string name, extents;
  friend bool operator==(const named_shape&, const named_shape&) = default;
};
std::ostream& operator<<(std::ostream& out, const named_shape& n) {
  return out << n.name << " " << n.extents;
}

std::vector<named_shape> variables_of(const graph& g) {
  std::vector<named_shape> all;
  for (int i = 0; i < g.variables.size(); ++i)
    all.push_back({variable_name(g, i), extents_of(g.variables[i].dims)});
  return all;
}
std::vector<named_shape> end_points_of(const graph& g) {
  std::vector<named_shape> all;
  for (const end_point_row& row : g.end_points)
    if (!row.collection.empty())
      all.push_back(
          {std::string(end_point_name(g, row).view()), extents_of(g.values[row.value].dims)});
  return all;
}

/// What the real TF-Slim says of a net: its variables or its end points, in order.
std::vector<record> stored(const std::string& kind, const std::string& net) {
  static const std::vector<record> all = read(data_path("net_names.bin"));
  std::vector<record> some;
  std::ranges::copy_if(all, std::back_inserter(some), [&](const record& r) {
    return r.text("kind") == kind && r.text("net") == net;
  });
  REQUIRE_FALSE(some.empty());
  return some;
}
std::vector<named_shape> stored_names(const std::string& kind, const std::string& net) {
  std::vector<named_shape> some;
  for (const record& r : stored(kind, net)) some.push_back({r.text("name"), r.text("shape")});
  return some;
}

template <class Network>
void check_names(const std::string& net) {
  INFO(net);
  const graph g = Network::lowered();
  CHECK(variables_of(g) == stored_names("variable", net));
  CHECK(end_points_of(g) == stored_names("end_point", net));
}

/// The first elements of a variable's initial value: all of a large one would take long.
std::vector<float> initial_value(const variable_row& v, int number) {
  const long count = std::min(v.dims.count(), 20'000L);
  std::vector<float> values(static_cast<std::size_t>(count));
  v.hooks->fill(values.data(), 0, count, v.dims, random_at(1, static_cast<std::uint64_t>(number)));
  return values;
}

/// Holds values against a distribution: all within its bounds, mean and deviation close to its own.
void check_distribution(const std::vector<float>& values, double low, double high,
                        double deviation) {
  const auto [least, greatest] = std::ranges::minmax_element(values);
  CHECK(*least >= low * (1 + 1e-6));
  CHECK(*greatest <= high * (1 + 1e-6));
  double mean = 0, squares = 0;
  for (float x : values) mean += double(x) / double(values.size());
  for (float x : values) squares += std::pow(double(x) - mean, 2) / double(values.size());
  // Four standard errors of the mean; the smallest sample has 1,728 elements.
  CHECK(std::abs(mean - (low + high) / 2) < 4 * deviation / std::sqrt(double(values.size())));
  CHECK(std::sqrt(squares) == Approx(deviation).epsilon(0.04));
}

template <class Network>
void check_initial_values(const std::string& net) {
  const graph g = Network::lowered();
  const std::vector<record> variables = stored("variable", net);
  REQUIRE(variables.size() == static_cast<std::size_t>(g.variables.size()));
  for (int i = 0; i < g.variables.size(); ++i) {
    const record& r = variables[static_cast<std::size_t>(i)];
    INFO(r.text("name"));
    REQUIRE(variable_name(g, i) == r.text("name"));
    const std::vector<float> values = initial_value(g.variables[i], i);
    const std::string kind = r.text("initializer");
    if (kind == "constant") {
      const auto value = static_cast<float>(r.number("value"));
      CHECK(std::ranges::count(values, value) == std::ssize(values));
    } else if (kind == "uniform") {
      const double low = r.number("min"), high = r.number("max");
      check_distribution(values, low, high, (high - low) / std::sqrt(12.0));
    } else {
      REQUIRE(kind == "truncated_normal");
      // Cut at two deviations a normal keeps this much of its own.
      const double mean = r.number("mean"), stddev = r.number("stddev");
      check_distribution(values, mean - 2 * stddev, mean + 2 * stddev, 0.87962566 * stddev);
    }
  }
}

/// Whether all of a network's penalties are L2 with this scale: the op of another one with it.
template <class Network, weight_decay Decay>
bool decays_by() {
  using one = network<
      net<"", conv2d<1, kernel_size{1}, weights_regularizer{l2_regularizer{Decay.value}}>>,
      input<1, 1, 1, 1>>;
  const op_info* wanted = nullptr;
  for (const node_row& n : one::lowered().nodes)
    if (n.op->name == "regularizer") wanted = n.op;
  int found = 0;
  for (const node_row& n : Network::lowered().nodes) found += n.op == wanted;
  return found > 0 && found == penalties<Network>;
}

}  // namespace

TEST_CASE("the nets have TF-Slim's variables and end points, in its order") {
  check_names<alexnet_n<nets::alexnet_v2<>, 2>>("alexnet_v2");
  check_names<vgg_n<nets::vgg_a<>, 2>>("vgg_a");
  check_names<vgg_n<nets::vgg_16<>, 2>>("vgg_16");
  check_names<vgg_n<nets::vgg_19<>, 2>>("vgg_19");
  check_names<overfeat_n<nets::overfeat<>, 2>>("overfeat");
  check_names<inception_n<2>>("inception_v1");
  check_names<resnet_n<nets::resnet_v1_50<thousand>, 2>>("resnet_v1_50");
  check_names<resnet_n<nets::resnet_v1_101<thousand>, 2>>("resnet_v1_101");
  check_names<resnet_n<nets::resnet_v1_152<thousand>, 2>>("resnet_v1_152");
  check_names<resnet_n<nets::resnet_v1_200<thousand>, 2>>("resnet_v1_200");
}

namespace {

template <class Network>
void check_counts(const std::string& net) {
  INFO(net);
  const record r = stored("net", net).at(0);
  const graph g = Network::lowered();
  int trained = 0;
  for (const variable_row& v : g.variables) trained += v.trainable;
  CHECK(trained == r.integer("trainable_variables"));
  CHECK(g.variables.size() == r.integer("variables"));
  CHECK(g.regularizers.size() == r.integer("regularization_losses"));
  CHECK(count_parameters(g) == r.number("model_parameters"));
  CHECK(count_parameters(g, true) == r.number("trainable_parameters"));
}

}  // namespace

TEST_CASE("the nets have TF-Slim's numbers of variables, parameters and penalties") {
  check_counts<alexnet_v2_n>("alexnet_v2");
  check_counts<vgg_16_n>("vgg_16");
  check_counts<inception_n<1>>("inception_v1");
  check_counts<resnet_n<nets::resnet_v1_50<thousand>, 1>>("resnet_v1_50");
  check_counts<resnet_n<nets::resnet_v1_200<thousand>, 1>>("resnet_v1_200");
}

TEST_CASE("a ResNet without classes ends in its features, and its stride may be bounded") {
  using features = network<nets::resnet_arg_scope<nets::resnet_v1_50<>>, input<1, 224, 224, 3>>;
  STATIC_REQUIRE(features::output_shape == shape{1, 1, 1, 2048});
  STATIC_REQUIRE(features::variable_count == 265);
  using dense = network<nets::resnet_arg_scope<nets::resnet_v1_50<output_stride{8},
                                                                  global_pool{false}>>,
                        input<1, 224, 224, 3>>;
  STATIC_REQUIRE(dense::output_shape == shape{1, 28, 28, 2048});
  // As TF-Slim's: the first unit after the switch keeps the rate before it.
  const auto rate = [](std::string_view unit) {
    for (const node_row& n : dense::lowered().nodes)
      if (n.op->name == "convolution" && scope_path(dense::lowered(), n.scope).view() == unit)
        return n.a.win.rate_h;
    return 0;
  };
  CHECK(rate("resnet_v1_50/block2/unit_4/bottleneck_v1/conv2") == 1);
  CHECK(rate("resnet_v1_50/block3/unit_1/bottleneck_v1/conv2") == 2);
  CHECK(rate("resnet_v1_50/block3/unit_6/bottleneck_v1/conv2") == 2);
  CHECK(rate("resnet_v1_50/block4/unit_1/bottleneck_v1/conv2") == 4);
}

TEST_CASE("end points are TF-Slim's: every conv2d and max_pool2d, fc8 squeezed") {
  CHECK(end_points_of(alexnet_v2_n::lowered()).size() == 11);
  CHECK(end_points_of(vgg_a_n::lowered()).size() == 16);
  CHECK(end_points_of(vgg_16_n::lowered()).size() == 21);
  CHECK(end_points_of(vgg_19_n::lowered()).size() == 24);
  CHECK(end_points_of(overfeat_231_n::lowered()).size() == 11);
  CHECK(vgg_16_n::end_point<"vgg_16/fc7">() == shape{8, 1, 1, 4096});
  CHECK(vgg_16_n::end_point<"vgg_16/fc8">() == shape{8, 1000});
  CHECK(vgg_unsqueezed_n::end_point<"vgg_16/fc8">() == shape{3, 1, 1, 10});
}

TEST_CASE("variables start from TF-Slim's distributions") {
  check_initial_values<alexnet_v2_n>("alexnet_v2");
  check_initial_values<vgg_a_n>("vgg_a");
  check_initial_values<vgg_16_n>("vgg_16");
  check_initial_values<vgg_19_n>("vgg_19");
  check_initial_values<overfeat_231_n>("overfeat");
  check_initial_values<inception_n<1>>("inception_v1");
  check_initial_values<resnet_n<nets::resnet_v1_50<thousand>, 1>>("resnet_v1_50");
}

TEST_CASE("each scope penalises weights as TF-Slim's, or as it is told") {
  constexpr weight_decay usual{0.0005}, other{0.125};
  CHECK(decays_by<alexnet_v2_n, usual>());
  CHECK(decays_by<vgg_16_n, usual>());
  CHECK(decays_by<overfeat_231_n, usual>());
  CHECK_FALSE(decays_by<alexnet_v2_n, other>());
  CHECK(decays_by<network<nets::alexnet_v2_arg_scope_of<other, nets::alexnet_v2<>>,
                          input<1, 224, 224, 3>>, other>());
  CHECK(decays_by<network<nets::vgg_arg_scope_of<other, nets::vgg_16<>>,
                          input<1, 224, 224, 3>>, other>());
  CHECK(decays_by<network<nets::overfeat_arg_scope_of<other, nets::overfeat<>>,
                          input<1, 231, 231, 3>>, other>());
}
