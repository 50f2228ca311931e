// Gradients against central differences, in double. A layer enters by one line in `rows`.

#include <catch2/catch.hpp>

#include <cmath>
#include <string>
#include <vector>

#include "dynamic.hpp"
#include "golden.hpp"

namespace {

using namespace slim;

using eigen_double = target<double, backend::eigen>;
using cpu_double = target<double, backend::cpu>;

// ---- What is tested ---------------------------------------------------------------------------

/// A user's activation whose derivative needs its input: x / (1 + exp(-x)).
struct swish_fn {
  static constexpr std::string_view name = "swish";
  static constexpr bool gradient_from_input = true;
  template <std::floating_point T>
  T operator()(T x) const {
    return x * sigmoid(x);
  }
  template <std::floating_point T>
  T gradient(T x) const {
    return sigmoid(x) + x * sigmoid.gradient(sigmoid(x));
  }
};

/// A user's penalty: scale * sum(w^4).
struct quartic_regularizer {
  [[maybe_unused]] static constexpr std::string_view name = "quartic";
  double scale = 0;
  constexpr bool active() const { return scale != 0; }
  constexpr std::string_view fault() const { return {}; }
  template <class T>
  constexpr T operator()(T w) const {
    return T(scale) * w * w * w * w;
  }
  template <class T>
  constexpr T gradient(T w) const {
    return T(4 * scale) * w * w * w;
  }
};

/// x + the entries' output: x is read twice.
template <class... Entry>
using residual = sum<identity, sequence<Entry...>>;
/// Adds a variable of x's shape.
struct add_variable {
  template <class Context, class B>
  static int lower(B& b, int x) {
    const int p = b.add_variable("offsets", b.g.values[x].dims,
                                 &variable_hooks_of<double, constant<zeros{}>>, true);
    return b.template add<op::add>({p, x});
  }
};
using twice = sum<identity, identity>;
/// Entries, then losses of their output, over n examples of k classes.
template <int N, class Labels, class... Loss>
struct with_losses {
  template <class Context, class B>
  static int lower(B& b, int x) {
    b.g.output = fully_connected<4, activation_fn{none}>::template lower<Context>(b, x);
    Labels::lower(b);
    named_input<"weights", float, N>::lower(b);
    (Loss::lower(b), ...);
    return b.g.output;
  }
};

/// Labels that a layer of the output computes.
struct labels_of_layer {
  template <class B>
  static int lower(B& b) {
    return fully_connected<4, activation_fn{sigmoid}, scope{"labels"}>::template lower<no_context>(
        b, b.g.output);
  }
};
/// Before a loss: makes probabilities of the output.
struct squash {
  template <class B>
  static void lower(B& b) {
    b.g.output = b.template add<op::activation<constant<sigmoid>>>({b.g.output});
  }
};
/// The mean of an end point's losses.
template <class Loss, auto... Option>
struct mean_of {
  template <class B>
  static void lower(B& b) {
    Loss::lower(b);
    compute_weighted_loss<losses_from{"hinge_loss"}, Option...>::lower(b);
  }
};
/// A user's loss: |p - y| (p - y)^2.
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
  template <std::floating_point T>
  T label_gradient(T p, T y) const {
    return -gradient(p, y);
  }
};

/// Cross entropy whose weights a layer computes: then the loss is not one node.
template <int N>
struct with_weights_of_layer {
  template <class Context, class B>
  static int lower(B& b, int x) {
    b.g.output = fully_connected<4, activation_fn{none}>::template lower<Context>(b, x);
    fully_connected<1, activation_fn{sigmoid}, scope{"weights"}>::template lower<Context>(b, x);
    one_hot_labels<N, 4>::lower(b);
    softmax_cross_entropy<weights_from{"weights"}>::lower(b);
    return b.g.output;
  }
};

template <class B>
struct row {
  const char* name;
  shape x;
  int (*build)(B&, int);
  double x_scale = 1;
};

template <class B, class... Entry>
int sequence_of(B& b, int x) {
  return in_order<no_context, Entry...>::lower(b, x);
}

template <int K, auto... Option>
using conv3 = conv2d<K, kernel_size{3}, Option...>;
template <int K, auto... Option>
using linear = fully_connected<K, activation_fn{none}, Option...>;
using sparse = labels<5>;
using one_hot = one_hot_labels<5, 4>;

