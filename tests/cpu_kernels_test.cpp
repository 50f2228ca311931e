// Every CPU kernel against plain loops in double, over odd shapes; the same bits for any number of
// threads.

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <slim/convolution_shape.hpp>
#include <slim/device.hpp>
#include <slim/kernels/cpu/convolution_direct.hpp>
#include <slim/kernels/cpu/convolution_direct_filter.hpp>
#include <slim/kernels/cpu/convolution_gemm.hpp>
#include <slim/kernels/cpu/dense.hpp>
#include <slim/kernels/cpu/winograd.hpp>
#include <slim/kernels/cpu/winograd_filter.hpp>

namespace {

using slim::convolution_shape;
using slim::cpu_device;
using doubles = std::vector<double>;

struct identity {
  template <class V>
  static V forward(V x) {
    return x;
  }
  template <class V>
  static V backward(V dy, V) {
    return dy;
  }
};

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

// Takes single numbers only.
struct halve {
  template <std::floating_point T>
  static T forward(T x) {
    return x / 2;
  }
  template <std::floating_point T>
  static T backward(T dy, T) {
    return dy / 2;
  }
};

template <class T>
std::vector<T> random_values(std::size_t count, unsigned seed) {
  std::minstd_rand generator(seed);
  std::vector<T> values(count);
  for (T& value : values) value = T(double(generator()) / 1073741824.0 - 1.0);
  return values;
}

// Memory of a kernel: starts as not-a-number, so that reading it before writing shows, and ends in
// a guard, so that writing beyond it shows.
template <class T>
class memory {
 public:
  explicit memory(std::size_t size) : values_(size + guard, std::numeric_limits<T>::quiet_NaN()) {
    std::fill(values_.end() - guard, values_.end(), T(42));
  }
  T* data() { return values_.data(); }
  std::vector<T> take() {
    for (auto i = values_.end() - guard; i != values_.end(); ++i) {
      if (*i != T(42)) FAIL("a kernel wrote beyond its memory");
    }
    return {values_.begin(), values_.end() - guard};
  }

 private:
  static constexpr std::ptrdiff_t guard = 64;
  std::vector<T> values_;
};

// The largest difference, relative to the largest expected value.
template <class T>
double error(const std::vector<T>& got, const doubles& expected) {
  REQUIRE(got.size() == expected.size());
  double worst = 0, largest = 1e-30;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double difference = std::abs(double(got[i]) - expected[i]);
    worst = std::isnan(difference) ? std::numeric_limits<double>::infinity()
                                   : std::max(worst, difference);
    largest = std::max(largest, std::abs(expected[i]));
  }
  return worst / largest;
}

template <class T>
double tolerance(double factor = 1) {
  return factor * 20 * double(std::numeric_limits<T>::epsilon());
}

// ---- Plain loops ------------------------------------------------------------------------------

// f(output element's pixel, input pixel, tap) for each tap of each output pixel inside the input.
template <class F>
void for_each_tap(const convolution_shape& s, F&& f) {
  for (int n = 0; n < s.n; ++n)
    for (int p = 0; p < s.out_h; ++p)
      for (int q = 0; q < s.out_w; ++q)
        for (int a = 0; a < s.kernel_h; ++a)
          for (int b = 0; b < s.kernel_w; ++b) {
            const int i = p * s.stride_h - s.pad_top + a * s.rate_h;
            const int j = q * s.stride_w - s.pad_left + b * s.rate_w;
            if (i < 0 || i >= s.h || j < 0 || j >= s.w) continue;
            f((n * s.out_h + p) * s.out_w + q, (n * s.h + i) * s.w + j, a * s.kernel_w + b);
          }
}

template <class Act, class T>
doubles plain_forward(const convolution_shape& s, const std::vector<T>& x, const std::vector<T>& w,
                      const T* bias, const T* residual = nullptr) {
  doubles y(std::size_t(s.output_pixels()) * s.k);
  for (std::size_t i = 0; i < y.size(); ++i)
    y[i] = (bias ? bias[i % s.k] : 0) + (residual ? double(residual[i]) : 0);
  for_each_tap(s, [&](int to, int from, int tap) {
    for (int c = 0; c < s.c; ++c)
      for (int k = 0; k < s.k; ++k)
        y[to * s.k + k] += double(x[from * s.c + c]) * w[(tap * s.c + c) * s.k + k];
  });
  for (double& value : y) value = Act::forward(value);
  return y;
}

