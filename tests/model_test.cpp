// What a model promises besides right numbers: no allocation while it runs, the same bits for any
// number of threads, part-filled batches, errors that change nothing, and what its parts do.

#include <catch2/catch.hpp>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "dynamic.hpp"
#include "golden.hpp"

// ---- Counting allocations ---------------------------------------------------------------------

// Eigen and the standard library both end in malloc, so this program's own takes its place. Other
// C libraries and sanitizers do not let it.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define SLIM_COUNTS_ALLOCATIONS 1
#else
#define SLIM_COUNTS_ALLOCATIONS 0
#endif

namespace {
std::atomic<long> allocations{0};
}

#if SLIM_COUNTS_ALLOCATIONS
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t bytes) noexcept {
  ++allocations;
  return __libc_malloc(bytes);
}
void* calloc(std::size_t count, std::size_t bytes) noexcept {
  ++allocations;
  return __libc_calloc(count, bytes);
}
void* realloc(void* old, std::size_t bytes) noexcept {
  ++allocations;
  return __libc_realloc(old, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  ++allocations;
  return __libc_memalign(alignment, bytes);
}
void* memalign(std::size_t alignment, std::size_t bytes) noexcept {
  ++allocations;
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** out, std::size_t alignment, std::size_t bytes) noexcept {
  ++allocations;
  *out = __libc_memalign(alignment, bytes);
  return *out == nullptr ? ENOMEM : 0;
}
}
#endif

namespace {

using namespace slim;

/// Every kind of kernel in small: patches, Winograd, pooling fused and not, dense, dropout.
struct small_net
    : arg_scope<
          on<ops::conv2d>,
          with<weights_regularizer{l2_regularizer{0.001}}, biases_initializer{random_normal{}}>,
          net<"small", conv2d<32, kernel_size{3}, scope{"conv1"}>,
              conv2d<32, kernel_size{3}, scope{"conv2"}>,
              max_pool2d<kernel_size{2}, scope{"pool2"}>,
              conv2d<64, kernel_size{3}, scope{"conv3"}>,
              max_pool2d<kernel_size{3}, stride{2}, padding::same, scope{"pool3"}>,
              conv2d<48, kernel_size{4}, padding::valid, scope{"fc4"}>,
              dropout<keep_prob{0.5}, scope{"dropout4"}>,
              conv2d<10, kernel_size{1}, activation_fn{none}, scope{"fc5"}>,
              spatial_squeeze<scope{"fc5"}>>> {};

constexpr int batch = 4, image_size = 16 * 16 * 3, classes = 10;

template <int N, class... More>
using trainer =
    model<small_net, input<N, 16, 16, 3>, labels<N>, sparse_softmax_cross_entropy<>, More...>;
using float_trainer = trainer<batch>;
using double_trainer = trainer<batch, scalar<double>, backend::eigen>;

template <class T>
std::vector<T> images(int n, const char* name = "model/images") {
  const auto u = slim_test::uniform(name, static_cast<std::size_t>(n * image_size));
  return {u.begin(), u.end()};
}
std::vector<int> some_labels(int n) {
  std::vector<int> out;
  for (int i = 0; i < n; ++i) out.push_back((3 * i + 1) % classes);
  return out;
}

template <class View>
auto copied(const View& v) {
  return std::vector<std::remove_const_t<std::remove_reference_t<decltype(*v.begin())>>>(v.begin(),
                                                                                         v.end());
}
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}
template <class T>
bool finite(const std::vector<T>& v) {
  for (T x : v)
    if (!std::isfinite(x)) return false;
  return true;
}

template <class M>
auto variables_of(M& m) {
  auto all = copied(m.variable(0));
  for (int v = 1; v < M::variable_count; ++v)
    all.insert(all.end(), m.variable(v).begin(), m.variable(v).end());
  return all;
}
template <class M>
auto gradients_of(M& m) {
  auto all = copied(m.gradient(0));
  for (int v = 1; v < M::variable_count; ++v)
    all.insert(all.end(), m.gradient(v).begin(), m.gradient(v).end());
  return all;
}

bool runs(const program& p, std::string_view op, std::string_view kernel) {
  for (const step_row& s : p.steps)
    if (s.op == op && s.kernel == kernel) return true;
  return false;
}

}  // namespace