template <class B>
std::vector<row<B>> convolutions() {
  constexpr auto valid = padding::valid;
  return {
      {"conv2d", {2, 6, 5, 3}, &sequence_of<B, conv3<4>>},
      {"conv2d valid", {2, 6, 5, 3}, &sequence_of<B, conv3<4, valid>>},
      {"conv2d stride", {2, 7, 6, 3}, &sequence_of<B, conv3<4, stride{2}>>},
      {"conv2d strides, valid",
       {1, 8, 7, 3},
       &sequence_of<B, conv2d<4, kernel_size{3, 2}, stride{2, 3}, valid>>},
      {"conv2d stride above kernel",
       {1, 7, 7, 2},
       &sequence_of<B, conv2d<3, kernel_size{1}, stride{3}>>},
      {"conv2d rate", {1, 8, 9, 2}, &sequence_of<B, conv3<3, rate{2}>>},
      {"conv2d rates, valid", {1, 8, 9, 2}, &sequence_of<B, conv3<3, rate{2, 3}, valid>>},
      {"conv2d 1x1",
       {2, 4, 3, 5},
       &sequence_of<B, conv2d<4, kernel_size{1}, biases_initializer{none}>>},
      {"conv2d 5x1, linear",
       {1, 6, 6, 3},
       &sequence_of<B, conv2d<4, kernel_size{5, 1}, activation_fn{none}>>},
      {"conv2d of the whole", {3, 4, 3, 5}, &sequence_of<B, conv2d<6, kernel_size{4, 3}, valid>>},
      {"conv2d of many channels",
       {1, 7, 6, 32},
       &sequence_of<B, conv3<32>, conv3<32, activation_fn{elu}>>},
      {"conv2d and max_pool2d",
       {1, 7, 9, 32},
       &sequence_of<B, conv3<32>, max_pool2d<kernel_size{2}>>},
      {"conv2d, max_pool2d, conv2d",
       {1, 8, 8, 32},
       &sequence_of<B, conv3<32>, max_pool2d<kernel_size{2}>, conv3<32, activation_fn{none}>>},
      {"linear conv2d and max_pool2d",
       {1, 6, 6, 32},
       &sequence_of<B, conv3<32, activation_fn{none}>, max_pool2d<kernel_size{2}>>},
      {"separable_conv2d",
       {2, 6, 5, 3},
       &sequence_of<B, separable_conv2d<4, kernel_size{3}, depth_multiplier{2}>>},
      {"separable_conv2d stride, valid",
       {1, 8, 7, 5},
       &sequence_of<B, separable_conv2d<4, kernel_size{3, 2}, stride{2, 3}, valid>>},
      {"separable_conv2d rate",
       {1, 8, 9, 19},
       &sequence_of<B, separable_conv2d<4, kernel_size{3}, rate{2}, activation_fn{elu}>>},
      {"separable_conv2d, regularized",
       {1, 5, 5, 2},
       &sequence_of<
           B, separable_conv2d<4, kernel_size{3}, weights_regularizer{l2_regularizer{0.3}}>>},
      {"separable_conv2d, depthwise only",
       {2, 7, 6, 35},
       &sequence_of<B, separable_conv2d<none, kernel_size{3}, stride{2}>>},
      {"separable_conv2d, depthwise only, multiplied",
       {1, 5, 6, 4},
       &sequence_of<B, conv3<4>, separable_conv2d<none, kernel_size{3}, depth_multiplier{3}>>},
      {"conv2d_in_plane", {2, 6, 5, 3}, &sequence_of<B, conv2d_in_plane<kernel_size{3}>>},
      {"conv2d_in_plane stride, valid",
       {1, 7, 9, 5},
       &sequence_of<B, conv3<5>, conv2d_in_plane<kernel_size{3, 4}, stride{2}, valid>>},
      {"conv2d_transpose", {2, 4, 3, 3}, &sequence_of<B, conv2d_transpose<4, kernel_size{3}>>},
      {"conv2d_transpose stride",
       {1, 4, 3, 5},
       &sequence_of<B, conv3<3>, conv2d_transpose<4, kernel_size{5}, stride{2}>>},
      {"conv2d_transpose strides, valid",
       {2, 3, 4, 2},
       &sequence_of<B, conv2d_transpose<3, kernel_size{4, 2}, stride{2, 3}, valid>, conv3<2>>},
      {"conv2d_transpose of many channels",
       {1, 7, 6, 32},
       &sequence_of<B, conv2d_transpose<32, kernel_size{3}, activation_fn{elu}>>},
      {"conv2d_transpose stride above kernel, valid",
       {1, 3, 4, 2},
       &sequence_of<B, conv2d_transpose<3, kernel_size{1}, stride{3}, valid>>},
      {"spatial_squeeze",
       {2, 1, 1, 6},
       &sequence_of<B, conv2d<4, kernel_size{1}>, spatial_squeeze<>>},
  };
}