template <class Act, class T>
doubles plain_backward_data(const convolution_shape& s, const std::vector<T>& dy,
                            const std::vector<T>& w, const T* y_previous) {
  doubles dx(std::size_t(s.input_pixels()) * s.c);
  for_each_tap(s, [&](int to, int from, int tap) {
    for (int c = 0; c < s.c; ++c)
      for (int k = 0; k < s.k; ++k)
        dx[from * s.c + c] += double(dy[to * s.k + k]) * w[(tap * s.c + c) * s.k + k];
  });
  if (y_previous == nullptr) return dx;
  for (std::size_t i = 0; i < dx.size(); ++i) dx[i] = Act::backward(dx[i], double(y_previous[i]));
  return dx;
}

template <class T>
doubles plain_backward_filter(const convolution_shape& s, const std::vector<T>& x,
                              const std::vector<T>& dy) {
  doubles dw(s.weights());
  for_each_tap(s, [&](int to, int from, int tap) {
    for (int c = 0; c < s.c; ++c)
      for (int k = 0; k < s.k; ++k)
        dw[(tap * s.c + c) * s.k + k] += double(x[from * s.c + c]) * dy[to * s.k + k];
  });
  return dw;
}

template <class T>
doubles plain_column_sums(const std::vector<T>& rows, int columns) {
  doubles sums(columns);
  for (std::size_t i = 0; i < rows.size(); ++i) sums[i % columns] += rows[i];
  return sums;
}

// ---- Running a kernel on 1, 2 and 5 threads ----------------------------------------------------

cpu_device& device(int threads) {
  static cpu_device one(1), two(2), five(5);
  return threads == 1 ? one : threads == 2 ? two : five;
}

template <class T>
void require_same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  REQUIRE(a.size() == b.size());
  if (!a.empty()) REQUIRE(std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// f(output, workspace, device) on each device; returns the output.
template <class T, class F>
std::vector<T> run(std::size_t size, std::size_t workspace_size, F&& f) {
  std::vector<T> first;
  for (int threads : {1, 2, 5}) {
    memory<T> output(size), workspace(workspace_size);
    f(output.data(), workspace.data(), device(threads));
    workspace.take();
    std::vector<T> result = output.take();
    if (threads == 1) first = result;
    require_same_bits(first, result);
  }
  return first;
}

convolution_shape make_shape(int n, int h, int w, int c, int k, int kernel, int stride, int rate,
                             int pad) {
  const int reach = (kernel - 1) * rate + 1;
  return {n,
          h,
          w,
          c,
          kernel,
          kernel,
          stride,
          stride,
          rate,
          rate,
          pad,
          pad,
          (h + 2 * pad - reach) / stride + 1,
          (w + 2 * pad - reach) / stride + 1,
          k};
}

std::string describe(const convolution_shape& s) {
  std::string text;
  for (int value : {s.n, s.h, s.w, s.c, s.kernel_h, s.stride_h, s.rate_h, s.pad_top, s.pad_left,
                    s.out_h, s.out_w, s.k}) {
    text += std::to_string(value) + " ";
  }
  return text;
}

template <class T>
struct tensors {
  explicit tensors(const convolution_shape& s)
      : x(random_values<T>(std::size_t(s.input_pixels()) * s.c, 1)),
        w(random_values<T>(s.weights(), 2)),
        dy(random_values<T>(std::size_t(s.output_pixels()) * s.k, 3)),
        bias(random_values<T>(s.k, 4)) {}
  std::vector<T> x, w, dy, bias;
};

}  // namespace

