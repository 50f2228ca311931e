// The CPU's memory-bound kernels against the reference, over shapes drawn by seed; the same bits
// for any number of threads. Inputs are small whole numbers where sums are to be exact in any
// order.

#include <catch2/catch.hpp>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "dynamic.hpp"

namespace {

using namespace slim;

class dice {
 public:
  explicit dice(unsigned seed) : generator_(seed) {}
  /// From first to last.
  int between(int first, int last) {
    return first + static_cast<int>(generator_() % static_cast<unsigned>(last - first + 1));
  }
  int channels() {
    constexpr int some[] = {1, 2, 3, 5, 8, 15, 16, 17, 24, 31, 33, 48, 70};
    return some[between(0, 12)];
  }
  template <class T>
  std::vector<T> whole_numbers(long count, int largest) {
    std::vector<T> values(static_cast<std::size_t>(count));
    for (T& value : values) value = static_cast<T>(between(-largest, largest));
    return values;
  }
  template <class T>
  std::vector<T> numbers(long count, double middle, double spread) {
    std::vector<T> values(static_cast<std::size_t>(count));
    for (T& value : values)
      value = static_cast<T>(middle + spread * (between(0, 1 << 20) / double(1 << 19) - 1));
    return values;
  }

 private:
  std::minstd_rand generator_;
};

cpu_device& device(int threads) {
  static cpu_device one(1), two(2), five(5);
  return threads == 1 ? one : threads == 2 ? two : five;
}

template <class T>
struct answers {
  std::vector<T> y, dx;
};

/// y and the gradient of x of what `build` appends, for a gradient g of y.
template <class T, class Backend, class Build>
answers<T> answer(int threads, const shape& dims, const std::vector<T>& x, const std::vector<T>& g,
                  Build build) {
  slim_test::dynamic_model<T, Backend> m(dims, true, device(threads), [&](auto& b, int in) {
    const int y = build(b, in);
    if (y >= 0) b.g.values[y].fetched = true;
    return y;
  });
  std::ranges::copy(x, m.variable("x").begin());
  const long count = m.program().tensors[m.program().output].dims.count();
  m.run().backward({std::vector<T>(g.begin(), g.begin() + count)});
  const auto y = m.run().output();
  const auto dx = m.gradient("x");
  return {{y.begin(), y.end()}, {dx.begin(), dx.end()}};
}

template <class T>
void require_same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  REQUIRE(a.size() == b.size());
  REQUIRE(std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class T>
double distance(const std::vector<T>& a, const std::vector<T>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0, largest = 1e-30;
  for (std::size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::abs(double(a[i]) - double(b[i])));
    largest = std::max(largest, std::abs(double(b[i])));
  }
  return worst / largest;
}

/// The same bits on 1, 2 and 5 threads; returns them.
template <class T, class Build>
answers<T> on_any_threads(const shape& dims, const std::vector<T>& x, const std::vector<T>& g,
                          Build build) {
  const answers<T> first = answer<T, backend::cpu>(1, dims, x, g, build);
  for (int threads : {2, 5}) {
    const answers<T> other = answer<T, backend::cpu>(threads, dims, x, g, build);
    require_same_bits(first.y, other.y);
    require_same_bits(first.dx, other.dx);
  }
  return first;
}

/// A window that fits images of h x w, and has an element inside wherever it lies.
window random_window(dice& d, int h, int w) {
  window win;
  win.pad = static_cast<padding>(d.between(0, 2));
  win.stride_h = d.between(1, 3), win.stride_w = d.between(1, 3);
  if (win.pad == padding::valid && h > 4 && w > 4)
    win.rate_h = d.between(1, 2), win.rate_w = d.between(1, 3);
  const int most_h = std::min(4, (h - 1) / win.rate_h + 1);
  const int most_w = std::min(4, (w - 1) / win.rate_w + 1);
  win.kernel_h = d.between(1, most_h), win.kernel_w = d.between(1, most_w);
  if (d.between(0, 9) == 0) win.kernel_h = h, win.kernel_w = w, win.rate_h = win.rate_w = 1;
  return win;
}

template <class Op, class T>
void check_pooling(unsigned seed) {
  dice d(seed);
  const shape dims{d.between(1, 3), d.between(1, 19), d.between(1, 19), d.channels()};
  attributes a;
  a.win = random_window(d, dims[1], dims[2]);
  const bool twice = d.between(0, 1) == 1;
  INFO("seed " << seed << " " << dims[0] << " " << dims[1] << " " << dims[2] << " " << dims[3]
               << ", window " << a.win.kernel_h << " " << a.win.kernel_w << ", stride "
               << a.win.stride_h << " " << a.win.stride_w << ", rate " << a.win.rate_h << " "
               << a.win.rate_w << ", padding " << int(a.win.pad) << (twice ? ", twice" : ""));
  const auto build = [&](auto& b, int x) {
    const int y = b.template add<Op>({x}, a);
    // Read once more, x has a gradient before the one of this pooling arrives.
    return twice ? b.template add<op::add>({y, b.template add<Op>({x}, a)}) : y;
  };
  const auto x = d.whole_numbers<T>(dims.count(), 4), g = d.whole_numbers<T>(dims.count(), 9);
  const answers<T> got = on_any_threads(dims, x, g, build);
  const answers<T> expected = answer<T, backend::eigen>(1, dims, x, g, build);
  if constexpr (std::is_same_v<Op, op::max_pool>) {
    require_same_bits(got.y, expected.y);
    for (std::size_t i = 0; i < got.dx.size(); ++i) REQUIRE(got.dx[i] == expected.dx[i]);
  } else {
    REQUIRE(distance(got.y, expected.y) < 20 * double(std::numeric_limits<T>::epsilon()));
    REQUIRE(distance(got.dx, expected.dx) < 20 * double(std::numeric_limits<T>::epsilon()));
  }
}

}  // namespace