template <class B>
std::vector<row<B>> other_layers() {
  constexpr auto same = padding::same;
  return {
      {"fully_connected", {3, 7}, &sequence_of<B, fully_connected<5>>},
      {"fully_connected thrice",
       {3, 7},
       &sequence_of<B, fully_connected<5, activation_fn{softplus}>, fully_connected<6>, linear<2>>},
      {"fully_connected of rank 4", {2, 3, 2, 5}, &sequence_of<B, fully_connected<4>>},
      {"max_pool2d", {2, 6, 7, 3}, &sequence_of<B, max_pool2d<kernel_size{2}>>},
      {"max_pool2d overlapping, same",
       {2, 6, 7, 3},
       &sequence_of<B, max_pool2d<kernel_size{3}, same>>},
      {"max_pool2d of a layer",
       {2, 6, 7, 3},
       &sequence_of<B, conv3<4>, max_pool2d<kernel_size{3, 2}>>},
      {"avg_pool2d", {2, 6, 7, 3}, &sequence_of<B, avg_pool2d<kernel_size{2}>>},
      {"avg_pool2d overlapping, same",
       {2, 6, 7, 3},
       &sequence_of<B, avg_pool2d<kernel_size{3, 4}, stride{2, 1}, same>>},
      {"bias_add", {2, 3, 4, 5}, &sequence_of<B, bias_add<>>},
      {"bias_add and relu", {6, 5}, &sequence_of<B, bias_add<activation_fn{relu}>>},
      {"flatten", {2, 3, 4, 5}, &sequence_of<B, flatten<>>},
      {"flatten between layers",
       {2, 4, 4, 3},
       &sequence_of<B, conv3<2>, flatten<>, fully_connected<5>>},
      {"dropout", {4, 9}, &sequence_of<B, dropout<keep_prob{0.7}>>},
      {"dropout twice",
       {4, 9},
       &sequence_of<B, fully_connected<8>, dropout<>, linear<8>, dropout<keep_prob{0.8}>>},
      {"unit_norm of the batch", {3, 2, 4, 5}, &sequence_of<B, unit_norm<dim{0}>>},
      {"unit_norm of columns", {2, 3, 4, 19}, &sequence_of<B, unit_norm<dim{2}, epsilon{0.1}>>},
      {"unit_norm of channels", {2, 3, 4, 19}, &sequence_of<B, conv3<19>, unit_norm<dim{3}>>},
      {"local_response_normalization",
       {2, 3, 2, 19},
       &sequence_of<B, local_response_normalization<>>},
      {"local_response_normalization as CifarNet has it",
       {1, 4, 3, 7},
       &sequence_of<B, conv3<8>,
                    local_response_normalization<depth_radius{4}, alpha{0.1}, beta{0.75}>>},
      {"local_response_normalization of odd numbers",
       {1, 2, 3, 4},
       &sequence_of<B, local_response_normalization<depth_radius{0}, bias{2}, beta{1.3}>>},
      {"softmax", {3, 5}, &sequence_of<B, softmax<>>, 3},
      {"softmax of rank 4", {2, 2, 3, 4}, &sequence_of<B, softmax<>>},
      {"residual", {2, 5, 4, 3}, &sequence_of<B, residual<conv3<3>>>},
      {"residual of many channels", {1, 6, 6, 32}, &sequence_of<B, residual<conv3<32>>, conv3<32>>},
      {"nested residual",
       {2, 4, 4, 3},
       &sequence_of<B, conv3<3>, residual<conv3<3>, residual<conv3<3>>>>},
      {"diamond",
       {2, 5, 4, 3},
       &sequence_of<B, conv3<2>, sum<conv3<4>, conv2d<4, kernel_size{1}>>, conv3<2>>},
      {"the same twice", {3, 4}, &sequence_of<B, fully_connected<4>, twice, linear<3>>},
      {"concat", {2, 4, 3, 3}, &sequence_of<B, concat<conv3<2>, identity, conv3<4>>, conv3<2>>},
      {"concat of one value twice", {3, 4}, &sequence_of<B, concat<identity, identity>, linear<3>>},
      {"reused variables",
       {2, 4, 4, 3},
       &sequence_of<B, sum<conv3<3, scope{"shared"}>,
                           sequence<apply<tanh_fn{}>, reuse<conv3<3, scope{"shared"}>>>>>},
      {"a variable plus an activation",
       {3, 4, 4, 3},
       &sequence_of<B, conv3<3>, add_variable, conv3<2>>},
      {"a variable plus a dense activation",
       {3, 4},
       &sequence_of<B, fully_connected<5>, add_variable, linear<2>>},
  };
}

