// What the GPU's tests share: numbers, how far they may be apart, and a small LeNet.
#pragma once

#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <slim/gpu.hpp>
#include <slim/slim.hpp>

namespace gpu_tests {

using namespace slim;

template <class T>
std::vector<T> random_numbers(std::size_t count, std::uint64_t seed) {
  random_stream r(seed);
  std::vector<T> all(count);
  for (T& x : all) x = static_cast<T>(r.normal());
  return all;
}
inline std::vector<int> random_labels(int count, int classes) {
  random_stream r(7);
  std::vector<int> all(static_cast<std::size_t>(count));
  for (int& y : all) y = r.below(classes);
  return all;
}

/// Distance in the 2-norm, relative.
template <class A, class B>
double distance_of(const A& a, const B& b) {
  double apart = 0, size = 0;
  auto j = b.begin();
  for (auto i = a.begin(); i != a.end(); ++i, ++j) {
    const double d = double(*i) - double(*j);
    apart += d * d, size += double(*j) * double(*j);
  }
  return size == 0 ? std::sqrt(apart) : std::sqrt(apart / size);
}

struct limits {
  double forward, gradients;
};
constexpr limits float_limits{2e-5, 2e-4}, tf32_limits{5e-3, 1e-1}, bfloat16_limits{5e-2, 3e-1};

template <class Cpu, class Gpu>
void copy_variables(Cpu& from, Gpu& to) {
  const Cpu& source = from;
  for (int v = 0; v < Cpu::variable_count; ++v) {
    const auto values = source.variable(v);
    std::copy(values.begin(), values.end(), to.variable(v).begin());
  }
}

/// The plans of a file with one way for all contractions that have it, of those whose lines begin
/// so.
inline void choose_everywhere(const std::string& file, const std::string& way,
                              const std::string& kind = "") {
  std::ifstream in(file);
  std::ostringstream all;
  for (std::string line; std::getline(in, line);) {
    const auto first = line.find('\t'), second = line.find('\t', first + 1);
    const bool contraction = line.starts_with(kind) &&
                             (line.starts_with("forward") || line.starts_with("data gradient") ||
                              line.starts_with("weight gradient") || line.starts_with("product"));
    all << (contraction ? line.substr(0, first + 1) + way + line.substr(second) : line) << '\n';
  }
  std::ofstream(file) << all.str();
}

/// A random number on top of each variable, so that biases and statistics count.
template <class Model>
void disturb(Model& m) {
  for (int v = 0; v < Model::variable_count; ++v) {
    const bool variance = m.variable_name(v).find("moving_variance") != std::string::npos;
    random_stream r(static_cast<std::uint64_t>(v) + 100);
    for (float& x : m.variable(v))
      x += static_cast<float>(variance ? r.uniform(0, 0.5) : 0.05 * r.normal());
  }
}

/// LeNet with fewer channels: the tests run on an emulation of the GPU, too.
struct lenet_net : arg_scope<on<ops::conv2d, ops::fully_connected>,
                             with<weights_regularizer{l2_regularizer{0.001}}>,
                             net<"LeNet", conv2d<8, kernel_size{5}, scope{"conv1"}>,
                                 max_pool2d<kernel_size{2}, stride{2}, scope{"pool1"}>,
                                 conv2d<16, kernel_size{5}, scope{"conv2"}>,
                                 max_pool2d<kernel_size{2}, stride{2}, scope{"pool2"}>, flatten<>,
                                 fully_connected<64, scope{"fc3"}>, dropout<keep_prob{0.5}>,
                                 fully_connected<10, activation_fn{none}, scope{"logits"}>>> {};
template <class... More>
using lenet_model =
    model<lenet_net, input<8, 28, 28, 1>, labels<8>, sparse_softmax_cross_entropy<>, More...>;

/// Small numbers: a few steps must not blow differences up.
inline const std::vector<float> lenet_images = [] {
  auto x = random_numbers<float>(8 * 28 * 28, 4);
  for (float& v : x) v *= 0.2f;
  return x;
}();
inline const std::vector<int> lenet_labels = random_labels(8, 10);

}  // namespace gpu_tests
