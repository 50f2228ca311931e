// The small net that the tests of whole models share, and how they look at it.
#pragma once

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "dynamic.hpp"
#include "golden.hpp"

namespace slim_test {

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
inline std::vector<int> some_labels(int n) {
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

inline bool runs(const program& p, std::string_view op, std::string_view kernel) {
  for (const step_row& s : p.steps)
    if (s.op == op && s.kernel.starts_with(kernel)) return true;
  return false;
}

}  // namespace slim_test