/// Through the statistics of the batch, and with moving averages.
template <class B>
std::vector<row<B>> batch_norms() {
  constexpr slim::scale gamma{true};
  constexpr normalizer_fn norm{ops::batch_norm{}};
  constexpr auto linear_conv = activation_fn{none};
  return {
      {"batch_norm", {6, 4}, &sequence_of<B, batch_norm<>>},
      {"batch_norm with gamma", {6, 4}, &sequence_of<B, batch_norm<gamma>>},
      {"batch_norm of rank 3, without beta",
       {3, 4, 5},
       &sequence_of<B, batch_norm<gamma, center{false}, epsilon{0.1}>>},
      {"batch_norm of images, and relu",
       {2, 4, 3, 19},
       &sequence_of<B, batch_norm<gamma, activation_fn{relu}>, conv3<2>>},
      {"batch_norm of two numbers", {2, 1, 1, 3}, &sequence_of<B, batch_norm<epsilon{1.0}>>},
      {"batch_norm with penalties",
       {6, 4},
       &sequence_of<B, batch_norm<gamma, gamma_regularizer{l2_regularizer{0.3}},
                                  beta_regularizer{l2_regularizer{0.2}}>>},
      {"batch_norm by moving averages",
       {3, 4, 3, 5},
       &sequence_of<B, conv3<4>, batch_norm<gamma, is_training{false}, activation_fn{elu}>>},
      {"conv2d, normalized", {2, 5, 4, 3}, &sequence_of<B, conv3<4, norm>, conv3<2, norm>>},
      {"fully_connected, normalized", {6, 4}, &sequence_of<B, fully_connected<5, norm>, linear<2>>},
      {"separable_conv2d, normalized",
       {2, 5, 4, 3},
       &sequence_of<B, separable_conv2d<4, kernel_size{3}, norm>>},
      {"conv2d_in_plane, normalized",
       {2, 5, 4, 3},
       &sequence_of<B, conv2d_in_plane<kernel_size{3}, norm>>},
      {"conv2d_transpose, normalized",
       {2, 4, 3, 3},
       &sequence_of<B, conv2d_transpose<4, kernel_size{3}, stride{2}, norm>>},
      {"residual, normalized",
       {2, 5, 4, 3},
       &sequence_of<B, residual<conv3<3, norm, linear_conv>>, apply<relu>, conv3<2>>},
  };
}

template <class B>
std::vector<row<B>> losses() {
  return {
      {"sparse_softmax_cross_entropy",
       {5, 6},
       &sequence_of<B, with_losses<5, sparse, sparse_softmax_cross_entropy<>>>},
      {"sparse cross entropy, weighted",
       {5, 6},
       &sequence_of<
           B,
           with_losses<5, sparse,
                       sparse_softmax_cross_entropy<loss_weight{0.3}, weights_from{"weights"}>>>},
      {"softmax_cross_entropy",
       {5, 6},
       &sequence_of<B, with_losses<5, one_hot, softmax_cross_entropy<>>>},
      {"cross entropy, smoothed and weighted",
       {5, 6},
       &sequence_of<B, with_losses<5, one_hot,
                                   softmax_cross_entropy<label_smoothing{0.1}, loss_weight{2},
                                                         weights_from{"weights"}>>>},
      {"two losses",
       {5, 6},
       &sequence_of<B, with_losses<5, one_hot, softmax_cross_entropy<label_smoothing{0.2}>,
                                   softmax_cross_entropy<weights_from{"weights"}>>>},
  };
}

