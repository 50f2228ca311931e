// One net with Google Benchmark: forward, forward + backward, and a step of gradient descent. With
// --worker it serves bench/rivals/run.py, with --check it computes once on given numbers. The net
// is the one that -DSLIM_BENCH_NET names. Backward is the mean softmax cross entropy and the gradients
// of all variables, without regularization and with dropout at keep probability 1.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>

#include <slim/slim.hpp>

#include "peak.hpp"

namespace {

using namespace slim;

// ---------------------------------------------------------------------------- nets

enum mode { forward, backward, step };
constexpr const char* mode_names[] = {"forward", "backward", "step"};

struct one_case {
  mode what;
  int batch;
};
template <one_case... Case>
struct cases_of {};

template <class Net>
struct image_classifier {
  using net = Net;
  template <int Batch>
  using images = input<Batch, 224, 224, 3>;
  static constexpr int elements = 224 * 224 * 3, classes = 1000;
};

namespace bench_nets {

constexpr weight_decay no_decay{0};
constexpr dropout_keep_prob keep{1.0};

struct vgg_16 : image_classifier<nets::vgg_arg_scope_of<no_decay, nets::vgg_16<keep>>> {
  using cases = cases_of<one_case{forward, 1}, one_case{forward, 8}, one_case{backward, 1},
                         one_case{backward, 8}>;
};
struct resnet_v1_50
    : image_classifier<sequence<
          nets::resnet_arg_scope_of<no_decay, nets::resnet_v1_50<num_classes{1000}>>,
          spatial_squeeze<>>> {
  using cases = cases_of<one_case{forward, 1}, one_case{forward, 8}, one_case{backward, 8}>;
};
struct inception_v1
    : image_classifier<nets::inception_v1_arg_scope_of<no_decay, nets::inception_v1<keep>>> {
  using cases = cases_of<one_case{forward, 1}, one_case{forward, 8}, one_case{backward, 8}>;
};
struct alexnet_v2
    : image_classifier<nets::alexnet_v2_arg_scope_of<no_decay, nets::alexnet_v2<keep>>> {
  using cases = cases_of<one_case{backward, 16}>;
};
struct lenet {
  using net = nets::lenet_arg_scope<nets::lenet<keep>>;
  template <int Batch>
  using images = input<Batch, 28, 28, 1>;
  static constexpr int elements = 28 * 28, classes = 10;
  using cases = cases_of<one_case{forward, 1}, one_case{step, 32}>;
};
struct mlp {
  struct net : slim::net<"mlp", fully_connected<300, scope{"fc1"}>,
                         fully_connected<100, scope{"fc2"}>,
                         fully_connected<10, activation_fn{none}, scope{"fc3"}>> {};
  template <int Batch>
  using images = input<Batch, 784>;
  static constexpr int elements = 784, classes = 10;
  using cases = cases_of<one_case{forward, 1}>;
};

}  // namespace bench_nets

using chosen = bench_nets::SLIM_BENCH_NET;

// ---------------------------------------------------------------------------- one repetition

/// One repetition of a case, and what it computes.
template <one_case Case>
class repetition {
  using images = chosen::images<Case.batch>;
  using model_t = std::conditional_t<Case.what == forward, model<chosen::net, images>,
                                     model<chosen::net, images, labels<Case.batch>,
                                           sparse_softmax_cross_entropy<>>>;

 public:
  explicit repetition(cpu_device& device) : model_(device) {
    model_.initialize(1);
    for (std::size_t i = 0; i < images_.size(); ++i)
      images_[i] = float(to_uniform(random_at(7, i))) * 2 - 1;
    for (int i = 0; i < Case.batch; ++i) classes_.push_back(37 * i % chosen::classes);
  }

  void run() {
    if constexpr (Case.what == forward) {
      benchmark::DoNotOptimize(model_.forward(images_).data);
    } else {
      benchmark::DoNotOptimize(model_.backward(images_, classes_));
      if constexpr (Case.what == step) model_.update(gradient_descent{0.01});
    }
  }

  /// Operations of all contractions: direct convolution's, whatever the kernel.
  static double gflop() {
    double sum = 0;
    for (const step_row& s : program_of().steps) sum += 2e-9 * double(s.multiply_adds);
    return sum;
  }

  /// What the compiler has planned: variables, gradients, prepared values and the arena.
  static double planned_bytes() {
    const program p = program_of();
    const int copies = Case.what == forward ? 1 : 2;
    return double(p.variable_elements) * 4 * copies + double(p.memory.bytes) +
           double(model_t::inference_program().memory.prepared_bytes);
  }
  static long parameters() { return model_t::trainable_parameter_count; }