TEST_CASE("parallel runs each task once, without overlap of workers", "[cpu][device]") {
  for (int threads : {1, 2, 5}) {
    cpu_device device(threads);
    std::vector<int> runs(64);
    std::vector<std::atomic<int>> busy(threads);
    std::atomic<int> faults{0};
    for (int job = 0; job < 20000; ++job) {
      const int tasks = job % 64;
      device.parallel(tasks, [&](int task, int worker) {
        if (worker < 0 || worker >= threads || busy[worker].exchange(1) != 0) ++faults;
        ++runs[task];
        device.parallel(2, [&](int, int inner) { faults += inner != worker; });
        busy[worker] = 0;
      });
      for (int task = 0; task < tasks; ++task) faults += runs[task] != 1;
      std::fill(runs.begin(), runs.end(), 0);
    }
    REQUIRE(faults == 0);
  }
}

TEST_CASE("devices share a pool, even one that is busy", "[cpu][device]") {
  Eigen::ThreadPool pool(1);
  std::atomic<bool> stop{false};
  pool.Schedule([&] {
    while (!stop) std::this_thread::yield();
  });
  std::atomic<int> sum{0};
  {
    cpu_device a(pool, 3), b(pool, 2);
    a.parallel(100, [&](int task, int) { sum += task; });  // no helper ever comes
    b.parallel(100, [&](int task, int) { sum += task; });
    stop = true;
  }
  REQUIRE(sum == 9900);
}

TEST_CASE("scratch and buffers are aligned and zero", "[cpu][device]") {
  cpu_device device(2);
  for (int worker : {0, 1}) {
    REQUIRE(reinterpret_cast<std::uintptr_t>(device.scratch(worker)) % 64 == 0);
  }
  slim::aligned_buffer small(100), empty;
  REQUIRE(reinterpret_cast<std::uintptr_t>(small.data()) % 64 == 0);
  REQUIRE(
      std::all_of(small.data(), small.data() + 100, [](std::byte b) { return b == std::byte{}; }));
  empty = std::move(small);
  REQUIRE(empty.size() == 100);
}

namespace {

template <class T>
std::vector<T> packed_weights(const convolution_shape& s, const tensors<T>& t) {
  using namespace slim::cpu;
  return run<T>(gemm_convolution_prepared_size<T>(s), 0, [&](T* packed, T*, cpu_device& device) {
    gemm_convolution_prepare(s, t.w.data(), static_cast<const T*>(nullptr), packed, device);
  });
}

// With the weights as they are, and packed beforehand.
template <class T>
void test_gemm_convolution_forward(const convolution_shape& s, const tensors<T>& t, const T* bias,
                                   const T* residual) {
  using namespace slim::cpu;
  const auto packed = packed_weights(s, t);
  for (const T* ready : {static_cast<const T*>(nullptr), packed.data()}) {
    const auto y = run<T>(t.dy.size(), gemm_convolution_forward_workspace<T>(s, ready != nullptr),
                          [&](T* y, T* workspace, cpu_device& device) {
                            gemm_convolution_forward<relu>(s, t.x.data(), t.w.data(), ready, bias,
                                                           residual, y, workspace, device);
                          });
    REQUIRE(error(y, plain_forward<relu>(s, t.x, t.w, bias, residual)) < tolerance<T>());
    if (!direct_supports<T>(s)) continue;
    const auto direct =
        run<T>(t.dy.size(), gemm_convolution_forward_workspace<T>(s, ready != nullptr),
               [&](T* y, T* workspace, cpu_device& device) {
                 direct_convolution_forward<relu>(s, t.x.data(), t.w.data(), ready, bias, residual,
                                                  y, workspace, device);
               });
    REQUIRE(error(direct, plain_forward<relu>(s, t.x, t.w, bias, residual)) < tolerance<T>());
  }
}

}  // namespace