/// A loss of given labels, then of labels that a layer computes.
template <class... Loss, class B>
void add_loss_rows(std::vector<row<B>>& rows, const char* name) {
  rows.push_back({name, {5, 6}, &sequence_of<B, with_losses<5, one_hot, Loss...>>});
  rows.push_back({name, {5, 6}, &sequence_of<B, with_losses<5, labels_of_layer, Loss...>>});
}
template <class B>
std::vector<row<B>> losses_of_any_shape() {
  constexpr weights_from weights{"weights"};
  std::vector<row<B>> rows;
  add_loss_rows<absolute_difference<weights>>(rows, "absolute_difference");
  add_loss_rows<mean_squared_error<loss_weight{0.7}>>(rows, "mean_squared_error");
  add_loss_rows<squash, log_loss<weights>>(rows, "log_loss");
  add_loss_rows<sigmoid_cross_entropy<label_smoothing{0.2}>>(rows, "sigmoid_cross_entropy");
  add_loss_rows<cosine_distance<axis{1}, weights>>(rows, "cosine_distance");
  add_loss_rows<cosine_distance<axis{0}>>(rows, "cosine_distance of axis 0");
  add_loss_rows<mean_pairwise_squared_error<weights>>(rows, "mean_pairwise_squared_error");
  add_loss_rows<mean_of<hinge_loss<>, weights>>(rows, "hinge_loss");
  add_loss_rows<elementwise<cubic_fn{}, weights>>(rows, "a user's loss");
  return rows;
}
template <class B>
std::vector<row<B>> weights_of_layers() {
  constexpr weights_from of_layer{"labels"};
  return {
      {"weights of a layer",
       {5, 6},
       &sequence_of<B, with_losses<5, labels_of_layer, mean_squared_error<of_layer>>>},
      {"softmax_cross_entropy, weights of a layer",
       {5, 4},
       &sequence_of<B, with_weights_of_layer<5>>},
  };
}

template <class B>
std::vector<row<B>> regularizers() {
  using penalties = sum_regularizer<l2_regularizer, quartic_regularizer>;
  return {
      {"l1_regularizer",
       {3, 4},
       &sequence_of<B, linear<5, weights_regularizer{l1_regularizer{0.3}}>>},
      {"l2_regularizer",
       {1, 5, 5, 2},
       &sequence_of<B, conv3<3, weights_regularizer{l2_regularizer{0.3}}>>},
      {"l1_l2_regularizer",
       {3, 4},
       &sequence_of<B, linear<5, weights_regularizer{l1_l2_regularizer{0.2, 0.4}}>>},
      {"sum_regularizer",
       {3, 4},
       &sequence_of<B, linear<5, weights_regularizer{penalties{l2_regularizer{0.2},
                                                               quartic_regularizer{0.4}}}>>},
      {"regularizer of biases",
       {3, 4},
       &sequence_of<B, linear<5, biases_regularizer{l2_regularizer{0.4}}>>},
  };
}

/// By itself, in a convolution that something follows, and in a fully connected layer.
template <auto F, class B>
void add_activation(std::vector<row<B>>& rows, const char* name) {
  rows.push_back({name, {3, 20}, &sequence_of<B, apply<F>>, 8});
  rows.push_back({name, {1, 5, 5, 2}, &sequence_of<B, conv3<3, activation_fn{F}>, conv3<2>>, 4});
  rows.push_back(
      {name, {4, 6}, &sequence_of<B, fully_connected<5, activation_fn{F}>, linear<3>>, 4});
}
template <class B>
std::vector<row<B>> activations() {
  std::vector<row<B>> rows;
  add_activation<relu>(rows, "relu");
  add_activation<relu6>(rows, "relu6");
  add_activation<elu>(rows, "elu");
  add_activation<sigmoid>(rows, "sigmoid");
  add_activation<tanh_fn{}>(rows, "tanh");
  add_activation<softplus>(rows, "softplus");
  add_activation<swish_fn{}>(rows, "swish");
  return rows;
}