TEST_CASE("the small net has every kind of kernel") {
  const program p = float_trainer::training_program();
  CHECK(runs(p, "fused_convolution", "patches"));
  CHECK(runs(p, "fused_convolution", "winograd+pool"));
  CHECK(runs(p, "fused_convolution", "winograd"));
  CHECK(runs(p, "fused_convolution", "dense"));
  CHECK(runs(p, "max_pool", "one pass"));
  CHECK(runs(p, "convolution_backward_filter", "patches"));
  CHECK(runs(p, "convolution_backward_filter", "winograd"));
  CHECK(runs(p, "convolution_backward_filter", "dense"));
  CHECK(runs(p, "max_pool_backward+activation", "one pass"));
  CHECK(runs(p, "softmax_cross_entropy", "rows"));
}

// ---- No allocation ----------------------------------------------------------------------------

#if SLIM_COUNTS_ALLOCATIONS
TEST_CASE("allocations are counted") {
  const long before = allocations;
  // Through volatile pointers, or a compiler may leave the allocations out.
  int* volatile numbers = new int[10];
  delete[] numbers;
  Eigen::Tensor<float, 1>* volatile t = new Eigen::Tensor<float, 1>(10);
  delete t;
  CHECK(allocations - before == 3);
}

TEST_CASE("a model that runs allocates nothing") {
  const int threads = GENERATE(1, 2);
  cpu_device device(threads);
  float_trainer m(device);
  m.initialize(1);
  const auto x = images<float>(batch);
  const auto y = some_labels(batch);
  const std::span<const float> some(x.data(), 3 * image_size);
  const std::span<const int> some_y(y.data(), 3);
  const auto step = [&] {
    m.forward(x);
    m.backward(x, y);
    m.update(gradient_descent{0.01});
    m.set_random(1, 2);
    m.forward(some);
    m.backward(some, some_y);
  };
  step();
  const long before = allocations;
  for (int i = 0; i < 5; ++i) step();
  CHECK(allocations - before == 0);
}

namespace {

/// Every other op, each by a kernel of its own because the caller reads every value.
struct ops_apart : slim_test::dynamic_model<float, backend::cpu> {
  explicit ops_apart(cpu_device& device)
      : dynamic_model({batch, 12, 12, 3}, true, device, [](auto& b, int x) {
          using function = activation_fn<sigmoid_fn>;
          using layers = sequence<
              conv2d<16, kernel_size{3}, stride{2}, function{}>,
              conv2d<16, kernel_size{3}, rate{2}, weights_regularizer{l1_regularizer{0.1}}>,
              conv2d<16, kernel_size{3}>, bias_add<function{}>, dropout<>,
              avg_pool2d<kernel_size{2}, stride{1}>, max_pool2d<kernel_size{2}>, softmax<>,
              fully_connected<8>, flatten<>, fully_connected<classes>>;
          const int first = b.g.values.size();
          b.g.output = layers::lower<no_context>(b, x);
          labels<batch>::lower(b);
          sparse_softmax_cross_entropy<>::lower(b);
          one_hot_targets::lower(b);
          softmax_cross_entropy<labels_from{"targets"}, weights_from{"weights"},
                                label_smoothing{0.1}>::lower(b);
          for (int v = first; v < b.g.values.size(); ++v)
            b.g.values[v].fetched = b.g.values[v].where == storage::buffer;
          return b.g.output;
        }) {
    run().initialize(1);
  }

 private:
  struct one_hot_targets {
    template <class B>
    static void lower(B& b) {
      named_input<"targets", float, batch, classes>::lower(b);
      named_input<"weights", float, batch>::lower(b);
    }
  };
};

}  // namespace

TEST_CASE("no op allocates") {
  cpu_device device(2);
  ops_apart m(device);
  const auto y = some_labels(batch);
  const std::vector<float> targets(batch * classes, 0.1f), weights(batch, 0.5f);
  const auto step = [&] { m.run().backward({y, targets, weights}); };
  step();
  const long before = allocations;
  step();
  CHECK(allocations - before == 0);
}
#endif

// ---- Any number of threads --------------------------------------------------------------------

