// The layers of VGG-16 on the CPU kernels: time, effective GFLOP/s (operations of the direct
// convolution over time), their share of what the cores could do without Winograd ("of_peak": the
// micro-kernel on data in the first-level cache, measured at the start), and GB/s of weights for
// the dense layers.
//   cpu_kernels --benchmark_filter='batch:8'

#include <benchmark/benchmark.h>

#include <chrono>
#include <random>
#include <string>
#include <vector>

#include <slim/convolution_shape.hpp>
#include <slim/device.hpp>
#include <slim/kernels/cpu/convolution_gemm.hpp>
#include <slim/kernels/cpu/dense.hpp>
#include <slim/kernels/cpu/winograd.hpp>
#include <slim/kernels/cpu/winograd_filter.hpp>

namespace {

using slim::convolution_shape;
using slim::cpu_device;

constexpr int threads = 2;

struct relu {
  template <class V>
  static V forward(V x) {
    using slim::cpu::max;
    return max(x, V(0));
  }
  template <class V>
  static V backward(V dy, V y) {
    using slim::cpu::select;
    return select(y > V(0), dy, V(0));
  }
};

cpu_device& device() {
  static cpu_device device(threads);
  return device;
}

// A buffer of random numbers in [-1, 1).
class buffer {
 public:
  explicit buffer(std::size_t size) : memory_(size * sizeof(float) + 64), size_(size) {
    std::minstd_rand generator(1);
    for (std::size_t i = 0; i < size; ++i) data()[i] = float(generator()) / 1073741824.0f - 1.0f;
  }
  float* data() { return reinterpret_cast<float*>(memory_.data()); }
  std::size_t size() const { return size_; }