// ---- The test ---------------------------------------------------------------------------------

cpu_device& device() {
  static cpu_device two_threads(2);
  return two_threads;
}

/// One network whose variables all hold numbers that follow from its name and a salt.
template <class Target>
class subject {
 public:
  using B = builder<Target>;

  subject(const row<B>& r, int salt)
      : name_(std::string(r.name) + "/" + std::to_string(salt)),
        model_(r.x, true, device(), [&](B& b, int x) { return r.build(b, x); }) {
    for (int v = 0; v < variables(); ++v) {
      const auto values = numbers(model_.run().name_of(v), model_.run().variable(v).dims.count());
      const double scale = v == 0 ? r.x_scale : 1;
      const bool variance = model_.program().variables[v].leaf == "moving_variance";
      for (std::size_t i = 0; i < values.size(); ++i)
        model_.run().variable(v)[static_cast<long>(i)] =
            variance ? 1.5 + values[i] : scale * values[i];
    }
    make_inputs();
    model_.run().set_random(5, 7);
  }

  int variables() const { return model_.program().variables.size(); }
  tensor_view<double> variable(int v) { return model_.run().variable(v); }

  double loss() {
    const std::size_t count = static_cast<std::size_t>(model_.program().inputs.size());
    if (count == 1) return model_.run().backward({input(0)});
    REQUIRE(count == 2);
    return model_.run().backward({input(0), input(1)});
  }
  std::vector<std::vector<double>> gradients() {
    loss();
    std::vector<std::vector<double>> all;
    for (int v = 0; v < variables(); ++v) {
      const auto g = model_.run().gradient(v);
      all.emplace_back(g.begin(), g.end());
    }
    return all;
  }
  /// The slope of the loss along `direction`, by two steps.
  double slope(const std::vector<std::vector<double>>& direction, double step) {
    move(direction, step);
    const double after = loss();
    move(direction, -2 * step);
    const double before = loss();
    move(direction, step);
    return (after - before) / (2 * step);
  }
  std::vector<double> numbers(const std::string& of, long count) const {
    const auto u = slim_test::uniform(name_ + "/" + of, static_cast<std::size_t>(count));
    return {u.begin(), u.end()};
  }

 private:
  void move(const std::vector<std::vector<double>>& direction, double step) {
    for (int v = 0; v < variables(); ++v)
      for (std::size_t i = 0; i < direction[static_cast<std::size_t>(v)].size(); ++i)
        if (model_.program().variables[v].trainable)
          variable(v)[static_cast<long>(i)] += step * direction[static_cast<std::size_t>(v)][i];
  }
  void make_inputs() {
    const program& p = model_.program();
    for (const input_row& in : p.inputs) {
      const shape dims = p.tensors[in.value].dims;
      std::vector<double> u = numbers(std::string(in.name), dims.count());
      if (in.name == "weights")
        for (double& w : u) w = w < -0.3 ? 0 : w + 1;
      if (in.name == "labels") make_distribution(u, dims.back());
      std::vector<int> classes;
      for (double value : numbers(std::string(in.name), dims.count()))
        classes.push_back(static_cast<int>((value + 1) / 2 * in.index_limit));
      reals_.push_back(u), integers_.push_back(classes);
    }
  }
  static void make_distribution(std::vector<double>& u, int classes) {
    for (std::size_t r = 0; r < u.size(); r += static_cast<std::size_t>(classes)) {
      double sum = 0;
      for (int k = 0; k < classes; ++k) sum += u[r + static_cast<std::size_t>(k)] += 1.1;
      for (int k = 0; k < classes; ++k) u[r + static_cast<std::size_t>(k)] /= sum;
    }
  }
  input_data<double> input(int i) const {
    const program& p = model_.program();
    const bool integer = p.tensors[p.inputs[i].value].type == element::int32;
    const auto at = static_cast<std::size_t>(i);
    return integer ? input_data<double>(integers_[at]) : input_data<double>(reals_[at]);
  }

  std::string name_;
  slim_test::dynamic_model<double, typename Target::backend> model_;
  std::vector<std::vector<double>> reals_;
  std::vector<std::vector<int>> integers_;
};

constexpr double step = 1e-5, tolerance = 1e-6;
constexpr int coordinates = 20;

