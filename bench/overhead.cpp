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

struct mlp_by_hand {
  const float *w1, *b1, *w2, *b2, *w3, *b3;
  cpu_device& device;
  floats workspace{std::max({cpu::dense_forward_workspace<float>(1, 784, 300),
                             cpu::dense_forward_workspace<float>(1, 300, 100),
                             cpu::dense_forward_workspace<float>(1, 100, 10)})};
  floats h1{300}, h2{100}, y{10};

  const float* forward(const float* x) {
    float* const ws = workspace.data();
    cpu::dense_forward<relu_functor>(1, 784, 300, x, w1, b1, h1.data(), ws, device);
    cpu::dense_forward<relu_functor>(1, 300, 100, h1.data(), w2, b2, h2.data(), ws, device);
    cpu::dense_forward<linear>(1, 100, 10, h2.data(), w3, b3, y.data(), ws, device);
    return y.data();
  }
};

constexpr convolution_shape conv1{1, 28, 28, 1, 5, 5, 1, 1, 1, 1, 2, 2, 28, 28, 32};
constexpr convolution_shape conv2{1, 14, 14, 32, 5, 5, 1, 1, 1, 1, 2, 2, 14, 14, 64};

struct lenet_by_hand {
  const float *w1, *b1, *w2, *b2, *w3, *b3, *w4, *b4;
  cpu_device& device;
  floats workspace{std::max({cpu::gemm_convolution_forward_workspace<float>(conv1),
                             cpu::gemm_convolution_forward_workspace<float>(conv2),
                             cpu::dense_forward_workspace<float>(1, 3136, 1024),
                             cpu::dense_forward_workspace<float>(1, 1024, 10)})};
  floats c1{28 * 28 * 32}, p1{14 * 14 * 32}, c2{14 * 14 * 64}, p2{7 * 7 * 64}, h3{1024}, y{10};
  window pool1 = halving(14), pool2 = halving(7);

  const float* forward(const float* x) {
    float* const ws = workspace.data();
    cpu::gemm_convolution_forward<relu_functor>(conv1, x, w1, b1, c1.data(), ws, device);
    cpu::max_pool_forward<float>(pool1, {c1.data(), {1, 28, 28, 32}}, {p1.data(), {1, 14, 14, 32}},
                                 device);
    cpu::gemm_convolution_forward<relu_functor>(conv2, p1.data(), w2, b2, c2.data(), ws, device);
    cpu::max_pool_forward<float>(pool2, {c2.data(), {1, 14, 14, 64}}, {p2.data(), {1, 7, 7, 64}},
                                 device);
    cpu::dense_forward<relu_functor>(1, 3136, 1024, p2.data(), w3, b3, h3.data(), ws, device);
    cpu::dense_forward<linear>(1, 1024, 10, h3.data(), w4, b4, y.data(), ws, device);
    return y.data();
  }

 private:
  static window halving(int out) {
    window w;
    w.kernel_h = w.kernel_w = w.stride_h = w.stride_w = 2, w.out_h = w.out_w = out;
    return w;
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
  for (const step_row& s : p.steps) names += std::string(s.kernel) + ";";
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
  const int steps = Model::inference_program().steps.size();
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
  const auto of = [](const auto& net, int v) { return net.variable(v).data; };
  mlp_model m(device);
  m.initialize(1);
  mlp_by_hand plain_mlp{of(m, 0), of(m, 1), of(m, 2), of(m, 3), of(m, 4), of(m, 5), device};
  lenet_model l(device);
  l.initialize(1);
  lenet_by_hand plain_lenet{of(l, 0), of(l, 1), of(l, 2), of(l, 3), of(l, 4),
                            of(l, 5), of(l, 6), of(l, 7), device};
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
                   "patches;one pass;patches;one pass;dense;dense;");
  });
  return mlp_fits && lenet_fits ? 0 : 1;
}