TEMPLATE_TEST_CASE("convolution by gemm", "[cpu][convolution]", float, double) {
  using T = TestType;
  using namespace slim::cpu;
  const convolution_shape shapes[] = {
      make_shape(1, 5, 7, 3, 5, 3, 1, 1, 1),        make_shape(2, 9, 8, 3, 64, 3, 1, 1, 1),
      make_shape(3, 11, 9, 17, 33, 3, 2, 1, 0),     make_shape(2, 12, 13, 16, 32, 3, 1, 2, 2),
      make_shape(1, 23, 21, 3, 12, 7, 2, 1, 3),     make_shape(2, 7, 7, 40, 70, 1, 1, 1, 0),
      make_shape(1, 8, 8, 31, 1, 1, 2, 1, 0),       make_shape(1, 15, 14, 4, 9, 5, 3, 2, 4),
      make_shape(1, 6, 6, 300, 20, 3, 1, 1, 1),     make_shape(1, 7, 7, 2, 600, 7, 1, 1, 0),
      make_shape(2, 40, 40, 3, 8, 3, 1, 1, 1),      {2, 9, 7, 6, 3, 2, 2, 1, 1, 3, 1, 0, 5, 5, 10},
      {1, 5, 5, 3, 3, 3, 2, 2, 1, 1, 0, 1, 3, 3, 4}};
  for (const convolution_shape& s : shapes) {
    INFO(describe(s));
    const tensors<T> t(s);
    for (const T* bias : {static_cast<const T*>(nullptr), t.bias.data()}) {
      for (const T* residual : {static_cast<const T*>(nullptr), t.dy.data()})
        test_gemm_convolution_forward(s, t, bias, residual);
    }
    for (const T* y_previous : {static_cast<const T*>(nullptr), t.x.data()}) {
      const auto dx = run<T>(t.x.size(), gemm_convolution_backward_data_workspace<T>(s),
                             [&](T* dx, T* workspace, cpu_device& device) {
                               gemm_convolution_backward_data<relu>(
                                   s, t.dy.data(), t.w.data(), y_previous, dx, workspace, device);
                             });
      REQUIRE(error(dx, plain_backward_data<relu>(s, t.dy, t.w, y_previous)) < tolerance<T>());
    }
    const auto check = [&](const std::vector<T>& dw_db) {
      const std::vector<T> dw(dw_db.begin(), dw_db.end() - s.k), db(dw_db.end() - s.k, dw_db.end());
      REQUIRE(error(dw, plain_backward_filter(s, t.x, t.dy)) < tolerance<T>(2));
      REQUIRE(error(db, plain_column_sums(t.dy, s.k)) < tolerance<T>(5));
    };
    check(run<T>(t.w.size() + s.k, gemm_convolution_backward_filter_workspace<T>(s),
                 [&](T* dw, T* workspace, cpu_device& device) {
                   gemm_convolution_backward_filter(s, t.x.data(), t.dy.data(), dw, dw + t.w.size(),
                                                    workspace, device);
                 }));
    if (!direct_filter_supports<T>(s)) continue;
    check(run<T>(t.w.size() + s.k, direct_backward_filter_workspace<T>(s),
                 [&](T* dw, T* workspace, cpu_device& device) {
                   direct_backward_filter(s, t.x.data(), t.dy.data(), dw, dw + t.w.size(),
                                          workspace, device);
                 }));
  }
}

namespace {

// With the weights as they are, and packed beforehand.
template <class T>
void test_dense_forward(int m, int k, int n, const convolution_shape& s, const tensors<T>& t,
                        const T* bias, const T* residual) {
  using namespace slim::cpu;
  const auto packed = packed_weights(s, t);
  for (const T* ready : {static_cast<const T*>(nullptr), packed.data()}) {
    const auto c = run<T>(t.dy.size(), dense_forward_workspace<T>(m, k, n, ready != nullptr),
                          [&](T* c, T* workspace, cpu_device& device) {
                            dense_forward<halve>(m, k, n, t.x.data(), t.w.data(), ready, bias,
                                                 residual, c, workspace, device);
                          });
    REQUIRE(error(c, plain_forward<halve>(s, t.x, t.w, bias, residual)) < tolerance<T>());
  }
}

}  // namespace

