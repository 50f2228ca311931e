// What a model adds to its kernels: model.forward beside the same kernels called by hand with fixed
// pointers and shapes, one image on one thread, in turns within one run. Prints medians and the
// ratio; with --check it fails if a ratio is above 1.01 three times in a row.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>

#include <slim/slim.hpp>

namespace {

using namespace slim;
using relu_functor = cpu::functor<constant<relu>>;
using linear = cpu::functor<no_activation>;

struct mlp : net<"mlp", fully_connected<300>, fully_connected<100>,
                 fully_connected<10, activation_fn{none}>> {};
using mlp_model = model<mlp, input<1, 784>>;
// Exact, so that the kernels to call by hand stay the same whatever Winograd comes to serve.
using lenet_model = model<nets::lenet<>, input<1, 28, 28, 1>, slim::convolution<exact>>;

/// Memory for n floats, aligned as the library's.
class floats {
 public:
  explicit floats(std::size_t n) : memory_(n * sizeof(float)) {}
  float* data() { return reinterpret_cast<float*>(memory_.data()); }

 private:
  aligned_buffer memory_;
};

/// The weights of a contraction, raw or packed for its kernel, and its biases: the model's own, so
/// that both read the same memory.
struct operands {
  const float *raw = nullptr, *packed = nullptr, *bias = nullptr;
};
template <class Model>
operands operands_of(Model& m, int nth) {
  static const program p = Model::inference_program();
  execution e;
  const model_memory memory = m.shared_runner().share().memory;
  e.prepared = memory.prepared;
  e.variables = memory.variables;
  for (int i = p.first_run; i < p.steps.size(); ++i) {
    const step_row& s = p.steps[i];
    if (s.multiply_adds == 0 || nth-- > 0) continue;
    const int weights = p.edges[s.first_input + 1], bias = p.edges[s.first_input + 2];
    const bool packed = p.tensors[weights].place.where == storage::prepared;
    const auto* w = tensor_at(p, e, weights).as<const float>();
    return {packed ? nullptr : w, packed ? w : nullptr, tensor_at(p, e, bias).as<const float>()};
  }
  throw error("overhead: the program has fewer contractions than are called by hand");
}

struct dense_by_hand {
  int inner, k;
  operands with;
  cpu_device& device;
  floats workspace{cpu::dense_forward_workspace<float>(1, inner, k, false)};
  floats y{std::size_t(k)};
  bool backwards = false;  // every other time, as in a model

  template <class Activation>
  float* run(const float* x) {
    backwards = !backwards;
    cpu::dense_forward<Activation>(1, inner, k, x, with.raw, with.packed, with.bias,
                                   static_cast<const float*>(nullptr), y.data(), workspace.data(),
                                   device, backwards);
    return y.data();
  }
};

struct convolution_by_hand {
  convolution_shape s;
  operands with;
  cpu_device& device;
  floats workspace{cpu::gemm_convolution_forward_workspace<float>(s, false)};
  floats y{std::size_t(s.output_pixels()) * std::size_t(s.k)};

  float* run(const float* x) {
    cpu::direct_convolution_forward<relu_functor>(s, x, with.raw, with.packed, with.bias,
                                                  static_cast<const float*>(nullptr), y.data(),
                                                  workspace.data(), device);
    return y.data();
  }
};

/// Pooling takes its tensors from a program: this is one of a single step.
class pool_by_hand {
 public:
  pool_by_hand(int out, int c, cpu_device& device) : y_(std::size_t(out) * std::size_t(out * c)) {
    tensors_[0].dims = {1, 2 * out, 2 * out, c}, tensors_[1].dims = {1, out, out, c};
    tensors_[0].place = {storage::input, 0};
    tensors_[1].place.output = true;
    step_.inputs = step_.outputs = step_.first_output = 1;
    window& w = step_.a.win;
    w.kernel_h = w.kernel_w = w.stride_h = w.stride_w = 2, w.out_h = w.out_w = out;
    e_.output = y_.data(), e_.n = 1, e_.device = &device;
  }
  pool_by_hand(const pool_by_hand&) = delete;

  float* run(const float* x) {
    const void* input = x;
    program p;
    p.tensors = {tensors_, 2, 2}, p.edges = {edges_, 2, 2};
    e_.inputs = &input;
    cpu::max_pool_forward<false, float>(kernel_call(p, step_, e_));
    return y_.data();
  }

 private:
  tensor_row tensors_[2];
  int edges_[2] = {0, 1};
  step_row step_;
  floats y_;
  execution e_;
};

struct mlp_by_hand {
  dense_by_hand fc1, fc2, fc3;

