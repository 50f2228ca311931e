// Kernels of our own for tensor cores, by themselves: of factors that bfloat16 and TF32 hold
// exactly and whose sums floats hold exactly, so that a result is right to the bit or wrong. Then
// as a model's choice. The emulation has none of them.
#include <cuda_runtime.h>

#include <bit>
#include <catch2/catch.hpp>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include <slim/kernels/cuda/halo_convolution.hpp>
#include <slim/kernels/cuda/halo_float.hpp>
#include <slim/kernels/cuda/halo_tf32.hpp>
#include <slim/kernels/cuda/plans.hpp>
#include <slim/kernels/cuda/row_convolution.hpp>
#include <slim/kernels/cuda/stem_convolution.hpp>
#include <slim/kernels/cuda/stem_tf32.hpp>
#include <slim/kernels/cuda/strided_stem.hpp>
#include <slim/kernels/cuda/tf32_filter.hpp>

#include "gpu_test.hpp"

namespace gpu_tests {
namespace {

using bits = std::uint16_t;  // of a bfloat16

/// Eighths from -1 to 1.
std::vector<float> eighths(std::size_t count, std::uint64_t seed) {
  random_stream r(seed);
  std::vector<float> all(count);
  for (float& x : all) x = static_cast<float>(r.below(17) - 8) / 8;
  return all;
}
/// Exact for eighths; sums are rounded to even as the hardware does.
bits bfloat16_of(float x) {
  const auto all = std::bit_cast<std::uint32_t>(x);
  return static_cast<bits>((all + 0x7fff + (all >> 16 & 1)) >> 16);
}
std::vector<bits> bfloat16s(const std::vector<float>& all) {
  std::vector<bits> converted;
  for (const float x : all) converted.push_back(bfloat16_of(x));
  return converted;
}

/// An array in the device's memory; a fresh one has no numbers.
template <class T>
class on_device {
 public:
  explicit on_device(std::size_t count) : count_(count) {
    REQUIRE(cudaMalloc(&data_, bytes()) == cudaSuccess);
    REQUIRE(cudaMemset(data_, 0xff, bytes()) == cudaSuccess);
    // Which a kernel on another stream could run ahead of.
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  }
  explicit on_device(const std::vector<T>& all) : on_device(all.size()) {
    REQUIRE(cudaMemcpy(data_, all.data(), bytes(), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  on_device(const on_device&) = delete;
  on_device& operator=(const on_device&) = delete;
  ~on_device() { cudaFree(data_); }

  T* data() const { return static_cast<T*>(data_); }
  std::vector<T> back() const {
    std::vector<T> all(count_);
    const cudaError_t e = cudaMemcpy(all.data(), data_, bytes(), cudaMemcpyDeviceToHost);
    INFO(cudaGetErrorString(e));
    REQUIRE(e == cudaSuccess);
    return all;
  }

 private:
  std::size_t bytes() const { return count_ * sizeof(T); }
  std::size_t count_;
  void* data_ = nullptr;
};

struct pixels {
  int n, h, w, c;
  std::vector<float> values;

  pixels(int n, int h, int w, int c, std::uint64_t seed)
      : n(n), h(h), w(w), c(c), values(eighths(std::size_t(n) * h * w * c, seed)) {}
  float at(int image, int row, int column, int channel) const {
    if (row < 0 || row >= h || column < 0 || column >= w) return 0;
    return values[((std::size_t(image) * h + row) * w + column) * c + channel];
  }
};

/// Weights [k, size, size, c].
struct filters {
  int k, size, c;
  std::vector<float> values;

  filters(int k, int size, int c)
      : k(k), size(size), c(c), values(eighths(std::size_t(k) * size * size * c, 2)) {}
  float at(int filter, int a, int b, int channel) const {
    return values[((std::size_t(filter) * size + a) * size + b) * c + channel];
  }
};

/// A place of the output, or of the input.
struct spot {
  int image, row, column, channel;
};

float convolved(const pixels& x, const filters& w, int pad, spot p, int stride = 1) {
  const int row = p.row * stride - pad, column = p.column * stride - pad;
  float sum = 0;
  for (int a = 0; a < w.size; ++a)
    for (int b = 0; b < w.size; ++b)
      for (int c = 0; c < w.c; ++c)
        sum += x.at(p.image, row + a, column + b, c) * w.at(p.channel, a, b, c);
  return sum;
}
float data_gradient(const pixels& dy, const filters& w, int pad, spot p) {
  float sum = 0;
  for (int a = 0; a < w.size; ++a)
    for (int b = 0; b < w.size; ++b)
      for (int k = 0; k < w.k; ++k)
        sum += dy.at(p.image, p.row + pad - a, p.column + pad - b, k) * w.at(k, a, b, p.channel);
  return sum;
}
/// The size of a kernel, padding and stride.
struct walk {
  int size = 3, pad = 1, stride = 1;
};

/// Of weights [size, size, c, k].
float weight_gradient(const pixels& x, const pixels& dy, std::size_t at, walk by = {}) {
  const int k = static_cast<int>(at % dy.c), c = static_cast<int>(at / dy.c % x.c);
  const int tap = static_cast<int>(at / dy.c / x.c);
  const int down = tap / by.size - by.pad, right = tap % by.size - by.pad;
  float sum = 0;
  for (int i = 0; i < x.n; ++i)
    for (int row = 0; row < dy.h; ++row)
      for (int column = 0; column < dy.w; ++column)
        sum += x.at(i, row * by.stride + down, column * by.stride + right, c) *
               dy.at(i, row, column, k);
  return sum;
}

/// Of bfloat16s all that are no numbers are the same.
bool same(bits a, bits b) {
  const auto is_none = [](bits x) { return (x & 0x7fff) > 0x7f80; };
  return a == b || (is_none(a) && is_none(b));
}
bool same(float a, float b) { return a == b; }
bool same(unsigned char a, int b) { return a == b; }

/// How many of some thousand elements of `got` are not as wanted(index) has it.
template <class T, class Wanted>
int wrong_of(const std::vector<T>& got, Wanted wanted) {
  random_stream r(9);
  int wrong = 0;
  const int count = static_cast<int>(std::min<std::size_t>(got.size(), 3000));
  for (int i = 0; i < count; ++i) {
    const auto at =
        std::size_t(count) == got.size() ? std::size_t(i) : std::size_t(r.below(int(got.size())));
    wrong += !same(got[at], wanted(at));
  }
  return wrong;
}
/// The place of an element of [n, h, w, c].
spot spot_of(std::size_t at, int h, int w, int c) {
  const auto in = [&](std::size_t extent) {
    const auto place = static_cast<int>(at % extent);
    at /= extent;
    return place;
  };
  const int channel = in(std::size_t(c)), column = in(std::size_t(w)), row = in(std::size_t(h));
  return {static_cast<int>(at), row, column, channel};
}
float with_bias(float sum, const std::vector<float>& bias, int channel, bool relu) {
  const float v = bias.empty() ? sum : sum + bias[std::size_t(channel)];
  return relu && v < 0 ? 0 : v;
}

/// The largest of a 2x2 window of sums, and the number of the first that is.
std::pair<float, int> largest(const pixels& x, const filters& w, spot pooled) {
  std::pair<float, int> best{};
  for (int i = 0; i < 4; ++i) {
    const float v = convolved(
        x, w, 1, {pooled.image, 2 * pooled.row + i / 2, 2 * pooled.column + i % 2, pooled.channel});
    if (i == 0 || v > best.first) best = {v, i};
  }
  return best;
}

// Images below a tile, odd ones, and so many tiles that every block has several.
const int extents[][3] = {{1, 3, 5}, {3, 17, 9}, {40, 37, 42}};

// What differs between bfloat16's and TF32's kernels.
struct in_bfloat16 {
  using number = bits;
  static std::vector<bits> converted(const std::vector<float>& all) { return bfloat16s(all); }
  static bits result(float x) { return bfloat16_of(x); }
  static void forward(const bits* x, const bits* w, const bits* bias, bits* y, cuda::images size) {
    cuda::halo_forward(x, w, bias, y, size, {64, 64}, true, 132, nullptr);
  }
  static void pooled(const bits* x, const bits* w, const bits* bias, bits* y,
                     unsigned char* winners, cuda::images size) {
    cuda::halo_forward_pooled(x, w, bias, y, winners, size, {64, 64}, true, 132, nullptr);
  }
  static void backward(const bits* dy, const bits* w, const bits* saved, bits* dx,
                       cuda::images size) {
    cuda::halo_backward_data(dy, w, saved, dx, size, {64, 64}, 132, nullptr);
  }
};
struct in_tf32 {
  using number = float;
  static const std::vector<float>& converted(const std::vector<float>& all) { return all; }
  static float result(float x) { return x; }
  static void forward(const float* x, const float* w, const float* bias, float* y,
                      cuda::images size) {
    cuda::halo_tf32_forward(x, w, bias, y, size, true, 132, nullptr);
  }
  static void pooled(const float* x, const float* w, const float* bias, float* y,
                     unsigned char* winners, cuda::images size) {
    cuda::halo_tf32_forward_pooled(x, w, bias, y, winners, size, true, 132, nullptr);
  }
  static void backward(const float* dy, const float* w, const float* saved, float* dx,
                       cuda::images size) {
    cuda::halo_tf32_backward_data(dy, w, saved, dx, size, 132, nullptr);
  }
};

template <class Kernels>
void compare_halo(cuda::images size) {
  INFO(size.n << "x" << size.h << "x" << size.w);
  using number = typename Kernels::number;
  const auto there = [](const std::vector<float>& all) {
    return on_device<number>(Kernels::converted(all));
  };
  const pixels x(size.n, size.h, size.w, 64, 1);
  const filters w(64, 3, 64);
  const auto bias = eighths(64, 3), saved = eighths(x.values.size(), 4);
  const auto x_there = there(x.values), w_there = there(w.values), bias_there = there(bias);
  const auto place = [&](std::size_t at) { return spot_of(at, size.h, size.w, 64); };

  const on_device<number> y(x.values.size());
  Kernels::forward(x_there.data(), w_there.data(), bias_there.data(), y.data(), size);
  CHECK(wrong_of(y.back(), [&](std::size_t at) {
          const spot p = place(at);
          return Kernels::result(with_bias(convolved(x, w, 1, p), bias, p.channel, true));
        }) == 0);

  const auto saved_there = there(saved);
  for (const bool masked : {false, true}) {
    const on_device<number> dx(x.values.size());
    Kernels::backward(x_there.data(), w_there.data(), masked ? saved_there.data() : nullptr,
                      dx.data(), size);
    CHECK(wrong_of(dx.back(), [&](std::size_t at) {
            const bool kept = !masked || saved[at] > 0;
            return Kernels::result(kept ? data_gradient(x, w, 1, place(at)) : 0);
          }) == 0);
  }

  const int h = size.h / 2, width = size.w / 2;
  const auto count = std::size_t(size.n) * h * width * 64;
  const on_device<number> pooled(count);
  const on_device<unsigned char> winners(count);
  Kernels::pooled(x_there.data(), w_there.data(), bias_there.data(), pooled.data(), winners.data(),
                  size);
  const auto largest_at = [&](std::size_t at) { return largest(x, w, spot_of(at, h, width, 64)); };
  CHECK(wrong_of(pooled.back(), [&](std::size_t at) {
          return Kernels::result(
              with_bias(largest_at(at).first, bias, static_cast<int>(at % 64), true));
        }) == 0);
  CHECK(wrong_of(winners.back(), [&](std::size_t at) { return largest_at(at).second; }) == 0);
}

/// The sums of so many pixels, in eighths of eighths, are floats.
struct filter_case {
  int n, h, w, in, out;
};

}  // namespace

TEST_CASE("convolutions of 64 channels from tiles read once") {
  for (const auto& [n, h, w] : extents) {
    compare_halo<in_bfloat16>({n, h, w});
    compare_halo<in_tf32>({n, h, w});
  }
}

TEST_CASE("convolutions of few images") {
  struct few {
    cuda::images size;
    cuda::halo_channels c;
    int multiprocessors, cuts;
  };
  // Rows of a tile and less, odd ones, rows that are cut, several images, tiles of a block, and
  // sums of blocks.
  const few cases[] = {{{1, 14, 14}, {512, 128}, 132, 12}, {{2, 7, 9}, {64, 192}, 132, 3},
                       {{1, 28, 30}, {128, 64}, 132, 6},   {{1, 5, 112}, {64, 128}, 8, 3},
                       {{1, 40, 101}, {64, 64}, 5, 1},     {{3, 2, 1}, {64, 128}, 132, 3},
                       {{1, 10, 58}, {256, 64}, 132, 9}};
  for (const auto& [size, c, multiprocessors, cuts] : cases) {
    INFO(size.n << "x" << size.h << "x" << size.w << "x" << c.in << " to " << c.out);
    const pixels x(size.n, size.h, size.w, c.in, 1);
    const filters w(c.out, 3, c.in);
    const auto bias = eighths(std::size_t(c.out), 3);
    const on_device<bits> x_there(bfloat16s(x.values)), w_there(bfloat16s(w.values));
    const on_device<bits> bias_there(bfloat16s(bias));
    for (const bool pooled : {false, true}) {
      const int window = pooled ? 2 : 1, h = size.h / window, width = size.w / window;
      if (h == 0 || width == 0) continue;
      const auto all = cuda::row_cuts(size, c, pooled, multiprocessors);
      CHECK(all.size() >= std::size_t(cuts));
      for (const cuda::row_cut& cut : all) {
        INFO(cut.rows << "x" << cut.columns << " of " << cut.pixels << ", " << cut.blocks
                      << " blocks" << (pooled ? ", pooled" : ""));
        const bool relu = cut.blocks > 1;
        const on_device<bits> y(std::size_t(size.n) * h * width * c.out);
        cuda::row_forward(x_there.data(), w_there.data(), relu ? bias_there.data() : nullptr,
                          y.data(), size, c, cut, {relu, pooled, relu, multiprocessors}, nullptr);
        CHECK(wrong_of(y.back(), [&](std::size_t at) {
                const spot p = spot_of(at, h, width, c.out);
                const float sum = pooled ? largest(x, w, p).first : convolved(x, w, 1, p);
                return bfloat16_of(
                    with_bias(sum, relu ? bias : std::vector<float>(), p.channel, relu));
              }) == 0);
      }
    }
  }
}

TEST_CASE("VGG's first convolution in TF32") {
  for (const auto& [n, h, w] : extents)
    for (const bool relu : {false, true}) {
      const pixels x(n, h, w, 3, 1);
      const filters f(64, 3, 3);
      const auto bias = eighths(64, 3);
      const on_device<float> x_there(x.values), w_there(f.values), bias_there(bias);
      const on_device<float> y(std::size_t(n) * h * w * 64);
      cuda::stem_forward_tf32(x_there.data(), w_there.data(), bias_there.data(), y.data(),
                              {n, h, w}, relu, nullptr);
      CHECK(wrong_of(y.back(), [&](std::size_t at) {
              const spot p = spot_of(at, h, w, 64);
              return with_bias(convolved(x, f, 1, p), bias, p.channel, relu);
            }) == 0);
    }
}

// One strip of four images and several for a block, uneven ones; channels that are few.
TEST_CASE("weight gradients of 3x3 convolutions") {
  for (const auto& [n, h, w, in, out] : std::initializer_list<filter_case>{{3, 5, 15, 3, 64},
                                                                           {80, 3, 113, 3, 64},
                                                                           {1, 1, 1, 64, 64},
                                                                           {6, 9, 30, 64, 128},
                                                                           {80, 3, 113, 64, 64},
                                                                           {9, 5, 14, 512, 512},
                                                                           {9, 4, 15, 8, 128}}) {
    INFO(n << "x" << h << "x" << w << "x" << in << " to " << out);
    const pixels x(n, h, w, in, 1), dy(n, h, w, out, 2);
    const cuda::images size{n, h, w};
    const on_device<float> x_there(x.values), dy_there(dy.values);
    const auto count = std::size_t(9) * in * out;
    const auto wanted = [&](std::size_t at) { return weight_gradient(x, dy, at); };
    REQUIRE(cuda::tf32_filter_serves({in, out}));
    const on_device<float> dw(count);
    const on_device<char> memory(std::size_t(cuda::tf32_filter_workspace(size, {in, out})));
    cuda::tf32_backward_filter(x_there.data(), dy_there.data(), dw.data(), memory.data(), size,
                               {in, out}, nullptr);
    CHECK(wrong_of(dw.back(), wanted) == 0);
    if (!cuda::halo_serves_backward_filter({in, out})) continue;
    const on_device<bits> x_bits(bfloat16s(x.values)), dy_bits(bfloat16s(dy.values));
    const on_device<float> other(count);
    const on_device<char> more(std::size_t(cuda::halo_filter_workspace(size, {in, out})));
    cuda::halo_backward_filter(x_bits.data(), dy_bits.data(), other.data(), more.data(), size,
                               {in, out}, nullptr);
    CHECK(wrong_of(other.back(), wanted) == 0);
  }
}

// Tiles that hang over the edges, more of them than blocks, padding as PyTorch and as TensorFlow
// have it, none and others; a pixel that is no number reaches the windows that read it, no other.
TEST_CASE("the first convolution of ResNet, 7x7 at stride 2") {
  constexpr auto none = std::numeric_limits<float>::quiet_NaN();
  const struct {
    int n, h, w, pad, out_h, out_w;
  } cases[] = {{1, 16, 8, 3, 8, 4},    {2, 37, 24, 2, 19, 12}, {40, 35, 120, 0, 15, 57},
               {3, 64, 48, 3, 32, 24}, {2, 20, 16, 1, 8, 6},   {1, 9, 8, 5, 7, 6}};
  for (const auto& c : cases) {
    INFO(c.n << "x" << c.h << "x" << c.w << ", padding " << c.pad);
    const convolution_shape shape{c.n, c.h, c.w,   3,     7,       7,       2, 2,
                                  1,   1,   c.pad, c.pad, c.out_h, c.out_w, 64};
    REQUIRE(cuda::strided_stem_serves(shape));
    const pixels x(c.n, c.h, c.w, 3, 1), dy(c.n, c.out_h, c.out_w, 64, 2);
    const filters f(64, 7, 3);
    const auto bias = eighths(64, 3);
    const on_device<bits> x_there(bfloat16s(x.values)), w_there(bfloat16s(f.values)),
        bias_there(bfloat16s(bias)), dy_there(bfloat16s(dy.values)), y(dy.values.size());
    for (const bool biased : {false, true}) {
      cuda::strided_stem_forward(x_there.data(), w_there.data(),
                                 biased ? bias_there.data() : nullptr, y.data(), shape, biased, 132,
                                 nullptr);
      CHECK(wrong_of(y.back(), [&](std::size_t at) {
              const spot p = spot_of(at, c.out_h, c.out_w, 64);
              const float sum = convolved(x, f, c.pad, p, 2);
              return bfloat16_of(biased ? with_bias(sum, bias, p.channel, true) : sum);
            }) == 0);
    }
    pixels broken = x;
    const int row = c.h / 2, column = c.w / 2;
    broken.values[(std::size_t(row) * c.w + column) * 3 + 1] = none;
    const on_device<bits> broken_there(bfloat16s(broken.values));
    cuda::strided_stem_forward(broken_there.data(), w_there.data(), nullptr, y.data(), shape, false,
                               132, nullptr);
    CHECK(wrong_of(y.back(), [&](std::size_t at) {
            const spot p = spot_of(at, c.out_h, c.out_w, 64);
            const bool there = p.image == 0 && std::abs(2 * p.row - c.pad + 3 - row) <= 3 &&
                               std::abs(2 * p.column - c.pad + 3 - column) <= 3;
            return bfloat16_of(there ? none : convolved(x, f, c.pad, p, 2));
          }) == 0);
    const on_device<float> dw(f.values.size());
    const on_device<char> memory(std::size_t(cuda::strided_stem_filter_workspace(shape)));
    cuda::strided_stem_backward_filter(x_there.data(), dy_there.data(), dw.data(), memory.data(),
                                       shape, nullptr);
    CHECK(wrong_of(dw.back(),
                   [&](std::size_t at) { return weight_gradient(x, dy, at, {7, c.pad, 2}); }) == 0);
  }
}

// Several pieces of channels and blocks of filters; kernels of any size, with padding and without.
TEST_CASE("exact convolutions of floats from tiles read once") {
  cuda::stream s(cuda::math::exact);
  const struct {
    int n, h, w, in, out, size, pad;
  } cases[] = {{2, 14, 14, 32, 64, 5, 2}, {3, 17, 9, 64, 32, 3, 1},  {1, 6, 7, 64, 128, 2, 0},
               {5, 20, 23, 32, 32, 7, 3}, {2, 9, 30, 128, 64, 5, 0}, {1, 3, 3, 32, 64, 3, 0}};
  for (const auto& c : cases) {
    INFO(c.n << "x" << c.h << "x" << c.w << "x" << c.in << " to " << c.out << " by " << c.size);
    const int h = c.h + 2 * c.pad - c.size + 1, w = c.w + 2 * c.pad - c.size + 1;
    const convolution_shape shape{c.n, c.h, c.w,   c.in,  c.size, c.size, 1,    1,
                                  1,   1,   c.pad, c.pad, h,      w,      c.out};
    const pixels x(c.n, c.h, c.w, c.in, 1), dy(c.n, h, w, c.out, 5);
    const filters f(c.out, c.size, c.in);
    const auto bias = eighths(std::size_t(c.out), 3), saved = eighths(x.values.size(), 4);
    const on_device<float> x_there(x.values), w_there(f.values), bias_there(bias),
        dy_there(dy.values), saved_there(saved), y(dy.values.size()), dx(x.values.size());
    const on_device<char> memory(cuda::halo_float_workspace(shape));
    const auto array_of = [](const on_device<float>& a, const std::vector<float>& of) {
      return cuda::array{a.data(), cuda::number::f32, long(of.size())};
    };
    cuda::operands o;
    o.x = array_of(x_there, x.values), o.w = array_of(w_there, f.values);
    o.bias = array_of(bias_there, bias), o.y = array_of(y, dy.values), o.f = cuda::function::relu;
    REQUIRE(cuda::halo_float_serves_forward(shape, o));
    cuda::halo_float_forward(s, shape, o, memory.data());
    REQUIRE(cudaStreamSynchronize(s.handle) == cudaSuccess);
    CHECK(wrong_of(y.back(), [&](std::size_t at) {
            const spot p = spot_of(at, h, w, c.out);
            return with_bias(convolved(x, f, c.pad, p), bias, p.channel, true);
          }) == 0);
    o.x = array_of(dy_there, dy.values), o.bias = {}, o.y = array_of(dx, x.values);
    o.saved = array_of(saved_there, saved);
    REQUIRE(cuda::halo_float_serves_backward_data(shape, o));
    cuda::halo_float_backward_data(s, shape, o, memory.data());
    REQUIRE(cudaStreamSynchronize(s.handle) == cudaSuccess);
    CHECK(wrong_of(dx.back(), [&](std::size_t at) {
            return saved[at] > 0 ? data_gradient(dy, f, c.pad, spot_of(at, c.h, c.w, c.in)) : 0;
          }) == 0);
  }
}

namespace {

struct few_channels_net
    : net<"few", conv2d<64, kernel_size{3}, scope{"conv1"}>,
          conv2d<64, kernel_size{3}, scope{"conv2"}>, max_pool2d<kernel_size{2}, scope{"pool2"}>,
          conv2d<64, kernel_size{3}, scope{"conv3"}>, conv2d<128, kernel_size{3}, scope{"conv4"}>,
          conv2d<128, kernel_size{3}, scope{"conv5"}>, max_pool2d<kernel_size{2}, scope{"pool5"}>,
          conv2d<32, kernel_size{5}, scope{"conv6"}>, flatten<>,
          fully_connected<10, activation_fn{none}, scope{"logits"}>> {};

/// Whether a report has this way for some contraction of the kind that its line begins with.
bool has_way(const std::string& plans, const std::string& kind, const std::string& way) {
  std::istringstream lines(plans);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(kind) && line.find(": " + way) != std::string::npos) return true;
  return false;
}

/// Compares a way for few channels, where a kind of contraction has it, with whatever is fastest:
/// that the right operands reach it. (What it makes of them is compared above.)
template <class Precision>
void compare_few_channels(const std::string& way, const std::string& kind, const limits& l) {
  INFO(kind << ": " << way);
  using model_t = model<few_channels_net, input<3, 37, 42, 3>, labels<3>,
                        sparse_softmax_cross_entropy<>, gpu<Precision>>;
  const auto x = random_numbers<float>(3 * 37 * 42 * 3, 1);
  const auto y = random_labels(3, 10);
  const std::string file = "gpu_test_few.plans";
  std::remove(file.c_str());
  const auto run = [&](model_t& m) {
    m.keep_plans(file);
    m.initialize(1);
    disturb(m);
    return m.backward(x, y);
  };
  model_t usual, there;
  const float loss = run(usual);
  const auto logits = usual.forward(x);
  choose_everywhere(file, way, kind);
  CHECK(run(there) == Approx(loss).epsilon(l.forward));
  for (int v = 0; v < model_t::variable_count; ++v) {
    INFO(usual.variable_name(v));
    CHECK(distance_of(there.gradient(v), usual.gradient(v)) < l.gradients);
  }
  CHECK(distance_of(there.forward(x), logits) < 2 * l.forward);
  std::remove(file.c_str());
  CHECK(has_way(there.plans(), kind, way));
}

}  // namespace

// Tiles that hang over the images' edges, and rows that no window covers.
TEST_CASE("each way to convolve few channels in bfloat16") {
  for (const char* kind :
       {"forward bf16", "forward, pooled bf16", "data gradient bf16", "weight gradient bf16"})
    compare_few_channels<bfloat16>("halo", kind, {1e-2, 8e-2});
}
TEST_CASE("each way to convolve few channels in float") {
  for (const char* kind : {"forward float", "data gradient float"})
    compare_few_channels<float>("exact halo", kind, {1e-5, 1e-4});
}
TEST_CASE("each way to convolve few channels in TF32") {
  compare_few_channels<tf32>("stem", "forward tf32", {5e-3, 1e-1});
  for (const char* kind : {"forward tf32", "forward, pooled tf32", "data gradient tf32"})
    compare_few_channels<tf32>("halo", kind, {5e-3, 1e-1});
  compare_few_channels<tf32>("halo", "weight gradient tf32", {1e-6, 2e-3});
}

TEST_CASE("a product of bfloat16s that a kernel reads", "[.initcheck]") {
  constexpr int n = 1024;
  cuda::stream s(cuda::math::bf16);
  const on_device<bits> ones(std::vector<bits>(n * n, bfloat16_of(1)));
  const on_device<float> read(n * n);
  void* product = nullptr;  // that cuBLASLt alone writes
  REQUIRE(cudaMalloc(&product, n * n * sizeof(bits)) == cudaSuccess);
  const auto numbers = [](void* data) { return cuda::array{data, cuda::number::bf16, n * n}; };
  cuda::multiply(s, {n, n, n}, numbers(ones.data()), numbers(ones.data()), numbers(product));
  cuda::add_bias(s, numbers(product), {}, {}, cuda::function::relu,
                 {read.data(), cuda::number::f32, n * n});
  REQUIRE(cudaStreamSynchronize(s.handle) == cudaSuccess);
  CHECK(read.back() == std::vector<float>(n * n, n));
  cudaFree(product);
}

}  // namespace gpu_tests
