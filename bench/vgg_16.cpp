// VGG-16 forward, and forward + backward, with Google Benchmark; or, with --worker, one repetition
// for each line read, for bench/rivals/run.py. Backward is the mean softmax cross entropy and the
// gradients of all variables, without regularization and with dropout at keep probability 1.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstring>
#include <iostream>
#include <string>

#include <slim/slim.hpp>

#include "peak.hpp"

namespace {

using namespace slim;

template <int Batch>
using forward_model = model<nets::vgg_16<>, input<Batch, 224, 224, 3>>;
template <int Batch>
using backward_model = model<nets::vgg_16<dropout_keep_prob{1.0}>, input<Batch, 224, 224, 3>,
                             labels<Batch>, sparse_softmax_cross_entropy<>>;

/// Multiply-adds of all contractions in a program: direct convolution's, whatever the kernel.
double operations(const program& p) {
  double sum = 0;
  for (const step_row& s : p.steps) sum += 2.0 * double(s.multiply_adds);
  return sum;
}

/// One repetition of a case, and what it computes.
template <class Model, bool Backward>
class repetition {
 public:
  explicit repetition(cpu_device& device) : model_(device) {
    model_.initialize(1);
    for (std::size_t i = 0; i < images_.size(); ++i)
      images_[i] = float(to_uniform(random_at(7, i))) * 2 - 1;
    for (int i = 0; i < Model::batch; ++i) classes_.push_back(37 * i % 1000);
  }
  void run() {
    if constexpr (Backward)
      benchmark::DoNotOptimize(model_.backward(images_, classes_));
    else
      benchmark::DoNotOptimize(model_.forward(images_).data);
  }
  static double gflop() {
    return operations(Backward ? training() : Model::inference_program()) / 1e9;
  }

 private:
  static program training() {
    if constexpr (Backward) return Model::training_program();
    return {};
  }

  Model model_;
  std::vector<float> images_ = std::vector<float>(std::size_t(Model::batch) * 224 * 224 * 3);
  std::vector<int> classes_;
};

double peak = 0;
int threads = 0;

template <class Model, bool Backward>
void bench(benchmark::State& state) {
  cpu_device device(threads);
  repetition<Model, Backward> one(device);
  one.run();
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) one.run();
  const double rate = one.gflop() * double(state.iterations()) / slim_bench::seconds_since(start);
  // Operations of direct convolution, whatever the kernel: above 100 % is Winograd's saving.
  state.counters["effective_GFLOP/s"] = rate;
  state.counters["%_of_direct_peak"] = 100 * rate / peak;
}

std::string compiler() {
#ifdef __clang__
  return "clang " + std::string(__clang_version__);
#else
  return "g++ " + std::string(__VERSION__);
#endif
}

template <class Model, bool Backward>
int serve() {
  cpu_device device(threads);
  repetition<Model, Backward> one(device);
  for (int i = 0; i < 3; ++i) one.run();
  std::cout << "ready slim, " << compiler() << ", " << device.threads()
            << " threads, Winograd F(4,3) where it serves" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    if (line != "run") continue;
    const auto start = std::chrono::steady_clock::now();
    one.run();
    std::cout << slim_bench::seconds_since(start) * 1e3 << std::endl;
  }
  return 0;
}

/// The value behind `--name`, or `fallback`.
std::string option(int argc, char** argv, const char* name, const char* fallback) {
  for (int i = 1; i + 1 < argc; ++i)
    if (std::strcmp(argv[i], name) == 0) return argv[i + 1];
  return fallback;
}

int serve(const std::string& batch, const std::string& mode) {
  const bool forward = mode == "forward";
  if (batch == "1")
    return forward ? serve<forward_model<1>, false>() : serve<backward_model<1>, true>();
  if (batch == "8")
    return forward ? serve<forward_model<8>, false>() : serve<backward_model<8>, true>();
  std::cerr << "vgg_16: batch " << batch << " is not compiled in (1 and 8 are)\n";
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  threads = std::stoi(option(argc, argv, "--threads", "0"));
  for (int i = 1; i < argc; ++i)
    if (std::strcmp(argv[i], "--worker") == 0)
      return serve(option(argc, argv, "--batch", "1"), option(argc, argv, "--mode", "forward"));
  benchmark::Initialize(&argc, argv);
  cpu_device device(threads);
  peak = slim_bench::peak_gflops(device);
  std::printf("%d threads, measured multiply-add peak %.0f GFLOP/s\n", device.threads(), peak);
  const auto add = [](const char* name, void (*f)(benchmark::State&)) {
    benchmark::RegisterBenchmark(name, f)->Unit(benchmark::kMillisecond)->UseRealTime();
  };
  add("vgg_16/forward/batch:1", bench<forward_model<1>, false>);
  add("vgg_16/forward/batch:8", bench<forward_model<8>, false>);
  add("vgg_16/forward+backward/batch:1", bench<backward_model<1>, true>);
  add("vgg_16/forward+backward/batch:8", bench<backward_model<8>, true>);
  benchmark::RunSpecifiedBenchmarks();
}