namespace {

template <class T>
struct outcome {
  std::vector<T> output, gradients, trained;
  T loss = 0;
};

template <class M, class T>
outcome<T> train(int threads) {
  cpu_device device(threads);
  M m(device);
  m.initialize(7);
  m.set_random(3, 4);
  const auto x = images<T>(batch);
  const auto y = some_labels(batch);
  outcome<T> o;
  o.output = copied(m.forward(x));
  o.loss = m.backward(x, y);
  o.gradients = gradients_of(m);
  for (std::uint64_t step = 0; step < 3; ++step) {
    m.set_random(3, step);
    m.backward(x, y);
    m.update(gradient_descent{0.05});
  }
  o.trained = variables_of(m);
  return o;
}

template <class M, class T>
void check_threads() {
  const outcome<T> one = train<M, T>(1);
  REQUIRE(finite(one.trained));
  CHECK(one.loss > 0);
  for (int threads : {2, 5}) {
    const outcome<T> several = train<M, T>(threads);
    INFO(threads << " threads");
    CHECK(same_bits(several.output, one.output));
    CHECK(several.loss == one.loss);
    CHECK(same_bits(several.gradients, one.gradients));
    CHECK(same_bits(several.trained, one.trained));
  }
}

}  // namespace

TEST_CASE("the same bits for any number of threads, float on the CPU's kernels") {
  check_threads<float_trainer, float>();
}
TEST_CASE("the same bits for any number of threads, double on the reference") {
  check_threads<double_trainer, double>();
}

// ---- Fewer images than the batch --------------------------------------------------------------

namespace {

/// The full batch's model on n images, after it ran on garbage, against the model of batch n.
template <int N>
void check_part_of_a_batch() {
  cpu_device device(2);
  float_trainer full(device);
  trainer<N> exact(device);
  full.initialize(5);
  exact.initialize(5);
  const std::vector<float> garbage(static_cast<std::size_t>(batch * image_size),
                                   std::numeric_limits<float>::quiet_NaN());
  full.backward(garbage, some_labels(batch));

  // What lies behind the n images must not be read either.
  auto x = images<float>(batch);
  std::fill(x.begin() + N * image_size, x.end(), std::numeric_limits<float>::quiet_NaN());
  auto y = some_labels(batch);
  std::fill(y.begin() + N, y.end(), -1);
  const std::span<const float> some(x.data(), static_cast<std::size_t>(N * image_size));
  const std::span<const int> some_y(y.data(), static_cast<std::size_t>(N));

  const auto output = full.forward(some);
  CHECK(output.dims == shape{N, classes});
  CHECK(finite(copied(output)));
  CHECK(same_bits(copied(output), copied(exact.forward(some))));
  const float loss = full.backward(some, some_y);
  CHECK(loss == exact.backward(some, some_y));
  CHECK(finite(gradients_of(full)));
  CHECK(same_bits(gradients_of(full), gradients_of(exact)));
}

/// Dense layers only, which change their algorithm with the number of rows.
struct dense_net
    : net<"dense", flatten<>, fully_connected<70>, fully_connected<classes, activation_fn{none}>> {
};
constexpr int many = 20;
using dense_trainer =
    model<dense_net, input<many, 16, 16, 3>, labels<many>, sparse_softmax_cross_entropy<>>;

}  // namespace

TEST_CASE("n images of a larger batch give what a model of batch n gives") {
  check_part_of_a_batch<1>();
  check_part_of_a_batch<2>();
  check_part_of_a_batch<3>();
  check_part_of_a_batch<4>();
}

TEST_CASE("the gradient of n images is the mean of each one's, for any n") {
  cpu_device device(2);
  dense_trainer m(device);
  m.initialize(2);
  const auto x = images<float>(many);
  const auto y = some_labels(many);
  const auto run = [&](int first, int n) {
    return m.backward(
        std::span(x).subspan(static_cast<std::size_t>(first * image_size),
                             static_cast<std::size_t>(n * image_size)),
        std::span(y).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(n)));
  };
  std::vector<double> sum;
  for (int n = 1; n <= many; ++n) {
    run(n - 1, 1);
    const auto one = gradients_of(m);
    sum.resize(one.size());
    for (std::size_t i = 0; i < one.size(); ++i) sum[i] += double(one[i]);
    run(0, n);
    const auto all = gradients_of(m);
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      difference += std::pow(sum[i] / n - double(all[i]), 2);
      norm += std::pow(double(all[i]), 2);
    }
    INFO(n << " images");
    CHECK(std::sqrt(difference / norm) < 1e-5);
  }
}

