// One net of bench/gpu.cpp: that of -DSLIM_BENCH_NET.
#include "gpu_net.hpp"

#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <vector>

#include <slim/gpu.hpp>
#include <slim/profile.hpp>
#include <slim/slim.hpp>

namespace slim_bench {
namespace {

using namespace slim;
using clock = std::chrono::steady_clock;

constexpr weight_decay no_decay{0};

namespace described {

struct vgg_16 {
  using net = nets::vgg_arg_scope_of<no_decay, nets::vgg_16<>>;
  template <int Batch>
  using images = input<Batch, 224, 224, 3>;
  static constexpr int elements = 224 * 224 * 3, classes = 1000;
};
struct resnet_v1_50 {
  using net = sequence<nets::resnet_arg_scope_of<no_decay, nets::resnet_v1_50<num_classes{1000}>>,
                       spatial_squeeze<>>;
  template <int Batch>
  using images = input<Batch, 224, 224, 3>;
  static constexpr int elements = 224 * 224 * 3, classes = 1000;
};
struct lenet {
  using net = nets::lenet_arg_scope<nets::lenet<>>;
  template <int Batch>
  using images = input<Batch, 28, 28, 1>;
  static constexpr int elements = 28 * 28, classes = 10;
};

}  // namespace described

/// Milliseconds of a call, from as many as take 50 ms.
template <class Call, class Wait>
double measure(Call call, Wait wait, int& calls) {
  for (;;) {
    const auto start = clock::now();
    for (int i = 0; i < calls; ++i) call();
    wait();
    const double seconds = std::chrono::duration<double>(clock::now() - start).count();
    if (seconds > 0.05 && calls >= 3) return seconds * 1e3 / calls;
    calls *= 2;
  }
}

/// Copies to the device what the caller wants to have there before it measures.
template <class T, class Model>
device_view<T> on_device(Model& m, const std::vector<T>& values, shape dims) {
  accelerator& a = *m.shared_runner().on();
  std::byte* there = a.allocate(values.size() * sizeof(T), "the benchmark's inputs");
  a.upload(there, values.data(), values.size() * sizeof(T));
  return {reinterpret_cast<const T*>(there), dims};
}

template <class Net, class Precision, int Batch>
bool serve(const gpu_case& c) {
  using model_t = model<typename Net::net, typename Net::template images<Batch>, labels<Batch>,
                        sparse_softmax_cross_entropy<>, gpu<Precision>>;
  const auto m = std::make_unique<model_t>();
  if (!c.plans.empty()) m->keep_plans(c.plans);
  m->initialize(1);
  random_stream random(1);
  std::vector<float> images(std::size_t{Batch} * Net::elements);
  for (float& x : images) x = static_cast<float>(random.normal());
  std::vector<int> wanted(Batch);
  for (int& y : wanted) y = random.below(Net::classes);
  constexpr program p = model_t::inference_program();
  const auto x = on_device(*m, images, p.tensors[p.inputs[0].value].dims);
  const auto y = on_device(*m, wanted, shape{Batch});
  const auto call = [&] {
    if (c.step)
      m->launch_step(momentum{0.001, 0.9}, x, y);
    else
      m->launch(x);
  };
  const auto wait = [&] { m->shared_runner().on()->wait(); };

  for (int i = 0; i < 3; ++i) call();
  wait();
  if (c.profile) {
    profiler times;
    m->set_profiler(&times);
    for (int i = 0; i < 5; ++i) call();
    wait();
    std::cout << times.table() << m->plans();
    return true;
  }
  int calls = 3;
  measure(call, wait, calls);
  std::printf("ready slim, %d calls\n", calls);
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
    if (line != "run") continue;
    const auto start = clock::now();
    for (int i = 0; i < calls; ++i) call();
    wait();
    std::printf("%.6f\n",
                std::chrono::duration<double>(clock::now() - start).count() * 1e3 / calls);
    std::fflush(stdout);
  }
  return true;
}

template <class Net, class Precision, int... Batch>
bool serve_one_of(const gpu_case& c) {
  return ((c.batch == Batch && serve<Net, Precision, Batch>(c)) || ...);
}

template <class Net>
bool serve_net(const gpu_case& c) {
  if constexpr (std::is_same_v<Net, described::lenet>)
    return c.precision == "float" && serve_one_of<Net, float, 1, 64>(c);
  else if constexpr (std::is_same_v<Net, described::resnet_v1_50>)
    return c.precision == "bfloat16" && serve_one_of<Net, bfloat16, 256>(c);
  else if (c.precision == "bfloat16")
    return serve_one_of<Net, bfloat16, 1, 32, 256>(c);
  else
    return c.precision == "tf32" && serve_one_of<Net, tf32, 256>(c);
}

}  // namespace

bool SLIM_BENCH_NET(const gpu_case& c) { return serve_net<described::SLIM_BENCH_NET>(c); }

}  // namespace slim_bench
