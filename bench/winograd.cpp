// Two facts about Winograd convolution that docs/cpu-kernels.md rests on: how much its results in
// float are off, and what images in blocks of channels would save over row-major ones.
//
//   ./winograd
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <vector>

#include <slim/slim.hpp>

#include "peak.hpp"

namespace {

using namespace slim;
using namespace slim::cpu;

struct identity {
  template <class V>
  static V forward(V x) {
    return x;
  }
};

std::vector<float> uniform(std::size_t n, std::uint64_t seed, double low) {
  std::vector<float> v(n);
  for (std::size_t i = 0; i < n; ++i)
    v[i] = static_cast<float>(low + (1 - low) * to_uniform(random_at(seed, i)));
  return v;
}
std::vector<double> widened(const std::vector<float>& v) { return {v.begin(), v.end()}; }

/// The largest difference, over the largest element.
double relative_error(const std::vector<float>& got, const std::vector<double>& truth) {
  double difference = 0, largest = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    difference = std::max(difference, std::abs(got[i] - truth[i]));
    largest = std::max(largest, std::abs(truth[i]));
  }
  return difference / largest;
}

/// Float by Winograd beside double by the definition: a ReLU's outputs as inputs, weights of either
/// sign.
template <class W>
void print_errors(cpu_device& device, const char* name) {
  constexpr int r = W::taps;
  const convolution_shape s{8, 28, 28, 64, r, r, 1, 1, 1, 1, r / 2, r / 2, 28, 28, 64};
  const auto images = static_cast<std::size_t>(s.input_pixels() * s.c);
  const auto outputs = static_cast<std::size_t>(s.output_pixels() * s.k);
  const auto x = uniform(images, 1, 0), w = uniform(s.weights(), 2, -1),
             d = uniform(outputs, 3, -1);

  std::vector<float> y(outputs), dw(s.weights());
  std::vector<float> room(std::max(winograd_forward_workspace<W, float>(s, false),
                                   winograd_backward_filter_workspace<W, float>(s)));
  const winograd_weights<float> weights{w.data()};
  float* const none = nullptr;
  winograd_forward<W, identity>(s, x.data(), weights, none, none, y.data(), room.data(), device);
  winograd_backward_filter<W>(s, x.data(), d.data(), dw.data(), none, room.data(), device);

  std::vector<double> y2(outputs), dw2(s.weights());
  std::vector<double> room2(gemm_convolution_forward_workspace<double>(s, false) +
                            gemm_convolution_backward_filter_workspace<double>(s));
  double* const none2 = nullptr;
  gemm_convolution_forward<identity>(s, widened(x).data(), widened(w).data(), none2, none2, none2,
                                     y2.data(), room2.data(), device);
  gemm_convolution_backward_filter(s, widened(x).data(), widened(d).data(), dw2.data(), none2,
                                   room2.data(), device);
  std::printf("%s  forward %.1e  filter gradient %.1e\n", name, relative_error(y, y2),
              relative_error(dw, dw2));
}

/// Seconds to transform all inputs, the best of many rounds. Images of [n, h, h, c] in blocks of b
/// channels, [n, c / b, h, h, b], lie in memory as [n * c / b, h, h, b] does.
template <class W>
double transform_seconds(int n, int h, int c) {
  using cpu::detail::winograd_inputs;
  constexpr int channels = winograd_inputs<W, float>::channels;
  const convolution_shape s{n, h, h, c, 3, 3, 1, 1, 1, 1, 1, 1, h, h, c};
  const std::vector<float> x(static_cast<std::size_t>(n * h * h * c), 1.0f);
  const int columns = cpu::detail::tile_grid<W>(s).columns,
            rows = cpu::detail::tile_grid<W>(s).rows;
  const std::ptrdiff_t plane = columns * channels;
  std::vector<float> transformed(static_cast<std::size_t>(W::planes * plane));
  winograd_inputs<W, float> inputs(s, x.data());
  double best = 1;
  for (int round = 0; round < 100; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (int first = 0; first < n * rows * columns; first += columns)
      for (int channel = 0; channel < c; channel += channels)
        inputs.transform(first, columns, channel, std::min(channels, c - channel), plane,
                         width<float>,
                         [&](int tile) { return transformed.data() + (tile - first) * channels; });
    best = std::min(best, slim_bench::seconds_since(start));
  }
  return best;
}

template <class W>
void print_layouts(const char* name, int h, int c) {
  constexpr int block = cpu::detail::winograd_inputs<W, float>::channels;
  const double rows = transform_seconds<W>(1, h, c),
               blocks = transform_seconds<W>(c / block, h, block);
  std::printf("%s %dx%dx%-4d  row-major %6.1f us  in blocks of %d channels %6.1f us\n", name, h, h,
              c, rows * 1e6, block, blocks * 1e6);
}

}  // namespace

int main() {
  cpu_device device(1);
  std::printf("Largest error over the largest element, 8x28x28x64 to 64 channels:\n");
  print_errors<winograd<2, 3>>(device, "F(2,3)");
  print_errors<winograd<4, 3>>(device, "F(4,3)");
  print_errors<winograd<6, 3>>(device, "F(6,3)");
  print_errors<winograd<2, 5>>(device, "F(2,5)");
  print_errors<winograd<4, 5>>(device, "F(4,5)");
  std::printf("Transforming the inputs, 1 thread:\n");
  print_layouts<winograd<6, 3>>("F(6,3)", 224, 64);
  print_layouts<winograd<6, 3>>("F(6,3)", 112, 128);
  print_layouts<winograd<6, 3>>("F(6,3)", 56, 256);
  print_layouts<winograd<6, 3>>("F(6,3)", 28, 512);
  print_layouts<winograd<4, 3>>("F(4,3)", 14, 512);
  print_layouts<winograd<2, 3>>("F(2,3)", 7, 512);
}