TEMPLATE_TEST_CASE("pooling over random windows is the reference's", "[memory][pool]", float,
                   double) {
  for (unsigned seed = 1; seed <= 120; ++seed) check_pooling<op::max_pool, TestType>(seed);
  for (unsigned seed = 1; seed <= 60; ++seed) check_pooling<op::avg_pool, TestType>(seed);
}

TEST_CASE("a window of more elements than a byte numbers is searched", "[memory][pool]") {
  dice d(7);
  const shape dims{2, 19, 18, 5};
  attributes a;
  a.win.kernel_h = 17, a.win.kernel_w = 16;
  const auto build = [&](auto& b, int x) { return b.template add<op::max_pool>({x}, a); };
  const auto x = d.whole_numbers<float>(dims.count(), 9), g = d.whole_numbers<float>(200, 9);
  const auto got = on_any_threads(dims, x, g, build);
  const auto expected = answer<float, backend::eigen>(1, dims, x, g, build);
  require_same_bits(got.y, expected.y);
  CHECK(distance(got.dx, expected.dx) == 0);
}

TEST_CASE("max pooling's gradient takes the activation's along", "[memory][pool]") {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    dice d(seed);
    const shape dims{2, d.between(1, 9), d.between(1, 9), d.channels()};
    attributes a;
    a.win = random_window(d, dims[1], dims[2]);
    const auto pool = [&](auto& b, int x) { return b.template add<op::max_pool>({x}, a); };
    const auto both = [&](auto& b, int x) {
      const int y = b.template add<op::activation<constant<relu>>>({x});
      return b.template add<op::add>({pool(b, y), pool(b, y)});
    };
    const auto twice = [&](auto& b, int x) {
      return b.template add<op::add>({pool(b, x), pool(b, x)});
    };
    auto x = d.whole_numbers<float>(dims.count(), 4);
    const auto g = d.whole_numbers<float>(dims.count(), 9);
    const auto got = on_any_threads(dims, x, g, both);
    for (float& value : x) value = std::max(value, 0.0f);
    auto expected = answer<float, backend::cpu>(1, dims, x, g, twice);
    for (std::size_t i = 0; i < x.size(); ++i) expected.dx[i] *= x[i] > 0;
    require_same_bits(got.y, expected.y);
    CHECK(distance(got.dx, expected.dx) == 0);
    slim_test::dynamic_model<float, backend::cpu> m(dims, true, device(1), both);
    const auto count_of = [&](std::string_view op) {
      int count = 0;
      for (const step_row& step : m.program().steps) count += step.op == op;
      return count;
    };
    CHECK(count_of("max_pool_backward+activation") == 1);
    CHECK(count_of("activation_backward") == 0);
  }
}