  const float* forward(const float* x) {
    return fc3.run<linear>(fc2.run<relu_functor>(fc1.run<relu_functor>(x)));
  }
};

constexpr convolution_shape first{1, 28, 28, 1, 5, 5, 1, 1, 1, 1, 2, 2, 28, 28, 32};
constexpr convolution_shape second{1, 14, 14, 32, 5, 5, 1, 1, 1, 1, 2, 2, 14, 14, 64};

struct lenet_by_hand {
  convolution_by_hand conv1, conv2;
  dense_by_hand fc3, fc4;
  cpu_device& device;
  pool_by_hand pool1{14, 32, device}, pool2{7, 64, device};

  const float* forward(const float* x) {
    return fc4.run<linear>(fc3.run<relu_functor>(pool2.run(conv2.run(pool1.run(conv1.run(x))))));
  }
};

double microseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
      .count();
}
double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<long>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

/// Microseconds of one of `calls` calls.
template <class F>
double time_of(int calls, F call) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) call();
  return microseconds_since(start) / calls;
}

/// The kernels a program runs, in order, for comparison with those that are called by hand.
std::string kernels_of(const program& p) {
  std::string names;
  for (const step_row& s : p.steps)
    if (!s.prepare) names += std::string(s.kernel) + ";";
  return names;
}

/// The ratio of medians: model over hand. Both must give the same bits.
template <class Model, class Hand>
double compare(const char* name, Model& m, Hand& hand, const std::vector<float>& image, int calls,
               const std::string& kernels) {
  if (kernels_of(Model::inference_program()) != kernels) {
    std::fprintf(stderr, "overhead: %s runs %s: other kernels than those called by hand\n", name,
                 kernels_of(Model::inference_program()).c_str());
    return HUGE_VAL;
  }
  const auto output = m.forward(image);
  if (std::memcmp(output.data, hand.forward(image.data()), 10 * sizeof(float)) != 0) {
    std::fprintf(stderr, "overhead: %s by hand gives other numbers\n", name);
    return HUGE_VAL;
  }
  std::vector<double> by_model, by_hand, ratios;
  for (int round = 0; round < 2001; ++round) {
    const auto run_model = [&] { m.forward(image); };
    const auto run_hand = [&] { hand.forward(image.data()); };
    // Each is first in every other round.
    if (round % 2 == 0) by_model.push_back(time_of(calls, run_model));
    by_hand.push_back(time_of(calls, run_hand));
    if (round % 2 == 1) by_model.push_back(time_of(calls, run_model));
    ratios.push_back(by_model.back() / by_hand.back());
  }
  const program p = Model::inference_program();
  const int steps = p.steps.size() - p.first_run;
  const double model = median(by_model), plain = median(by_hand), ratio = median(ratios);
  std::printf("%-6s model %8.3f us, by hand %8.3f us, ratio %.4f, %.0f ns a step\n", name, model,
              plain, ratio, (ratio - 1) * plain * 1e3 / steps);
  return ratio;
}

std::vector<float> some_image() {
  std::vector<float> image;
  for (int i = 0; i < 784; ++i) image.push_back(float(to_uniform(random_at(7, std::uint64_t(i)))));
  return image;
}

}  // namespace

int main(int argc, char** argv) {
  cpu_device device(1);
  const std::vector<float> image = some_image();
  mlp_model m(device);
  m.initialize(1);
  m.forward(image);  // prepares the weights
  mlp_by_hand plain_mlp{{784, 300, operands_of(m, 0), device},
                        {300, 100, operands_of(m, 1), device},
                        {100, 10, operands_of(m, 2), device}};
  lenet_model l(device);
  l.initialize(1);
  l.forward(image);
  lenet_by_hand plain_lenet{{first, operands_of(l, 0), device},
                            {second, operands_of(l, 1), device},
                            {3136, 1024, operands_of(l, 2), device},
                            {1024, 10, operands_of(l, 3), device},
                            device};
  const bool check = argc > 1 && std::strcmp(argv[1], "--check") == 0;
  const auto fits = [check](auto run) {
    for (int attempt = 0; attempt < 3; ++attempt)
      if (run() <= 1.01 || !check) return true;
    return false;
  };
  const bool mlp_fits =
      fits([&] { return compare("mlp", m, plain_mlp, image, 10, "dense;dense;dense;"); });
  const bool lenet_fits = fits([&] {
    return compare("lenet", l, plain_lenet, image, 2,
                   "direct;one pass;direct;one pass;dense;dense;");
  });
  return mlp_fits && lenet_fits ? 0 : 1;
}