/// A central difference, and whether a kink lies within its steps: then a shorter one differs.
struct difference {
  double slope;
  bool smooth;
};
template <class Target>
difference differ(subject<Target>& s, const std::vector<std::vector<double>>& direction,
                  double scale) {
  const double slope = s.slope(direction, step), shorter = s.slope(direction, step / 2);
  return {slope, std::abs(slope - shorter) < tolerance / 2 * scale};
}

double size_of(const std::vector<std::vector<double>>& v) {
  double squares = 0;
  for (const auto& part : v)
    for (double x : part) squares += x * x;
  return std::sqrt(squares);
}

/// Along a random direction through all variables; false where a kink is in the way.
template <class Target>
bool check_direction(subject<Target>& s, const std::vector<std::vector<double>>& g) {
  std::vector<std::vector<double>> direction;
  double expected = 0;
  for (int v = 0; v < s.variables(); ++v) {
    direction.push_back(s.numbers("direction" + std::to_string(v), s.variable(v).dims.count()));
    for (std::size_t i = 0; i < direction.back().size(); ++i)
      expected += direction.back()[i] * g[static_cast<std::size_t>(v)][i];
  }
  const difference d = differ(s, direction, size_of(g));
  if (d.smooth) CHECK(std::abs(d.slope - expected) < tolerance * size_of(g));
  return d.smooth;
}

/// Along single coordinates of every variable in turn; how many had no kink in the way.
template <class Target>
int check_coordinates(subject<Target>& s, const std::vector<std::vector<double>>& g) {
  int smooth = 0;
  for (int k = 0; k < coordinates; ++k) {
    const auto v = static_cast<std::size_t>(k % s.variables());
    const std::size_t i =
        slim_test::hash_at(slim_test::fnv1a64("coordinate"), static_cast<std::uint64_t>(k)) %
        g[v].size();
    std::vector<std::vector<double>> direction(g.size());
    direction[v].assign(i + 1, 0.0);
    direction[v][i] = 1;
    double largest = 0;
    for (double x : g[v]) largest = std::max(largest, std::abs(x));
    const double scale = std::max(largest, 1e-3);
    const difference d = differ(s, direction, scale);
    if (!d.smooth) continue;
    ++smooth;
    INFO("variable " << v << " element " << i);
    CHECK(std::abs(d.slope - g[v][i]) < tolerance * scale);
  }
  return smooth;
}

template <class Target>
void check_row(const row<builder<Target>>& r) {
  INFO(r.name);
  // Kinks lie where the numbers have them, so other numbers are tried.
  for (int salt = 0; salt < 10; ++salt) {
    subject<Target> s(r, salt);
    const auto g = s.gradients();
    REQUIRE(size_of(g) > 1e-3);
    if (!check_direction(s, g)) continue;
    CHECK(check_coordinates(s, g) >= coordinates * 3 / 4);
    return;
  }
  FAIL("no direction without a kink");
}

template <class Target>
void check_rows(const std::vector<row<builder<Target>>>& rows) {
  for (const auto& r : rows) check_row<Target>(r);
}

}  // namespace

TEMPLATE_TEST_CASE("gradients of convolutions", "", eigen_double, cpu_double) {
  check_rows<TestType>(convolutions<builder<TestType>>());
}
TEMPLATE_TEST_CASE("gradients of other layers", "", eigen_double, cpu_double) {
  check_rows<TestType>(other_layers<builder<TestType>>());
}
TEMPLATE_TEST_CASE("gradients of batch norm", "", eigen_double, cpu_double) {
  check_rows<TestType>(batch_norms<builder<TestType>>());
}
TEMPLATE_TEST_CASE("gradients of losses", "", eigen_double, cpu_double) {
  check_rows<TestType>(losses<builder<TestType>>());
  check_rows<TestType>(losses_of_any_shape<builder<TestType>>());
  check_rows<TestType>(weights_of_layers<builder<TestType>>());
}
TEMPLATE_TEST_CASE("gradients of regularizers", "", eigen_double, cpu_double) {
  check_rows<TestType>(regularizers<builder<TestType>>());
}
TEMPLATE_TEST_CASE("gradients of activations", "", eigen_double, cpu_double) {
  check_rows<TestType>(activations<builder<TestType>>());
}