// ---- Errors -----------------------------------------------------------------------------------

TEST_CASE("an input that does not fit is named and changes nothing") {
  using Catch::Equals;
  cpu_device device(2);
  float_trainer m(device);
  m.initialize(3);
  const auto x = images<float>(batch), five = images<float>(batch + 1);
  const auto y = some_labels(batch);
  const float loss = m.backward(x, y);
  const auto variables = variables_of(m), gradients = gradients_of(m);
  const std::vector<float> cut(x.begin(), x.end() - 1), no_images;
  const std::vector<int> ints(x.size()), three(3, 0), too_large{0, 1, 10, 2}, negative{0, -1, 3, 3};
  const std::vector<float> float_labels(batch);
  const auto complaint = [](auto call) -> std::string {
    try {
      call();
    } catch (const input_error& e) {
      return e.what();
    }
    return "no error";
  };

  CHECK(complaint([&] { m.forward(five); }) == "input inputs: 5 examples exceed the batch of 4");
  CHECK(complaint([&] { m.backward(five, some_labels(5)); }) ==
        "input inputs: 5 examples exceed the batch of 4");
  CHECK(complaint([&] { m.forward(cut); }) ==
        "input inputs: 3071 elements are not a whole number of examples of 768");
  CHECK_THAT(complaint([&] { m.forward(no_images); }),
             Catch::StartsWith("input inputs: 0 elements"));
  CHECK(complaint([&] { m.backward(x, too_large); }) == "input labels[2] = 10 is not in [0, 10)");
  CHECK(complaint([&] { m.backward(x, negative); }) == "input labels[1] = -1 is not in [0, 10)");
  CHECK(complaint([&] { m.backward(x); }) == "input labels was not given");
  CHECK(complaint([&] { m.forward(); }) == "input inputs was not given");
  CHECK(complaint([&] { m.backward(x, three); }) == "input labels has 3 examples, inputs has 4");
  CHECK(complaint([&] { m.backward(ints, y); }) ==
        "input inputs must hold numbers of the model's type");
  CHECK(complaint([&] { m.backward(x, float_labels); }) == "input labels must hold ints");
  CHECK(complaint([&] { m.backward(x, y, y); }) == "the model has 2 inputs, 3 were given");

  CHECK(same_bits(variables_of(m), variables));
  CHECK(same_bits(gradients_of(m), gradients));
  CHECK(m.total_loss() == loss);
  CHECK(m.backward(x, y) == loss);
  CHECK(same_bits(gradients_of(m), gradients));
  CHECK_NOTHROW(m.forward(x, y));
}

// ---- Fusion keeps values out of memory --------------------------------------------------------

namespace {

struct fused_net : net<"fused", conv2d<32, kernel_size{3}, scope{"conv"}>,
                       max_pool2d<kernel_size{2}, scope{"pool"}>> {};
using fused_model = model<fused_net, input<2, 24, 24, 32>>;
using fetching_model = model<fused_net, input<2, 24, 24, 32>, fetch<"fused/conv">>;
constexpr long unpooled_bytes = 4L * 2 * 24 * 24 * 32, pooled_bytes = unpooled_bytes / 4;
constexpr shape unpooled{2, 24, 24, 32};

/// Values of this shape that the program keeps in its arena.
int placed(const program& p, const shape& dims) {
  int count = 0;
  for (const tensor_row& t : p.tensors)
    count += t.place.where == storage::buffer && t.place.offset >= 0 && t.dims == dims;
  return count;
}

using float_cpu = target<float, backend::cpu>;
/// conv, bias, ReLU and pooling; every value between them can be made one the caller reads.
struct traffic_model : slim_test::dynamic_model<float, backend::cpu> {
  traffic_model(bool training, bool fetch, cpu_device& device)
      : dynamic_model({2, 24, 24, 32}, training, device, [fetch](auto& b, int x) {
          const int first = b.g.values.size();
          const int y = fused_net::lower<no_context>(b, x);
          for (int v = first; v < b.g.values.size(); ++v)
            b.g.values[v].fetched = fetch && b.g.values[v].where == storage::buffer;
          return y;
        }) {}
};

}  // namespace