  /// Variables and images from a file of floats; the output, or the loss and the norm of each
  /// gradient.
  void check(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const auto fill = [&file](float* data, long count) {
      file.read(reinterpret_cast<char*>(data), count * 4);
    };
    for (int v = 0; v < model_t::variable_count; ++v)
      fill(model_.variable(v).data, model_.variable(v).dims.count());
    fill(images_.data(), long(images_.size()));
    if (!file || file.peek() != EOF) throw std::runtime_error(path + " does not fit the net");
    std::printf("check");
    if constexpr (Case.what == forward) {
      for (const float y : model_.forward(images_)) std::printf(" %.9g", y);
    } else {
      std::printf(" %.9g", model_.backward(images_, classes_));
      for (int v = 0; v < model_t::variable_count; ++v)
        if (model_.trainable(v)) std::printf(" %.9g", norm(model_.gradient(v)));
    }
    std::printf("\n");
  }

 private:
  static double norm(const tensor_view<float>& x) {
    double sum = 0;
    for (const float value : x) sum += double(value) * value;
    return std::sqrt(sum);
  }
  static program program_of() {
    if constexpr (Case.what == forward)
      return model_t::inference_program();
    else
      return model_t::training_program();
  }

  model_t model_;
  std::vector<float> images_ = std::vector<float>(std::size_t(Case.batch * chosen::elements));
  std::vector<int> classes_;
};

// ---------------------------------------------------------------------------- Google Benchmark

double peak = 0;
int threads = 0;

template <one_case Case>
void bench(benchmark::State& state) {
  cpu_device device(threads);
  repetition<Case> one(device);
  one.run();
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) one.run();
  const double rate = one.gflop() * double(state.iterations()) / slim_bench::seconds_since(start);
  // Operations of direct convolution, whatever the kernel: above 100 % is Winograd's saving.
  state.counters["effective_GFLOP/s"] = rate;
  state.counters["%_of_direct_peak"] = 100 * rate / peak;
}

#define SLIM_BENCH_TEXT_OF(name) #name
#define SLIM_BENCH_TEXT(name) SLIM_BENCH_TEXT_OF(name)
const std::string net_name = SLIM_BENCH_TEXT(SLIM_BENCH_NET);

template <one_case... Case>
void add_benchmarks(cases_of<Case...>) {
  (benchmark::RegisterBenchmark((net_name + "/" + mode_names[Case.what] + "/batch:" +
                                 std::to_string(Case.batch)).c_str(),
                                bench<Case>)
       ->Unit(Case.batch > 1 || chosen::classes > 10 ? benchmark::kMillisecond
                                                     : benchmark::kMicrosecond)
       ->UseRealTime(),
   ...);
}

// ---------------------------------------------------------------------------- the worker

std::string compiler() {
#ifdef __clang__
  return "clang " + std::string(__clang_version__);
#else
  return "g++ " + std::string(__VERSION__);
#endif
}

/// Calls that take 50 ms together, so that clock and pauses do not count.
template <class Repetition>
int calls_of(Repetition& one) {
  for (int calls = 1;; calls *= 2) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; ++i) one.run();
    if (slim_bench::seconds_since(start) > 0.05) return calls;
  }
}

/// The protocol of bench/rivals/worker.py.
template <one_case Case>
int serve(const std::string& check) {
  cpu_device device(threads);
  repetition<Case> one(device);
  if (!check.empty()) return one.check(check), 0;
  for (int i = 0; i < 3; ++i) one.run();
  const int calls = calls_of(one);
  std::cout << "ready slim, " << compiler() << ", " << device.threads() << " threads; GFLOP "
            << one.gflop() << ", parameters " << one.parameters() << ", planned bytes "
            << long(one.planned_bytes()) << ", calls " << calls << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    if (line != "run") continue;
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; ++i) one.run();
    std::cout << slim_bench::seconds_since(start) * 1e3 / calls << std::endl;
  }
  return 0;
}

template <one_case... Case>
int serve(cases_of<Case...>, const std::string& what, int batch, const std::string& check) {
  int result = -1;
  ((Case.batch == batch && mode_names[Case.what] == what ? void(result = serve<Case>(check))
                                                         : void()),
   ...);
  if (result < 0) std::cerr << net_name << ": " << what << " of " << batch << " is not compiled\n";
  return result < 0 ? 2 : result;
}

/// The value behind `--name`, or `fallback`.
std::string option(int argc, char** argv, const char* name, const char* fallback) {
  for (int i = 1; i + 1 < argc; ++i)
    if (std::strcmp(argv[i], name) == 0) return argv[i + 1];
  return fallback;
}

}  // namespace

int main(int argc, char** argv) {
  threads = std::stoi(option(argc, argv, "--threads", "0"));
  for (int i = 1; i < argc; ++i)
    if (std::strcmp(argv[i], "--worker") == 0)
      return serve(chosen::cases{}, option(argc, argv, "--mode", "forward"),
                   std::stoi(option(argc, argv, "--batch", "1")),
                   option(argc, argv, "--check", ""));
  benchmark::Initialize(&argc, argv);
  cpu_device device(threads);
  peak = slim_bench::peak_gflops(device);
  std::printf("%d threads, measured multiply-add peak %.0f GFLOP/s\n", device.threads(), peak);
  add_benchmarks(chosen::cases{});
  benchmark::RunSpecifiedBenchmarks();
}