TEMPLATE_TEST_CASE("fewer images than the batch are pooled alike", "[memory][pool]", float,
                   double) {
  using T = TestType;
  dice d(3);
  const shape dims{5, 7, 9, 17};
  attributes a;
  a.win.kernel_h = 3, a.win.kernel_w = 2, a.win.stride_h = a.win.stride_w = 2;
  a.win.pad = padding::same;
  slim_test::dynamic_model<T, backend::cpu> m(dims, false, device(2), [&](auto& b, int x) {
    return b.template add<op::max_pool>({x}, a);
  });
  const auto x = d.whole_numbers<T>(dims.count(), 50);
  const auto all = m.run().forward({x});
  const std::vector<T> whole(all.begin(), all.end());
  for (int n = 1; n < 5; ++n) {
    const std::vector<T> first(x.begin(), x.begin() + dims.count() / 5 * n);
    const auto some = m.run().forward({first});
    const std::vector<T> part(some.begin(), some.end());
    require_same_bits(part, {whole.begin(), whole.begin() + long(whole.size()) / 5 * n});
  }
}

namespace {

/// Batch norm of rows x channels in plain loops, in double.
struct plain_norm {
  std::vector<double> y, dx;

  template <class T>
  plain_norm(const std::vector<T>& x, const std::vector<T>& g, int c, double epsilon)
      : y(x.size()), dx(x.size()) {
    const std::size_t step = std::size_t(c), rows = x.size() / step;
    for (std::size_t k = 0; k < step; ++k) {
      double mean = 0, variance = 0, slope = 0, along = 0;
      for (std::size_t i = k; i < x.size(); i += step) mean += double(x[i]) / double(rows);
      for (std::size_t i = k; i < x.size(); i += step)
        variance += (double(x[i]) - mean) * (double(x[i]) - mean) / double(rows);
      const double scale = 1 / std::sqrt(variance + epsilon);
      for (std::size_t i = k; i < x.size(); i += step) {
        y[i] = (double(x[i]) - mean) * scale;
        slope += double(g[i]) / double(rows), along += double(g[i]) * y[i] / double(rows);
      }
      for (std::size_t i = k; i < x.size(); i += step)
        dx[i] = scale * (double(g[i]) - slope - y[i] * along);
    }
  }
};

}  // namespace

TEMPLATE_TEST_CASE("batch norm over random shapes is that of plain loops", "[memory][batch_norm]",
                   float, double) {
  using T = TestType;
  constexpr int some[][2] = {{1, 3},   {2, 70},   {5, 1},    {31, 16},  {300, 17},
                             {97, 64}, {700, 33}, {3000, 3}, {40, 600}, {9000, 2}};
  for (const auto& [rows, c] : some)
    for (const double middle : {0.0, 30.0}) {
      INFO(rows << " x " << c << " around " << middle);
      dice d(static_cast<unsigned>(rows + c));
      const shape dims{rows, c};
      const auto x = d.numbers<T>(dims.count(), middle, 1), g = d.numbers<T>(dims.count(), 0, 1);
      attributes a;
      a.number = 0.001;
      const auto norm = [&](auto& b, int in) {
        const auto zero = &variable_hooks_of<T, constant<zeros{}>>;
        const int mean = b.add_variable("mean", {c}, zero, false);
        const int variance = b.add_variable("variance", {c}, zero, false);
        return b.template add<op::batch_norm>({in, mean, variance}, a);
      };
      const answers<T> got = on_any_threads(dims, x, g, norm);
      const plain_norm expected(x, g, c, a.number);
      const double limit = (middle == 0 ? 100 : 2000) * double(std::numeric_limits<T>::epsilon());
      CHECK(distance(std::vector<double>(got.y.begin(), got.y.end()), expected.y) < limit);
      CHECK(distance(std::vector<double>(got.dx.begin(), got.dx.end()), expected.dx) < limit);
    }
}

TEMPLATE_TEST_CASE("sums of any length are the reference's", "[memory]", float, double) {
  using T = TestType;
  for (const int length : {1, 3, 15, 16, 17, 33, 70000}) {
    dice d(static_cast<unsigned>(length));
    const auto x = d.whole_numbers<T>(length, 9), g = d.whole_numbers<T>(length, 9);
    const auto build = [&](auto& b, int in) {
      return b.template add<op::add>({b.template add<op::add>({in, in}), in});
    };
    const auto got = on_any_threads({1, length}, x, g, build);
    const auto expected = answer<T, backend::eigen>(1, {1, length}, x, g, build);
    require_same_bits(got.y, expected.y);
    require_same_bits(got.dx, expected.dx);
  }
}