TEST_CASE("a fused convolution writes only what is pooled") {
  const program p = fused_model::inference_program();
  REQUIRE(p.steps.size() == 1);
  CHECK(p.steps[0].kernel == "winograd+pool");
  CHECK(placed(p, unpooled) == 0);
  CHECK(p.memory.bytes == pooled_bytes + p.memory.workspace_bytes);
  CHECK(placed(fetching_model::inference_program(), unpooled) == 1);
  CHECK(fetching_model::inference_bytes() >= unpooled_bytes + pooled_bytes);
}

TEST_CASE("what was fused away is no different from what is fetched") {
  cpu_device device(2);
  fused_model fused(device);
  fetching_model fetching(device);
  fused.initialize(1), fetching.initialize(1);
  const auto x = slim_test::uniform("fused/x", static_cast<std::size_t>(unpooled.count()));
  const auto y = copied(fused.forward(x)), z = copied(fetching.forward(x));
  const auto conv = fetching.fetched<"fused/conv">();
  REQUIRE(conv.dims == unpooled);
  REQUIRE(y.size() == z.size());
  double worst = 0, largest = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    worst = std::max(worst, std::abs(double(y[i]) - double(z[i])));
    largest = std::max(largest, double(y[i]));
  }
  CHECK(worst <= 1e-5 * largest);
  CHECK(*std::max_element(conv.begin(), conv.end()) == *std::max_element(z.begin(), z.end()));
}

TEST_CASE("fusion saves traffic") {
  cpu_device device(1);
  const auto count = [&](bool training, bool fetch) {
    return count_traffic(traffic_model(training, fetch, device).graph(), 4);
  };
  const long weights = 4 * 3 * 3 * 32 * 32, biases = 4 * 32;
  const traffic inference = count(false, false), apart = count(false, true);
  CHECK(inference.written == pooled_bytes);
  CHECK(inference.read == unpooled_bytes + weights + biases);
  CHECK(apart.written == 3 * unpooled_bytes + pooled_bytes);
  CHECK(apart.read == 4 * unpooled_bytes + weights + biases);
  // Forward as above, and which element won (a byte each); backward only the gradient spread over
  // the windows is written before those of x, weights and biases.
  const traffic training = count(true, false), training_apart = count(true, true);
  const long loss = 3 * 4 + pooled_bytes - 4;  // the sum, its start, and the output's gradient
  CHECK(training.written <=
        pooled_bytes + pooled_bytes / 4 + loss + 2 * unpooled_bytes + weights + biases);
  CHECK(training_apart.written - training.written >= 3 * unpooled_bytes);
  CHECK(training_apart.read - training.read >= 3 * unpooled_bytes);
}

// ---- Initial values ---------------------------------------------------------------------------

namespace {

constexpr shape many_weights{3, 3, 64, 128};
constexpr double fan_in = 9 * 64, fan_out = 9 * 128, fan_mean = (fan_in + fan_out) / 2;
/// The standard deviation of a normal cut at two of its own.
const double cut_deviation = 0.8796256610342398;

/// One variable of the type's initializer.
template <class Initializer>
struct initialised : slim_test::dynamic_model<float, backend::eigen> {
  explicit initialised(cpu_device& device, std::uint64_t seed = 1, const char* name = "weights")
      : dynamic_model({1, 2}, false, device, [&](auto& b, int x) {
          b.enter("layer");
          b.add_variable(name, many_weights, &variable_hooks_of<float, Initializer>, true);
          b.scope = -1;
          return b.template add<op::activation<constant<relu>>>({x});
        }) {
    run().initialize(seed);
  }
  std::vector<float> values() { return copied(run().variable(0)); }
};
template <auto Initializer>
std::vector<float> drawn(std::uint64_t seed = 1, int threads = 2, const char* name = "weights") {
  cpu_device device(threads);
  return initialised<constant<Initializer>>(device, seed, name).values();
}

struct moments {
  double mean = 0, deviation = 0, lowest = HUGE_VAL, highest = -HUGE_VAL;