TEMPLATE_TEST_CASE("dense layers", "[cpu][dense]", float, double) {
  using T = TestType;
  using namespace slim::cpu;
  const int extents[][3] = {{1, 7, 5},     {1, 1100, 600}, {2, 33, 1},   {8, 1030, 530},
                            {3, 1, 40},    {16, 258, 100}, {17, 70, 35}, {100, 64, 33},
                            {5, 600, 513}, {20, 515, 9}};
  for (const auto& [m, k, n] : extents) {
    INFO(m << " " << k << " " << n);
    // A dense layer is a convolution of pictures of one pixel.
    const convolution_shape s = make_shape(m, 1, 1, k, n, 1, 1, 1, 0);
    const tensors<T> t(s);
    for (const T* bias : {static_cast<const T*>(nullptr), t.bias.data()}) {
      for (const T* residual : {static_cast<const T*>(nullptr), t.dy.data()})
        test_dense_forward(m, k, n, s, t, bias, residual);
    }
    for (const T* a : {static_cast<const T*>(nullptr), t.x.data()}) {
      const auto da = run<T>(t.x.size(), dense_backward_data_workspace<T>(m, k, n),
                             [&](T* da, T* workspace, cpu_device& device) {
                               dense_backward_data<relu>(m, k, n, t.dy.data(), t.w.data(), a, da,
                                                         workspace, device);
                             });
      REQUIRE(error(da, plain_backward_data<relu>(s, t.dy, t.w, a)) < tolerance<T>());
    }
    const auto dw_db = run<T>(t.w.size() + n, dense_backward_filter_workspace<T>(m, k, n),
                              [&](T* dw, T* workspace, cpu_device& device) {
                                dense_backward_filter(m, k, n, t.x.data(), t.dy.data(), dw,
                                                      dw + t.w.size(), workspace, device);
                              });
    const std::vector<T> dw(dw_db.begin(), dw_db.end() - n), db(dw_db.end() - n, dw_db.end());
    REQUIRE(error(dw, plain_backward_filter(s, t.x, t.dy)) < tolerance<T>());
    REQUIRE(error(db, plain_column_sums(t.dy, n)) < tolerance<T>());
  }
}

namespace {

// Channels that fill a panel and channels that do not, extents that fill tiles and that do not.
template <class T>
std::vector<convolution_shape> winograd_shapes(int taps) {
  constexpr int unit = slim::cpu::tile_columns<T>;
  const int half = taps / 2;
  std::vector<convolution_shape> shapes = {
      make_shape(1, 4, 4, unit, unit, taps, 1, 1, half),
      make_shape(2, 13, 11, 3 * unit, 2 * unit, taps, 1, 1, half),
      make_shape(3, 7, 8, unit, 2 * unit, taps, 1, 1, 0),
      make_shape(1, 5, 5, 2 * unit, unit, taps, 1, 1, taps - 1),
      make_shape(1, 6, 5, 320, unit, taps, 1, 1, half),        // several blocks of channels
      make_shape(2, 60, 70, unit, unit, taps, 1, 1, half),     // several chunks of tiles
      make_shape(1, 130, 140, 3, unit + 1, taps, 1, 1, half),  // private tiles
      make_shape(2, 9, 10, 1, 1, taps, 1, 1, half),
      make_shape(1, 14, 14, 24, 56, taps, 1, 1, half),
      make_shape(1, 11, 7, 5, 2 * unit + 3, taps, 1, 1, half),
      make_shape(1, 8, 9, unit + 1, unit - 1, taps, 1, 1, half),
  };
  convolution_shape uneven = make_shape(1, 9, 10, unit, unit, taps, 1, 1, half);
  uneven.pad_top = 0;
  uneven.pad_left = taps - 1;
  uneven.out_h = 8;
  uneven.out_w = 9;
  shapes.push_back(uneven);
  return shapes;
}

// Rounding errors grow with the tile.
template <class T>
double winograd_tolerance(int size) {
  return tolerance<T>(size == 4 ? 1 : size == 6 ? 3 : 15);
}

template <class W, class T>
void test_winograd_forward(const convolution_shape& s, const tensors<T>& t, const T* bias) {
  using namespace slim::cpu;
  const auto check = [&](const winograd_weights<T>& w, bool prepared, const T* residual) {
    const auto y =
        run<T>(t.dy.size(), winograd_forward_workspace<W, T>(s, prepared),
               [&](T* y, T* workspace, cpu_device& device) {
                 winograd_forward<W, relu>(s, t.x.data(), w, bias, residual, y, workspace, device);
               });
    REQUIRE(error(y, plain_forward<relu>(s, t.x, t.w, bias, residual)) <
            winograd_tolerance<T>(W::size));
  };
  const auto u = run<T>(winograd_prepared_size<W, T>(s), 0, [&](T* u, T*, cpu_device& device) {
    winograd_prepare<W>(s, t.w.data(), static_cast<const T*>(nullptr), u, device);
  });
  for (const T* residual : {static_cast<const T*>(nullptr), t.dy.data()}) {
    check({t.w.data()}, false, residual);
    check({nullptr, u.data()}, true, residual);
  }
}

// Weights scaled while they are transformed against weights scaled before.
template <class W, class T>
void test_winograd_scaled_weights(const convolution_shape& s, const tensors<T>& t) {
  using namespace slim::cpu;
  std::vector<T> scaled = t.w;
  for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] *= t.bias[i % s.k];
  const auto prepare = [&](const T* w, const T* scale) {
    return run<T>(winograd_prepared_size<W, T>(s), 0, [&](T* u, T*, cpu_device& device) {
      winograd_prepare<W>(s, w, scale, u, device);
    });
  };
  require_same_bits(prepare(t.w.data(), t.bias.data()), prepare(scaled.data(), nullptr));
}