 private:
  slim::aligned_buffer memory_;
  std::size_t size_;
};

struct tensors {
  explicit tensors(const convolution_shape& s, std::size_t workspace_size)
      : x(std::size_t(s.input_pixels()) * s.c),
        w(s.weights()),
        y(std::size_t(s.output_pixels()) * s.k),
        bias(s.k),
        gradient(std::max(x.size(), w.size())),
        workspace(workspace_size),
        argmax(y.size()) {}
  buffer x, w, y, bias, gradient, workspace;
  std::vector<std::uint8_t> argmax;
};

using kernel = void (*)(const convolution_shape&, tensors&);

// GFLOP/s of one core's micro-kernel on data in its first-level cache: the best of several runs.
double measure_peak() {
  using namespace slim::cpu;
  using clock = std::chrono::steady_clock;
  constexpr int depth = 128, repeats = 10000;
  constexpr int w = width<float>, columns = tile_columns<float>;
  buffer a(depth * tile_rows), b(depth * columns), c(tile_rows * columns);
  double best = 0;
  for (int run = 0; run < 10; ++run) {
    const auto start = clock::now();
    for (int i = 0; i < repeats; ++i) {
      multiply_tile<tile_rows, w, w>(depth, a.data(), tile_rows * w, b.data(), columns, c.data(),
                                     columns, false);
      benchmark::ClobberMemory();
    }
    const double seconds = std::chrono::duration<double>(clock::now() - start).count();
    best = std::max(best, 2e-9 * depth * tile_rows * columns * repeats / seconds);
  }
  return best;
}

void report(benchmark::State& state, double flops, double bytes) {
  using benchmark::Counter;
  static const double peak = threads * measure_peak();
  state.counters["GFLOP/s"] = Counter(flops * 1e-9, Counter::kIsIterationInvariantRate);
  state.counters["of_peak"] = Counter(flops * 1e-9 / peak, Counter::kIsIterationInvariantRate);
  if (bytes > 0) {
    state.counters["GB/s"] = Counter(bytes * 1e-9, Counter::kIsIterationInvariantRate);
  }
}

void add_convolution(const std::string& name, const convolution_shape& s, std::size_t workspace,
                     kernel run) {
  benchmark::RegisterBenchmark((name + "/batch:" + std::to_string(s.n)).c_str(),
                               [=](benchmark::State& state) {
                                 tensors t(s, workspace);
                                 run(s, t);
                                 for (auto _ : state) run(s, t);
                                 report(state, 2 * s.macs(), 0);
                               })
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
}

template <int M>
void add_winograd(const std::string& layer, const convolution_shape& s, bool pool) {
  using namespace slim::cpu;
  using W = winograd<M>;
  const std::string tile = "/F" + std::to_string(M);
  if (pool) {
    add_convolution(
        layer + tile + "/forward_max_pool", s, winograd_forward_workspace<W, float>(s, false),
        [](const convolution_shape& s, tensors& t) {
          winograd_forward_max_pool<W, relu>(s, t.x.data(), {t.w.data()}, t.bias.data(), t.y.data(),
                                             t.argmax.data(), t.workspace.data(), device());
        });
  }
  add_convolution(layer + tile + "/forward", s, winograd_forward_workspace<W, float>(s, false),
                  [](const convolution_shape& s, tensors& t) {
                    winograd_forward<W, relu>(s, t.x.data(), {t.w.data()}, t.bias.data(), static_cast<float*>(nullptr), t.y.data(),
                                              t.workspace.data(), device());
                  });
  add_convolution(layer + tile + "/prepared", s, winograd_forward_workspace<W, float>(s, true),
                  [](const convolution_shape& s, tensors& t) {
                    static buffer u(0);
                    static convolution_shape for_w{};
                    if (!(for_w == s)) { for_w = s; u.~buffer(); new (&u) buffer(winograd_prepared_size<W,float>(s)); winograd_prepare<W>(s, t.w.data(), static_cast<float*>(nullptr), u.data(), device()); }
                    winograd_forward<W, relu>(s, t.x.data(), {t.w.data(), u.data()}, t.bias.data(), static_cast<float*>(nullptr), t.y.data(), t.workspace.data(), device());
                  });
  add_convolution(layer + tile + "/backward_data", s, winograd_backward_data_workspace<W, float>(s),
                  [](const convolution_shape& s, tensors& t) {
                    winograd_backward_data<W, relu>(s, t.y.data(), t.w.data(), t.x.data(),
                                                    t.gradient.data(), t.workspace.data(),
                                                    device());
                  });
  add_convolution(layer + tile + "/backward_filter", s,
                  winograd_backward_filter_workspace<W, float>(s),
                  [](const convolution_shape& s, tensors& t) {
                    winograd_backward_filter<W>(s, t.x.data(), t.y.data(), t.gradient.data(),
                                                t.bias.data(), t.workspace.data(), device());
                  });
}

void add_gemm(const std::string& layer, const convolution_shape& s) {
  using namespace slim::cpu;
  add_convolution(layer + "/gemm/forward", s, gemm_convolution_forward_workspace<float>(s),
                  [](const convolution_shape& s, tensors& t) {
                    gemm_convolution_forward<relu>(s, t.x.data(), t.w.data(), t.bias.data(),
                                                   t.y.data(), t.workspace.data(), device());
                  });
  add_convolution(
      layer + "/gemm/backward_data", s, gemm_convolution_backward_data_workspace<float>(s),
      [](const convolution_shape& s, tensors& t) {
        gemm_convolution_backward_data<relu>(s, t.y.data(), t.w.data(), t.x.data(),
                                             t.gradient.data(), t.workspace.data(), device());
      });
  add_convolution(layer + "/gemm/backward_filter", s,
                  gemm_convolution_backward_filter_workspace<float>(s),
                  [](const convolution_shape& s, tensors& t) {
                    gemm_convolution_backward_filter(s, t.x.data(), t.y.data(), t.gradient.data(),
                                                     t.bias.data(), t.workspace.data(), device());
                  });
}

template <class F>
void add_dense_pass(const std::string& name, int m, int k, int n, std::size_t workspace_size,
                    F run) {
  benchmark::RegisterBenchmark((name + "/batch:" + std::to_string(m)).c_str(),
                               [=](benchmark::State& state) {
                                 buffer a(std::size_t(m) * k), w(std::size_t(k) * n), bias(n),
                                     c(std::size_t(m) * n);
                                 buffer workspace(workspace_size);
                                 for (auto _ : state) run(m, k, n, a, w, bias, c, workspace.data());
                                 report(state, 2.0 * m * k * n, 4.0 * k * n);
                               })
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
}

void add_dense(const std::string& layer, int m, int k, int n) {
  using namespace slim::cpu;
  add_dense_pass(layer + "/forward", m, k, n, dense_forward_workspace<float>(m, k, n),
                 [](int m, int k, int n, buffer& a, buffer& w, buffer& bias, buffer& c, float* v) {
                   dense_forward<relu>(m, k, n, a.data(), w.data(), bias.data(), c.data(), v,
                                       device());
                 });
  add_dense_pass(layer + "/backward_data", m, k, n, dense_backward_data_workspace<float>(m, k, n),
                 [](int m, int k, int n, buffer& a, buffer& w, buffer&, buffer& c, float* v) {
                   dense_backward_data<relu>(m, k, n, c.data(), w.data(),
                                             static_cast<float*>(nullptr), a.data(), v, device());
                 });
  add_dense_pass(
      layer + "/backward_filter", m, k, n, dense_backward_filter_workspace<float>(m, k, n),
      [](int m, int k, int n, buffer& a, buffer& w, buffer& bias, buffer& c, float* v) {
        dense_backward_filter(m, k, n, a.data(), c.data(), w.data(), bias.data(), v, device());
      });
}

convolution_shape vgg_layer(int batch, int extent, int c, int k) {
  return {batch, extent, extent, c, 3, 3, 1, 1, 1, 1, 1, 1, extent, extent, k};
}

void add_vgg_16(int batch) {
  add_gemm("conv1_1", vgg_layer(batch, 224, 3, 64));
  const struct {
    const char* name;
    int extent, c, k;
    bool pool;
  } layers[] = {{"conv1_2", 224, 64, 64, true},   {"conv2_1", 112, 64, 128, false},
                {"conv2_2", 112, 128, 128, true}, {"conv3_1", 56, 128, 256, false},
                {"conv3_2", 56, 256, 256, true},  {"conv4_1", 28, 256, 512, false},
                {"conv4_2", 28, 512, 512, true},  {"conv5_1", 14, 512, 512, true}};
  for (const auto& layer : layers) {
    const convolution_shape s = vgg_layer(batch, layer.extent, layer.c, layer.k);
    add_winograd<4>(layer.name, s, layer.pool);
    add_winograd<6>(layer.name, s, layer.pool);
  }
  add_dense("fc6", batch, 25088, 4096);
  add_dense("fc7", batch, 4096, 4096);
  add_dense("fc8", batch, 4096, 1000);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  for (int batch : {1, 8}) add_vgg_16(batch);
  benchmark::RunSpecifiedBenchmarks();
}