  explicit moments(const std::vector<float>& v) {
    for (float x : v) {
      mean += double(x) / double(v.size());
      lowest = std::min(lowest, double(x)), highest = std::max(highest, double(x));
    }
    for (float x : v) deviation += std::pow(double(x) - mean, 2) / double(v.size());
    deviation = std::sqrt(deviation);
  }
};

/// Mean and deviation within five of their own deviations (for at most a normal's tails).
void check_moments(const std::vector<float>& v, double mean, double deviation) {
  const moments m(v);
  const double root = std::sqrt(double(v.size()));
  CHECK(std::abs(m.mean - mean) < 5 * deviation / root);
  CHECK(std::abs(m.deviation - deviation) < 5 * deviation / (std::sqrt(2.0) * root));
}
/// Uniform: nothing beyond the limit, and something close to it on both sides.
void check_limits(const std::vector<float>& v, double mean, double limit) {
  const moments m(v);
  CHECK(m.highest <= mean + limit * 1.000001);
  CHECK(m.lowest >= mean - limit * 1.000001);
  CHECK(m.highest > mean + 0.99 * limit);
  CHECK(m.lowest < mean - 0.99 * limit);
}

}  // namespace

TEST_CASE("initializers without chance") {
  for (float x : drawn<zeros{}>()) REQUIRE(x == 0);
  for (float x : drawn<ones{}>()) REQUIRE(x == 1);
  for (float x : drawn<constant_initializer{-0.3}>()) REQUIRE(x == -0.3f);
}

TEST_CASE("xavier_initializer") {
  const auto uniform = drawn<xavier_initializer{}>();
  check_limits(uniform, 0, std::sqrt(6 / (fan_in + fan_out)));
  check_moments(uniform, 0, std::sqrt(2 / (fan_in + fan_out)));
  check_moments(drawn<xavier_initializer{false}>(), 0, std::sqrt(1.3 / fan_mean) * cut_deviation);
}

TEST_CASE("variance_scaling_initializer") {
  using init = variance_scaling_initializer;
  const auto normal = [](double factor, double n) {
    return std::sqrt(1.3 * factor / n) * cut_deviation;
  };
  check_moments(drawn<init{}>(), 0, normal(2, fan_in));
  check_moments(drawn<init{1.0, fan_mode::fan_out}>(), 0, normal(1, fan_out));
  check_moments(drawn<init{1.0, fan_mode::fan_avg}>(), 0, normal(1, fan_mean));
  check_limits(drawn<init{1.0}>(), 0, 2 * std::sqrt(1.3 / fan_in));
  // 1.3 restores the variance that the cut takes away, nearly.
  CHECK(std::abs(normal(1, fan_in) / std::sqrt(1 / fan_in) - 1) < 0.01);
  check_limits(drawn<init{3.0, fan_mode::fan_out, true}>(), 0, std::sqrt(9 / fan_out));
  check_moments(drawn<init{3.0, fan_mode::fan_in, true}>(), 0, std::sqrt(3 / fan_in));
}

TEST_CASE("normal initializers") {
  const auto cut = drawn<truncated_normal{0.5, 0.1}>();
  check_limits(cut, 0.5, 0.2);
  check_moments(cut, 0.5, 0.1 * cut_deviation);
  const auto whole = drawn<random_normal{-1.0, 3.0}>();
  check_moments(whole, -1, 3);
  double beyond = 0;
  for (float x : whole) beyond += std::abs(double(x) + 1) > 6;
  CHECK(beyond / double(whole.size()) == Approx(0.0455).margin(0.004));
}

TEST_CASE("initial values follow from seed and name alone") {
  constexpr xavier_initializer init;
  const auto one = drawn<init>(4, 1);
  CHECK(same_bits(drawn<init>(4, 2), one));
  CHECK(same_bits(drawn<init>(4, 5), one));
  CHECK_FALSE(same_bits(drawn<init>(5, 1), one));
  CHECK_FALSE(same_bits(drawn<init>(4, 1, "others"), one));
}

// ---- Dropout ----------------------------------------------------------------------------------