// The pooled kernel against pooling the unpooled kernel's output: the same bits.
template <class W, class T>
void test_winograd_max_pool(const convolution_shape& s, const tensors<T>& t, const T* bias) {
  using namespace slim::cpu;
  const winograd_weights<T> w{t.w.data()};
  std::vector<T> y(t.dy.size()), v(winograd_forward_workspace<W, T>(s, false));
  winograd_forward<W, relu>(s, t.x.data(), w, bias, static_cast<const T*>(nullptr), y.data(),
                            v.data(), device(1));
  const int out_h = s.out_h / 2, out_w = s.out_w / 2;
  std::vector<T> expected;
  std::vector<std::uint8_t> expected_argmax;
  for (int pixel = 0; pixel < s.n * out_h * out_w; ++pixel)
    for (int k = 0; k < s.k; ++k) {
      const int j = pixel % out_w, i = pixel / out_w % out_h, n = pixel / out_w / out_h;
      int best = 0;
      T window[4];
      for (int l = 0; l < 4; ++l) {
        window[l] = y[((n * s.out_h + 2 * i + l / 2) * s.out_w + 2 * j + l % 2) * s.k + k];
        if (window[l] > window[best]) best = l;
      }
      expected.push_back(window[best]);
      expected_argmax.push_back(std::uint8_t(best));
    }
  std::vector<std::uint8_t> argmax(expected.size());
  for (std::uint8_t* indices : {argmax.data(), static_cast<std::uint8_t*>(nullptr)}) {
    const auto pooled = run<T>(expected.size(), winograd_forward_workspace<W, T>(s, false),
                               [&](T* pooled, T* workspace, cpu_device& device) {
                                 winograd_forward_max_pool<W, relu>(s, t.x.data(), w, bias, pooled,
                                                                    indices, workspace, device);
                               });
    require_same_bits(pooled, expected);
    require_same_bits(argmax, expected_argmax);
  }
}

template <class W, class T>
void test_winograd_backward_data(const convolution_shape& s, const tensors<T>& t,
                                 const T* y_previous) {
  using namespace slim::cpu;
  const auto dx = run<T>(t.x.size(), winograd_backward_data_workspace<W, T>(s),
                         [&](T* dx, T* workspace, cpu_device& device) {
                           winograd_backward_data<W, relu>(s, t.dy.data(), t.w.data(), y_previous,
                                                           dx, workspace, device);
                         });
  REQUIRE(error(dx, plain_backward_data<relu>(s, t.dy, t.w, y_previous)) <
          winograd_tolerance<T>(W::size));
}

