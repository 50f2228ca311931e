// Every way to run the convolutions of the library's nets on the CPU, measured beside the one that
// the cost model (kernels/cpu/convolution_cost.hpp) chooses: one line a shape, forward, batch 1 and
// 8, then how far the choices are from the best.
//   cpu_kernels [threads, default 2] [rounds, default 7]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <slim/slim.hpp>

#include "peak.hpp"

namespace {

using namespace slim;
using cpu::convolution_plan;

struct relu_function {
  template <class V>
  static V forward(V x) {
    using cpu::max;
    return max(x, V(0));
  }
};

/// Random numbers in [-1, 1).
class buffer {
 public:
  explicit buffer(std::size_t size) : memory_(size * sizeof(float) + 64) {
    for (std::size_t i = 0; i < size; ++i) data()[i] = float(to_uniform(random_at(3, i))) * 2 - 1;
  }
  float* data() { return reinterpret_cast<float*>(memory_.data()); }

 private:
  aligned_buffer memory_;
};

/// A convolution's tensors, and memory for any of its kernels.
struct operands {
  explicit operands(const convolution_shape& s)
      : x(std::size_t(s.input_pixels()) * s.c),
        w(s.weights()),
        bias(s.k),
        y(std::size_t(s.output_pixels()) * s.k) {}
  buffer x, w, bias, y;
};

/// One way to run a convolution; its weights are prepared when it is made.
class candidate {
 public:
  candidate(const convolution_shape& s, convolution_plan plan, operands& t, cpu_device& device)
      : s_(s), plan_(plan), t_(t), device_(device), workspace_(workspace()), prepared_(prepare()) {}

  const convolution_plan& plan() const { return plan_; }
  std::string name() const {
    std::string name = "direct";
    if (plan_.kind == cpu::algorithm::dense) name = "dense";
    if (plan_.kind == cpu::algorithm::patches) name = "patches";
    cpu::for_each_winograd(s_, [&](cpu::algorithm kind, auto w) {
      if (kind == plan_.kind) name = std::string(cpu::winograd_name<decltype(w)>(false)).substr(9);
    });
    return name + (plan_.prepared ? "*" : "");
  }

  void run() {
    float *x = t_.x.data(), *w = t_.w.data(), *bias = t_.bias.data(), *y = t_.y.data();
    float *packed = plan_.prepared ? prepared_.data() : nullptr, *none = nullptr;
    float* space = workspace_.data();
    switch (plan_.kind) {
      case cpu::algorithm::dense:
        return cpu::dense_forward<relu_function>(s_.output_pixels(), s_.patch(), s_.k, x, w, packed,
                                                 bias, none, y, space, device_);
      case cpu::algorithm::direct:
        return cpu::direct_convolution_forward<relu_function>(s_, x, w, packed, bias, none, y,
                                                              space, device_);
      case cpu::algorithm::patches:
        return cpu::gemm_convolution_forward<relu_function>(s_, x, w, packed, bias, none, y, space,
                                                            device_);
      default:
        cpu::for_each_winograd(s_, [&](cpu::algorithm kind, auto tile) {
          if (kind == plan_.kind)
            cpu::winograd_forward<decltype(tile), relu_function>(
                s_, x, cpu::winograd_weights<float>{w, packed}, bias, none, y, space, device_);
        });
    }
  }

 private:
  bool is_winograd() const { return cpu::is_winograd(plan_.kind); }

  std::size_t workspace() const {
    std::size_t size = is_winograd() ? 0 : cpu::gemm_convolution_prepared_size<float>(s_);
    cpu::for_each_winograd(s_, [&](cpu::algorithm kind, auto w) {
      if (kind == plan_.kind)
        size = cpu::winograd_forward_workspace<decltype(w), float>(s_, plan_.prepared);
    });
    return size;
  }

  buffer prepare() {
    if (!plan_.prepared) return buffer(0);
    const float* unscaled = nullptr;
    if (!is_winograd()) {
      buffer packed(cpu::gemm_convolution_prepared_size<float>(s_));
      cpu::gemm_convolution_prepare(s_, t_.w.data(), unscaled, packed.data(), device_);
      return packed;
    }
    buffer transformed(0);
    cpu::for_each_winograd(s_, [&](cpu::algorithm kind, auto w) {
      if (kind != plan_.kind) return;
      transformed = buffer(cpu::winograd_prepared_size<decltype(w), float>(s_));
      cpu::winograd_prepare<decltype(w)>(s_, t_.w.data(), unscaled, transformed.data(), device_);
    });
    return transformed;
  }