namespace {

constexpr shape dropped_shape{100, 1000};

/// x of ones through two dropouts that keep 0.7 and 0.5; y1 is fetched.
struct dropout_model : slim_test::dynamic_model<float, backend::cpu> {
  explicit dropout_model(cpu_device& device, bool training = true)
      : dynamic_model(dropped_shape, training, device, [this](auto& b, int x) {
          first = dropout<keep_prob{0.7}>::lower<no_context>(b, x);
          b.g.values[first].fetched = true;
          return dropout<>::lower<no_context>(b, first);
        }) {
    if (!training) return;
    for (float& x : variable("x").span()) x = 1;
  }
  std::vector<float> output() { return copied(run().value(program().output)); }
  std::vector<float> once() { return copied(run().value(first)); }
  std::vector<float> step(std::uint64_t seed, std::uint64_t number) {
    run().set_random(seed, number);
    run().backward({std::vector<float>(static_cast<std::size_t>(dropped_shape.count()), 1.0f)});
    return output();
  }
  int first;
};

}  // namespace

TEST_CASE("dropout keeps its share, scaled, and its gradient has the same mask") {
  cpu_device device(2);
  dropout_model m(device);
  const auto y = m.step(1, 0);
  const auto once = m.once();
  double kept = 0, kept_twice = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    REQUIRE((once[i] == 0 || once[i] == float(1 / 0.7)));
    REQUIRE((y[i] == 0 || y[i] == 2 * once[i]));
    kept += once[i] != 0, kept_twice += y[i] != 0;
  }
  const double n = double(y.size());
  CHECK(std::abs(kept / n - 0.7) < 5 * std::sqrt(0.7 * 0.3 / n));
  // The two masks are independent.
  CHECK(std::abs(kept_twice / n - 0.35) < 5 * std::sqrt(0.35 * 0.65 / n));
  CHECK(same_bits(copied(m.gradient("x")), y));
}

TEST_CASE("dropout's mask follows from seed and step") {
  cpu_device device(2), other_device(5);
  dropout_model m(device), other(other_device);
  const auto y = m.step(1, 0);
  const auto agreement = [&](const std::vector<float>& z) {
    double same = 0;
    for (std::size_t i = 0; i < y.size(); ++i) same += (y[i] != 0) == (z[i] != 0);
    return same / double(y.size());
  };
  CHECK(same_bits(other.step(1, 0), y));
  const double chance = 0.35 * 0.35 + 0.65 * 0.65;
  CHECK(agreement(m.step(1, 1)) == Approx(chance).margin(0.01));
  CHECK(agreement(m.step(2, 0)) == Approx(chance).margin(0.01));
  CHECK(same_bits(m.step(1, 0), y));
}

TEST_CASE("dropout does nothing at inference") {
  cpu_device device(2);
  dropout_model m(device, false);
  const auto x = slim_test::uniform("dropout/x", static_cast<std::size_t>(dropped_shape.count()));
  CHECK(same_bits(copied(m.run().forward({x})), x));
  CHECK(m.program().steps.size() == 0);
}

TEST_CASE("a fetched dropout can be read after forward and after backward") {
  cpu_device device(2);
  trainer<batch, fetch<"small/fc4", "small/dropout4">> m(device);
  m.initialize(1);
  const auto x = images<float>(batch);
  m.forward(x);
  const auto in = copied(m.fetched<"small/fc4">());
  CHECK(std::any_of(in.begin(), in.end(), [](float v) { return v > 0; }));
  CHECK(same_bits(copied(m.fetched<"small/dropout4">()), in));
  m.backward(x, some_labels(batch));
  const auto before = copied(m.fetched<"small/fc4">()),
             after = copied(m.fetched<"small/dropout4">());
  int kept = 0, dropped = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    REQUIRE((after[i] == 0 || after[i] == 2 * before[i]));
    if (before[i] != 0) ++(after[i] == 0 ? dropped : kept);
  }
  CHECK(kept > 0);
  CHECK(dropped > 0);
}

// ---- Losses and updates -----------------------------------------------------------------------

namespace {

/// One penalty switched off, one layer that is not trained, one without any penalty.
struct frozen_net
    : net<"net", flatten<>,
          fully_connected<8, scope{"a"}, weights_regularizer{l2_regularizer{0.0}}>,
          fully_connected<8, scope{"b"}, weights_regularizer{l2_regularizer{0.1}},
                          trainable{false}>,
          fully_connected<classes, scope{"c"}, weights_regularizer{l1_regularizer{0.01}}>> {};
using frozen_trainer =
    model<frozen_net, input<batch, 16, 16, 3>, labels<batch>, sparse_softmax_cross_entropy<>,
          sparse_softmax_cross_entropy<loss_weight{0.5}>>;

}  // namespace