template <class W, class T>
void test_winograd_backward_filter(const convolution_shape& s, const tensors<T>& t) {
  using namespace slim::cpu;
  const auto dw_db = run<T>(t.w.size() + s.k, winograd_backward_filter_workspace<W, T>(s),
                            [&](T* dw, T* workspace, cpu_device& device) {
                              winograd_backward_filter<W>(s, t.x.data(), t.dy.data(), dw,
                                                          dw + t.w.size(), workspace, device);
                            });
  const std::vector<T> dw(dw_db.begin(), dw_db.end() - s.k), db(dw_db.end() - s.k, dw_db.end());
  REQUIRE(error(dw, plain_backward_filter(s, t.x, t.dy)) < 4 * winograd_tolerance<T>(W::size));
  REQUIRE(error(db, plain_column_sums(t.dy, s.k)) < tolerance<T>(5));
}

template <class W, class T>
void test_winograd(const convolution_shape& s) {
  INFO("F(" << W::outputs << ", " << W::taps << ") " << describe(s));
  REQUIRE(slim::cpu::winograd_supports<W>(s));
  const tensors<T> t(s);
  for (const T* bias : {static_cast<const T*>(nullptr), t.bias.data()}) {
    test_winograd_forward<W>(s, t, bias);
    test_winograd_max_pool<W>(s, t, bias);
  }
  for (const T* y_previous : {static_cast<const T*>(nullptr), t.x.data()}) {
    test_winograd_backward_data<W>(s, t, y_previous);
  }
  test_winograd_backward_filter<W>(s, t);
}

/// Of the taps that no gradient meets an input in, the share that is not 0 by Winograd.
template <class W>
double noise_of_sparse_gradients(const convolution_shape& s) {
  using namespace slim::cpu;
  tensors<float> t(s);
  std::minstd_rand random(1);
  for (float& x : t.x) x = random() % 8 == 0 ? x : 0;
  for (float& dy : t.dy) dy = random() % 64 == 0 ? dy : 0;
  const auto dw = run<float>(t.w.size() + s.k, winograd_backward_filter_workspace<W, float>(s),
                             [&](float* dw, float* workspace, cpu_device& device) {
                               winograd_backward_filter<W>(s, t.x.data(), t.dy.data(), dw,
                                                           dw + t.w.size(), workspace, device);
                             });
  const doubles exact = plain_backward_filter(s, t.x, t.dy);
  int zeros = 0, noise = 0;
  for (std::size_t i = 0; i < exact.size(); ++i)
    if (exact[i] == 0) ++zeros, noise += dw[i] != 0;
  REQUIRE(zeros > 1000);
  return double(noise) / zeros;
}

}  // namespace

TEST_CASE("a weight that no gradient meets has none by Winograd either", "[cpu][convolution]") {
  using namespace slim::cpu;
  const auto shape = [](int taps) { return make_shape(1, 12, 12, 32, 32, taps, 1, 1, taps / 2); };
  CHECK(noise_of_sparse_gradients<winograd<2, 3>>(shape(3)) < 1e-3);
  CHECK(noise_of_sparse_gradients<winograd<4, 3>>(shape(3)) < 1e-3);
  CHECK(noise_of_sparse_gradients<winograd<6, 3>>(shape(3)) < 1e-3);
  CHECK(noise_of_sparse_gradients<winograd<4, 5>>(shape(5)) < 1e-3);
}

TEMPLATE_TEST_CASE("convolution by Winograd's minimal filtering", "[cpu][convolution]", float,
                   double) {
  using namespace slim::cpu;
  constexpr bool all = std::is_same_v<TestType, float>;  // double says little more
  for (const convolution_shape& s : winograd_shapes<TestType>(3)) {
    test_winograd<winograd<4, 3>, TestType>(s);
    if constexpr (all) test_winograd<winograd<2, 3>, TestType>(s);
    if constexpr (all) test_winograd<winograd<6, 3>, TestType>(s);
  }
  for (const convolution_shape& s : winograd_shapes<TestType>(5)) {
    test_winograd<winograd<4, 5>, TestType>(s);
    if constexpr (all) test_winograd<winograd<2, 5>, TestType>(s);
  }
}