  const convolution_shape s_;
  const convolution_plan plan_;
  operands& t_;
  cpu_device& device_;
  buffer workspace_, prepared_;
};

std::vector<convolution_plan> plans_of(const convolution_shape& s) {
  using cpu::algorithm;
  if (cpu::is_dense(s)) return {{algorithm::dense, false}, {algorithm::dense, true}};
  std::vector<convolution_plan> plans = {{algorithm::patches, true}};
  if (cpu::direct_supports<float>(s)) plans.push_back({algorithm::direct, true});
  cpu::for_each_winograd(s, [&](algorithm kind, auto) {
    plans.push_back({kind, false});
    plans.push_back({kind, true});
  });
  return plans;
}

/// The distinct convolutions of a net's inference program.
void collect(const program& p, std::vector<convolution_shape>& shapes) {
  for (const step_row& step : p.steps) {
    if (step.a.win.kernel_h == 0 || step.multiply_adds == 0) continue;
    const shape& x = p.tensors[p.edges[step.first_input]].dims;
    const int k = p.tensors[p.edges[step.first_output]].dims.back();
    if (x.rank != 4) continue;
    const convolution_shape s = cpu::shape_of(step.a.win, x, k);
    if (std::find(shapes.begin(), shapes.end(), s) == shapes.end()) shapes.push_back(s);
  }
}

template <int Batch>
std::vector<convolution_shape> shapes_of_nets() {
  using images = input<Batch, 224, 224, 3>;
  std::vector<convolution_shape> shapes;
  collect(model<nets::vgg_16<>, images>::inference_program(), shapes);
  collect(model<nets::resnet_arg_scope<nets::resnet_v1_50<>>, images>::inference_program(), shapes);
  collect(model<nets::inception_v1_arg_scope<nets::inception_v1<>>, images>::inference_program(),
          shapes);
  collect(model<nets::alexnet_v2<>, images>::inference_program(), shapes);
  return shapes;
}

/// Median milliseconds of each candidate, the repetitions taken in turn.
std::vector<double> measure(std::vector<candidate>& candidates, int rounds) {
  std::vector<std::vector<double>> times(candidates.size());
  for (int round = -1; round < rounds; ++round)
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      const auto start = std::chrono::steady_clock::now();
      candidates[i].run();
      if (round >= 0) times[i].push_back(slim_bench::seconds_since(start) * 1e3);
    }
  std::vector<double> medians;
  for (auto& t : times) {
    std::sort(t.begin(), t.end());
    medians.push_back(t[t.size() / 2]);
  }
  return medians;
}

struct totals {
  double chosen = 0, best = 0;
  int shapes = 0, right = 0;
};

void compare(const convolution_shape& s, int rounds, cpu_device& device, totals& sum) {
  operands t(s);
  std::vector<candidate> candidates;
  const std::vector<convolution_plan> plans = plans_of(s);
  candidates.reserve(plans.size());
  for (const convolution_plan& plan : plans) candidates.emplace_back(s, plan, t, device);
  const std::vector<double> ms = measure(candidates, rounds);
  convolution_plan chosen = cpu::plan_convolution<float>(s, true, false);
  if (cpu::is_dense(s)) chosen.prepared = cpu::dense_prepares<float>(cpu::dense_of(s));
  const double best = *std::min_element(ms.begin(), ms.end());
  std::printf("%dx%dx%dx%d, %dx%d/%d, %d:", s.n, s.h, s.w, s.c, s.kernel_h, s.kernel_w, s.stride_h,
              s.k);
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const bool mine = candidates[i].plan().kind == chosen.kind &&
                      candidates[i].plan().prepared == chosen.prepared;
    std::printf(" %s%s %.3f", mine ? ">" : "", candidates[i].name().c_str(), ms[i]);
    if (!mine) continue;
    sum.chosen += ms[i], sum.best += best;
    ++sum.shapes, sum.right += ms[i] <= 1.05 * best;
  }
  std::printf("\n");
}

void compare_all(const std::vector<convolution_shape>& shapes, int rounds, cpu_device& device) {
  totals sum;
  for (const convolution_shape& s : shapes) compare(s, rounds, device, sum);
  std::printf(
      "%d of %d choices within 5 %% of the best; all of them %.1f ms, the best %.1f ms: "
      "%.3f\n\n",
      sum.right, sum.shapes, sum.chosen, sum.best, sum.chosen / sum.best);
}

}  // namespace

int main(int argc, char** argv) {
  cpu_device device(argc > 1 ? std::atoi(argv[1]) : 2);
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 7;
  std::printf(
      "median milliseconds, %d threads, %d rounds in turn; * from prepared weights, > the "
      "model's choice\n",
      device.threads(), rounds);
  compare_all(shapes_of_nets<1>(), rounds, device);
  compare_all(shapes_of_nets<8>(), rounds, device);
}