TEST_CASE("the total loss is the sum of losses and penalties") {
  cpu_device device(2);
  frozen_trainer m(device);
  m.initialize(1);
  const float returned = m.backward(images<float>(batch), some_labels(batch));
  REQUIRE(get_losses(m).size() == 2);
  REQUIRE(get_regularization_losses(m).size() == 2);  // a scale of 0 adds none
  CHECK(get_losses(m)[1] == Approx(get_losses(m)[0] / 2));
  double b = 0, c = 0, sum = 0;
  for (float w : m.variable<"net/b/weights">()) b += 0.1 * double(w) * double(w) / 2;
  for (float w : m.variable<"net/c/weights">()) c += 0.01 * std::abs(double(w));
  CHECK(get_regularization_losses(m)[0] == Approx(b));
  CHECK(get_regularization_losses(m)[1] == Approx(c));
  for (float loss : get_losses(m)) sum += double(loss);
  for (float loss : get_regularization_losses(m)) sum += double(loss);
  CHECK(get_total_loss(m) == Approx(sum).epsilon(1e-6));
  CHECK(returned == get_total_loss(m));
}

TEST_CASE("gradient descent moves trained variables by rate times gradient") {
  cpu_device device(2);
  frozen_trainer m(device);
  m.initialize(1);
  m.backward(images<float>(batch), some_labels(batch));
  const auto w = variables_of(m), g = gradients_of(m);
  const auto frozen = copied(m.variable<"net/b/weights">());
  constexpr double rate = 0.37;
  m.update(gradient_descent{rate});
  const auto moved = variables_of(m);
  int changed = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    // A compiler may or may not round the product.
    const volatile float product = float(rate) * g[i];
    REQUIRE((moved[i] == w[i] - product || moved[i] == std::fma(-float(rate), g[i], w[i])));
    changed += moved[i] != w[i];
  }
  CHECK(changed > 1000);
  CHECK(same_bits(copied(m.variable<"net/b/weights">()), frozen));
  for (float slope : m.gradient<"net/b/weights">()) REQUIRE(slope == 0);
}

TEST_CASE("training lowers the loss") {
  cpu_device device(2);
  dense_trainer m(device);
  m.initialize(1);
  const auto x = images<float>(many);
  const auto y = some_labels(many);
  const float before = m.backward(x, y);
  for (int step = 0; step < 100; ++step) {
    m.backward(x, y);
    m.update(gradient_descent{0.05});
  }
  CHECK(m.backward(x, y) < before / 10);
}

// ---- Reports ----------------------------------------------------------------------------------

TEST_CASE("a report names layers, kernels and totals") {
  const std::string text = report(float_trainer::inference_program());
  for (const char* part : {"small/conv1", "small/conv2", "small/fc5", "winograd+pool", "patches",
                           "dense", "[4,8,8,32]"})
    CHECK_THAT(text, Catch::Contains(part));
  long parameters = 0;
  for (const variable_row& v : float_trainer::inference_program().variables)
    parameters += v.dims.count();
  CHECK(parameters == float_trainer::parameter_count);
  CHECK_THAT(text, Catch::Contains(" 78,330 parameters"));
  CHECK(float_trainer::parameter_count == 896 + 9248 + 18496 + 49200 + 490);
}

TEST_CASE("graphviz reads what graphviz() writes") {
  const std::string text = graphviz(float_trainer::training_program());
  CHECK_THAT(text, Catch::StartsWith("digraph") && Catch::EndsWith("}\n"));
  CHECK_THAT(text, Catch::Contains("small/conv1") && Catch::Contains("style=dashed"));
  if (std::system("command -v dot > /dev/null 2>&1") != 0) {
    WARN("dot is not installed: the graph was not given to it");
    return;
  }
  std::FILE* dot = popen("dot -Tsvg > /dev/null", "w");
  REQUIRE(dot != nullptr);
  std::fputs(text.c_str(), dot);
  CHECK(pclose(dot) == 0);
}
