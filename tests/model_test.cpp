// What a model promises besides right numbers: no allocation while it runs, the same bits for any
// number of threads, part-filled batches, errors that change nothing. What its parts do is in
// parts_test.cpp.

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

#include "small_net.hpp"

// ---- Counting allocations ---------------------------------------------------------------------

// Eigen and the standard library both end in malloc, so this program's own takes its place. Other
// C libraries and sanitizers do not let it.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLIM_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLIM_SANITIZED 1
#endif
#if defined(__GLIBC__) && !defined(SLIM_SANITIZED)
#define SLIM_COUNTS_ALLOCATIONS 1
#else
#define SLIM_COUNTS_ALLOCATIONS 0
#endif

namespace {
[[maybe_unused]] std::atomic<long> allocations{0};
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

using namespace slim_test;

TEST_CASE("the small net has every kind of kernel") {
  const program p = float_trainer::training_program();
  CHECK(runs(p, "fused_convolution", "direct"));
  CHECK(runs(p, "fused_convolution", "winograd F(4,3)+pool"));
  CHECK(runs(p, "fused_convolution", "winograd F(4,3)"));
  CHECK(runs(p, "fused_convolution", "dense"));
  CHECK(runs(p, "max_pool", "one pass"));
  CHECK(runs(p, "convolution_backward_filter", "direct"));
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
              batch_norm<slim::scale{true}>, apply<relu>, concat<identity, conv2d<3, kernel_size{1}>>,
              separable_conv2d<6, kernel_size{3}>, conv2d_in_plane<kernel_size{3}>,
              conv2d_transpose<4, kernel_size{2}, stride{2}>, sum<identity, apply<relu>>,
              unit_norm<dim{3}>, local_response_normalization<depth_radius{2}>,
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

TEST_CASE("batch norm allocates nothing, when it is prepared anew neither") {
  using net = arg_scope<on<ops::conv2d>, with<normalizer_fn{ops::batch_norm{}}>,
                        conv2d<16, kernel_size{3}>, conv2d<8, kernel_size{1}, activation_fn{none}>,
                        max_pool2d<kernel_size{2}>, batch_norm<activation_fn{relu}>, flatten<>,
                        fully_connected<classes, activation_fn{none}>>;
  using model_t = model<net, input<batch, 16, 16, 3>, labels<batch>, sparse_softmax_cross_entropy<>>;
  cpu_device device(2);
  model_t m(device);
  m.initialize(1);
  const auto x = images<float>(batch);
  const auto y = some_labels(batch);
  const auto step = [&] {
    m.forward(x);
    m.backward(x, y);
    m.update(momentum{0.01});
    m.forward(x);  // folds the weights that have moved
  };
  step();
  const long before = allocations;
  for (int i = 0; i < 3; ++i) step();
  CHECK(allocations - before == 0);
}

TEST_CASE("inputs with long names allocate nothing") {
  using net = sequence<flatten<>, fully_connected<2, activation_fn{none}>>;
  using model_t = model<net, named_input<"the images of this model", float, batch, 16, 16, 3>>;
  cpu_device device(1);
  model_t m(device);
  m.initialize(1);
  const auto x = images<float>(batch);
  m.forward(x);
  const long before = allocations;
  m.forward(x);
  session s(m, device);
  s.forward(x);
  const long with_session = allocations;
  s.forward(x);
  CHECK(allocations == with_session);
  CHECK(with_session - before < 20);  // the session's own
}

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
/// |a - b| / |b|, in 2-norms: models of different batches may choose different kernels.
double apart(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double(a[i]) - b[i], 2);
    norm += std::pow(double(b[i]), 2);
  }
  return std::sqrt(difference / norm);
}

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
  CHECK(apart(copied(output), copied(exact.forward(some))) < 1e-5);
  const float loss = full.backward(some, some_y);
  CHECK(std::abs(loss - exact.backward(some, some_y)) < 1e-5 * std::abs(loss));
  CHECK(finite(gradients_of(full)));
  CHECK(apart(gradients_of(full), gradients_of(exact)) < 1e-4);
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
  REQUIRE(p.steps.size() - p.first_run == 1);
  CHECK(p.steps[p.first_run].kernel.ends_with("+pool"));
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
  // At inference the weights are read in the form that their kernel chose.
  const auto prepared_bytes = [&](bool fetch) {
    const traffic_model m(false, fetch, device);
    long elements = 0;
    for (const value_row& v : m.graph().values)
      if (v.where == storage::prepared) elements += v.dims.count();
    return 4 * elements;
  };
  const long weights = 4 * 3 * 3 * 32 * 32, biases = 4 * 32;
  const traffic inference = count(false, false), apart = count(false, true);
  CHECK(inference.written == pooled_bytes);
  CHECK(inference.read == unpooled_bytes + prepared_bytes(false) + biases);
  CHECK(apart.written == 3 * unpooled_bytes + pooled_bytes);
  CHECK(apart.read == 4 * unpooled_bytes + prepared_bytes(true) + biases);
  // Forward as above, and which element won (a byte each); backward only the gradient spread over
  // the windows is written before those of x, weights and biases.
  const traffic training = count(true, false), training_apart = count(true, true);
  const long loss = 3 * 4 + pooled_bytes - 4;  // the sum, its start, and the output's gradient
  CHECK(training.written <=
        pooled_bytes + pooled_bytes / 4 + loss + 2 * unpooled_bytes + weights + biases);
  CHECK(training_apart.written - training.written >= 3 * unpooled_bytes);
  CHECK(training_apart.read - training.read >= 3 * unpooled_bytes);
}

// ---- Training ---------------------------------------------------------------------------------

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
