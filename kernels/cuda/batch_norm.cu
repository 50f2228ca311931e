// Batch normalisation and sums of rows: one pass for the sums, one to normalise.
#include <algorithm>

#include "columns.cuh"

namespace slim::cuda {

namespace {

template <class T>
struct sum_of {
  using way = column_way<>;
  const T* x;
  int c;

  template <int V>
  __device__ no_constants prepare(int, long) const {
    return {};
  }
  template <int V>
  __device__ piece<T, V> fetched(long row, int channel) const {
    return fetch<V>(x + row * c + channel);
  }
  template <int V>
  __device__ void add(no_constants, const piece<T, V>& part, float (&sums)[1][V], long, int) const {
    float values[V];
    widen(part, values);
#pragma unroll
    for (int i = 0; i < V; ++i) sums[0][i] += values[i];
  }
};

}  // namespace

void sum_rows(stream& s, array x, array y) {
  const int c = static_cast<int>(y.count);
  const long rows = x.count / c;
  float* const memory = column_memory<1>(s, c);
  with_type(x.type, [&](auto t) {
    using T = typename decltype(t)::type;
    sum_columns<1>(s, rows, c, sum_of<T>{static_cast<const T*>(x.data), c},
                   put_sum{{}, elements(y)}, memory);
  });
}

namespace {

/// What each channel needs, as arrays [c] one behind the other, in an order of the kernel's.
struct channel_numbers {
  float* first;
  int c;

  __device__ float* of(int which) const { return first + long{which} * c; }
};

struct channel_norm {
  elements mean, variance, gamma, beta;
  double epsilon;

  channel_norm(const batch_norm_arrays& b)
      : mean(b.mean), variance(b.variance), gamma(b.gamma), beta(b.beta), epsilon(b.epsilon) {}

  __device__ float inverse(int channel) const {
    return static_cast<float>(rsqrt(double(variance[channel]) + epsilon));
  }
  __device__ float scale(int channel) const {
    const float by = inverse(channel);
    return gamma.there() ? gamma[channel] * by : by;
  }
  __device__ float shift(int channel) const { return beta.there() ? beta[channel] : 0.0f; }
  /// For normal_constants, as the numbers from `first` on.
  __device__ void prepare(int channel, const channel_numbers& to, int first = 0) const {
    to.of(first)[channel] = mean[channel], to.of(first + 1)[channel] = scale(channel);
    to.of(first + 2)[channel] = shift(channel);
  }
};

/// Sums around a chunk's first row, which is close to its mean: that keeps the difference of
/// squares from cancelling.
template <class T>
struct sums_around {
  using way = column_way<>;
  const T* x;
  int c;

  template <int V>
  __device__ piece<T, V> prepare(int channel, long first) const {
    return fetch<V>(x + first * c + channel);
  }
  template <int V>
  __device__ piece<T, V> fetched(long row, int channel) const {
    return fetch<V>(x + row * c + channel);
  }
  template <int V>
  __device__ void add(const piece<T, V>& around, const piece<T, V>& part, float (&sums)[2][V], long,
                      int) const {
    float values[V], middle[V];
    widen(part, values);
    widen(around, middle);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      const float apart = values[i] - middle[i];
      sums[0][i] += apart, sums[1][i] += apart * apart;
    }
  }
};
/// Mean and biased variance from them.
template <class T>
struct put_moments {
  const T* x;
  long rows;
  int c;
  float *mean, *variance;

  /// Moves a chunk's sums to the first row of all, in double.
  __device__ void take(int channel, long first, long count, const double (&part)[2],
                       double (&totals)[2]) const {
    const double moved = double(to_float(x[first * c + channel])) - double(to_float(x[channel]));
    totals[0] += part[0] + double(count) * moved;
    totals[1] += part[1] + 2 * moved * part[0] + double(count) * moved * moved;
  }
  __device__ void operator()(int channel, const double (&totals)[2]) const {
    const double apart = totals[0] / double(rows);
    const double squares = totals[1] / double(rows) - apart * apart;
    mean[channel] = static_cast<float>(double(to_float(x[channel])) + apart);
    variance[channel] = static_cast<float>(squares > 0 ? squares : 0);
  }
};
/// And what normalising needs.
template <class T>
struct put_statistics : put_moments<T> {
  channel_norm norm;
  channel_numbers numbers;

  __device__ void operator()(int channel, const double (&totals)[2]) const {
    put_moments<T>::operator()(channel, totals);
    norm.prepare(channel, numbers);
  }
};

template <int V>
struct normal_constants {
  float mean[V], scale[V], shift[V];

  /// From numbers that channel_norm prepared.
  __device__ void read(const channel_numbers& numbers, int first, int channel) {
    load(numbers.of(first) + channel, mean);
    load(numbers.of(first + 1) + channel, scale);
    load(numbers.of(first + 2) + channel, shift);
  }
  __device__ void make(const channel_norm& of, int channel) {
#pragma unroll
    for (int i = 0; i < V; ++i) {
      mean[i] = of.mean[channel + i], scale[i] = of.scale(channel + i);
      shift[i] = of.shift(channel + i);
    }
  }
  /// Rounded alike wherever it is computed again: a ReLU's mask must be that of its output.
  __device__ float operator()(float x, int i) const {
    return fmaf(x - mean[i], scale[i], shift[i]);
  }
};

/// What is added to a normalised x.
enum class addend { none, plain, normal };

/// The constants of x and, where that is normalised, of what is added.
template <int V, addend Added>
struct sum_constants {
  normal_constants<V> x, other;

  __device__ sum_constants(const channel_numbers& numbers, int channel) {
    x.read(numbers, 0, channel);
    if constexpr (Added == addend::normal) other.read(numbers, 3, channel);
  }
  __device__ float operator()(float value, float added, int i) const {
    const float normal = x(value, i);
    if constexpr (Added == addend::none)
      return normal;
    else if constexpr (Added == addend::plain)
      return normal + added;
    else
      return normal + other(added, i);
  }
};

/// y = f((x - mean) scale + shift + other), by the numbers that channel_norm prepared.
template <int V, addend Added, class T, class F>
void normalize_as(stream& s, const T* x, long rows, const channel_numbers& numbers, const T* other,
                  F f, T* y) {
  for_channels<V, true>(
      s, rows, numbers.c,
      [=] __device__(int channel) { return sum_constants<V, Added>(numbers, channel); },
      [=] __device__(long at) {
        return pair_of_pieces<T, V>{fetch<V>(x + at),
                                    Added != addend::none ? fetch<V>(other + at) : piece<T, V>{}};
      },
      [=] __device__(const sum_constants<V, Added>& k, const pair_of_pieces<T, V>& part, long at) {
        float values[V], added[V];
        widen(part.first, values);
        widen(part.second, added);
#pragma unroll
        for (int i = 0; i < V; ++i) values[i] = f(k(values[i], added[i], i));
        store(values, y + at);
      });
}
template <addend Added>
void normalize_by(stream& s, array x, const channel_numbers& numbers, array other, function f,
                  array y) {
  with_channels(x.type, numbers.c, [&](auto t, auto width) {
    using T = typename decltype(t)::type;
    with_function(f, [&](auto g) {
      normalize_as<decltype(width)::value, Added>(
          s, static_cast<const T*>(x.data), x.count / numbers.c, numbers,
          static_cast<const T*>(other.data), g, static_cast<T*>(y.data));
    });
  });
}

template <int V>
struct channel_means {
  float mean[V];

  __device__ void make(const channel_norm& of, int channel) {
    load(static_cast<const float*>(of.mean.data) + channel, mean);
  }
};
/// Adds a row's g and g (x - mean).
template <int V, class Constants>
__device__ inline void add_gradients(const Constants& k, const float (&g)[V], const float (&x)[V],
                                     float (&sums)[2][V]) {
#pragma unroll
  for (int i = 0; i < V; ++i) {
    sums[0][i] += g[i];
    sums[1][i] += g[i] * (x[i] - k.mean[i]);
  }
}

/// Sums of g and g (x - mean), where g = dy f'(f's output): that is made of x again.
template <class T, class Gradient>
struct gradient_sums {
  // With an activation's gradient two blocks are faster than three, by 7 %.
  using way = column_way<channel_lanes, rows_under_way, Gradient::is_dy ? channel_blocks : 2>;
  const T *x, *dy;
  int c;
  channel_norm norm;
  Gradient gradient;

  template <int V>
  __device__ auto prepare(int channel, long) const {
    std::conditional_t<Gradient::is_dy, channel_means<V>, normal_constants<V>> k;
    k.make(norm, channel);
    return k;
  }
  template <int V>
  __device__ pair_of_pieces<T, V> fetched(long row, int channel) const {
    return {fetch<V>(x + row * c + channel), fetch<V>(dy + row * c + channel)};
  }
  template <int V, class Constants>
  __device__ void add(const Constants& k, const pair_of_pieces<T, V>& part, float (&sums)[2][V],
                      long, int) const {
    float values[V], slopes[V];
    widen(part.first, values);
    widen(part.second, slopes);
    if constexpr (!Gradient::is_dy)
#pragma unroll
      for (int i = 0; i < V; ++i) slopes[i] = gradient(slopes[i], k(values[i], i));
    add_gradients(k, slopes, values, sums);
  }
};
/// The same sums of g = (a + b) f'(saved), which is written on the way.
template <class T, class Slope>
struct activation_gradient_sums {
  using way = column_way<channel_lanes, 2>;  // rows of four matrices, and one is written
  const T *x, *a, *b, *saved;
  T* g;
  int c;
  channel_norm norm;
  Slope slope;

  template <int V>
  struct row_part {
    piece<T, V> x, a, b, saved;
  };
  template <int V>
  __device__ channel_means<V> prepare(int channel, long) const {
    channel_means<V> k;
    k.make(norm, channel);
    return k;
  }
  template <int V>
  __device__ row_part<V> fetched(long row, int channel) const {
    const long at = row * c + channel;
    return {fetch<V>(x + at), fetch<V>(a + at), b == nullptr ? piece<T, V>{} : fetch<V>(b + at),
            fetch<V>(saved + at)};
  }
  template <int V>
  __device__ void add(const channel_means<V>& k, const row_part<V>& part, float (&sums)[2][V],
                      long row, int channel) const {
    float values[V], slopes[V], more[V];
    widen(part.a, slopes);
    widen(part.b, more);
    widen(part.saved, values);
#pragma unroll
    for (int i = 0; i < V; ++i) slopes[i] = (slopes[i] + more[i]) * slope(values[i]);
    store(slopes, g + row * c + channel);
    widen(part.x, values);
    add_gradients(k, slopes, values, sums);
  }
};
/// dgamma and dbeta from them, and what dx needs: how x is normalised, and what goes off by the
/// statistics.
struct put_gradients : plain_totals<2> {
  elements dgamma, dbeta;
  channel_norm n;
  long rows;
  channel_numbers numbers;

  __device__ void operator()(int channel, const double (&totals)[2]) const {
    const double along = totals[1] * double(n.inverse(channel));
    dbeta.put(channel, static_cast<float>(totals[0]));
    dgamma.put(channel, static_cast<float>(along));
    n.prepare(channel, numbers);
    numbers.of(3)[channel] = static_cast<float>(totals[0] / double(rows));
    numbers.of(4)[channel] = static_cast<float>(along * double(n.inverse(channel)) / double(rows));
  }
};

inline constexpr int backward_numbers = 5;

template <int V>
struct backward_constants {
  normal_constants<V> normal;
  float less[V], along[V];

  __device__ backward_constants(const channel_numbers& numbers, int channel) {
    normal.read(numbers, 0, channel);
    load(numbers.of(3) + channel, less);
    load(numbers.of(4) + channel, along);
  }
};

/// dx = (g - less - (x - mean) along) scale, where g = dy f'(f's output).
template <int V, class T, class Gradient>
void through_statistics(stream& s, const T* x, const T* dy, long rows,
                        const channel_numbers& numbers, Gradient gradient, T* dx) {
  for_channels<V, true>(
      s, rows, numbers.c,
      [=] __device__(int channel) { return backward_constants<V>(numbers, channel); },
      [=] __device__(long at) { return pair_of_pieces<T, V>{fetch<V>(x + at), fetch<V>(dy + at)}; },
      [=] __device__(const backward_constants<V>& k, const pair_of_pieces<T, V>& part, long at) {
        const auto& [mean, scale, shift] = k.normal;
        float values[V], slopes[V];
        widen(part.first, values);
        widen(part.second, slopes);
#pragma unroll
        for (int i = 0; i < V; ++i) {
          const float g = gradient(slopes[i], k.normal(values[i], i));
          slopes[i] = (g - k.less[i] - (values[i] - mean[i]) * k.along[i]) * scale[i];
        }
        store(slopes, dx + at);
      });
}

/// Memory for so many numbers of each channel.
channel_numbers numbers_of(stream& s, array mean, int count) {
  const std::size_t floats = std::size_t(count) * std::size_t(mean.count);
  return {static_cast<float*>(s.scratch(sizeof(float) * floats)), static_cast<int>(mean.count)};
}
channel_numbers prepared(stream& s, const batch_norm_arrays& b) {
  const channel_numbers numbers = numbers_of(s, b.mean, 3);
  const channel_norm n(b);
  for_each(s, numbers.c,
           [=] __device__(long channel) { n.prepare(static_cast<int>(channel), numbers); });
  return numbers;
}

}  // namespace

void normalize(stream& s, array x, const batch_norm_arrays& b, function f, array y) {
  expect_one_type({x, y});
  normalize_by<addend::none>(s, x, prepared(s, b), {}, f, y);
}
void normalize_add(stream& s, array x, const batch_norm_arrays& b, array other, function f,
                   array y) {
  expect_one_type({x, other, y});
  normalize_by<addend::plain>(s, x, prepared(s, b), other, f, y);
}
void normalize_both(stream& s, array x, const batch_norm_arrays& b, array other,
                    const batch_norm_arrays& of_other, function f, array y) {
  expect_one_type({x, other, y});
  const channel_numbers numbers = numbers_of(s, b.mean, 6);
  const channel_norm n(b), second(of_other);
  for_each(s, numbers.c, [=] __device__(long channel) {
    n.prepare(static_cast<int>(channel), numbers);
    second.prepare(static_cast<int>(channel), numbers, 3);
  });
  normalize_by<addend::normal>(s, x, numbers, other, f, y);
}

void batch_norm_statistics(stream& s, array x, array mean, array variance) {
  const int c = static_cast<int>(mean.count);
  const long rows = x.count / c;
  float* const memory = column_memory<2>(s, c);
  with_type(x.type, [&](auto t) {
    using T = typename decltype(t)::type;
    const T* from = static_cast<const T*>(x.data);
    sum_columns<2>(s, rows, c, sums_around<T>{from, c},
                   put_moments<T>{from, rows, c, static_cast<float*>(mean.data),
                                  static_cast<float*>(variance.data)},
                   memory);
  });
}

void batch_norm(stream& s, array x, const batch_norm_arrays& b, function f, array y) {
  expect_one_type({x, y});
  const int c = static_cast<int>(b.mean.count);
  const long rows = x.count / c;
  const channel_numbers numbers{column_memory<2>(s, c, 3 * c), c};
  with_type(x.type, [&](auto t) {
    using T = typename decltype(t)::type;
    const T* from = static_cast<const T*>(x.data);
    sum_columns<2>(s, rows, c, sums_around<T>{from, c},
                   put_statistics<T>{{from, rows, c, static_cast<float*>(b.mean.data),
                                      static_cast<float*>(b.variance.data)},
                                     b,
                                     numbers},
                   numbers.first + 3 * c);
  });
  normalize_by<addend::none>(s, x, numbers, {}, f, y);
}

void batch_norm_backward(stream& s, array x, array dy, const batch_norm_arrays& b, function f,
                         bool through, array dx, array dgamma, array dbeta) {
  expect_one_type({x, dy, dx});
  const int c = static_cast<int>(b.mean.count);
  const long rows = x.count / c;
  const channel_numbers numbers{column_memory<2>(s, c, backward_numbers * c), c};
  with_channels(x.type, c, [&](auto t, auto width) {
    using T = typename decltype(t)::type;
    const T *from = static_cast<const T*>(x.data), *slopes = static_cast<const T*>(dy.data);
    with_gradient_again<T>(f, [&](auto gradient) {
      sum_columns<2>(s, rows, c, gradient_sums<T, decltype(gradient)>{from, slopes, c, b, gradient},
                     put_gradients{{}, elements(dgamma), elements(dbeta), b, rows, numbers},
                     numbers.first + backward_numbers * c);
      if (through)
        through_statistics<decltype(width)::value>(s, from, slopes, rows, numbers, gradient,
                                                   static_cast<T*>(dx.data));
    });
  });
  // Where the statistics are constants, x does not matter.
  if (!through) scale_shift(s, dy, {numbers.first + c, number::f32, c}, {}, f, dx);
}

void activation_batch_norm_backward(stream& s, array a, array b, array saved, function f, array x,
                                    const batch_norm_arrays& norm, array g, array dx, array dgamma,
                                    array dbeta) {
  expect_one_type({x, a, b ? b : a, saved, g, dx});
  const int c = static_cast<int>(norm.mean.count);
  const long rows = x.count / c;
  const channel_numbers numbers{column_memory<2>(s, c, backward_numbers * c), c};
  with_channels(x.type, c, [&](auto t, auto width) {
    using T = typename decltype(t)::type;
    const auto from = [](array of) { return static_cast<const T*>(of.data); };
    with_slope(f, [&](auto slope) {
      sum_columns<2>(
          s, rows, c,
          activation_gradient_sums<T, decltype(slope)>{from(x), from(a), from(b), from(saved),
                                                       static_cast<T*>(g.data), c, norm, slope},
          put_gradients{{}, elements(dgamma), elements(dbeta), norm, rows, numbers},
          numbers.first + backward_numbers * c);
    });
    through_statistics<decltype(width)::value>(s, from(x), from(g), rows, numbers,
                                               gradient_again<T, function::identity>(),
                                               static_cast<T*>(dx.data));
  });
}

void batch_norm_scale(stream& s, array variance, array gamma, double epsilon, array y) {
  const elements g(gamma);
  map(
      s, y,
      [=] __device__(float v, long i) {
        const double by = 1.0 / sqrt(double(v) + epsilon);
        return static_cast<float>(g.there() ? double(g[i]) * by : by);
      },
      variance);
}
void batch_norm_shift(stream& s, array mean, array scale, array beta, array bias, array y) {
  const elements b(beta), added(bias);
  map(
      s, y,
      [=] __device__(float m, float by, long i) {
        const double from = added.there() ? double(added[i]) : 0.0;
        const double moved = (from - double(m)) * double(by);
        return static_cast<float>(b.there() ? double(b[i]) + moved : moved);
      },
      mean, scale);
}

namespace {

// So small that most of a moving average's time is that of starting it: they are moved together.

constexpr int most_moved = 32;

struct moved_average {
  elements from, batch, to;
  long count;
  float unbiased, pull;
};
struct moved_averages {
  moved_average each[most_moved];
};

__global__ void move_kernel(const __grid_constant__ moved_averages all) {
  const moved_average& a = all.each[blockIdx.y];
  const long i = long{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= a.count) return;
  const float from = a.from[i];
  a.to.put(i, from - (from - a.batch[i] * a.unbiased) * a.pull);
}

void move_some(stream& s, const stream::motion* some, int count) {
  moved_averages all{};
  long longest = 0;
  for (int i = 0; i < count; ++i) {
    const stream::motion& m = some[i];
    all.each[i] = {elements(m.from), elements(m.batch), elements(m.to),
                   m.to.count,       m.unbiased,        m.pull};
    longest = std::max(longest, m.to.count);
  }
  const auto blocks = static_cast<unsigned>((longest + block_threads - 1) / block_threads);
  launch(s, "moving averages", &move_kernel, dim3(blocks, static_cast<unsigned>(count)),
         block_threads, 0, all);
}

}  // namespace

void moving_average(stream& s, array moving, array batch, float unbiased, float pull, array y) {
  const stream::motion m{moving, batch, y, unbiased, pull};
  s.gathering ? s.gathered_motions.push_back(m) : move_some(s, &m, 1);
}

void stream::move_all() {
  gathering = false;
  const int count = static_cast<int>(gathered_motions.size());
  for (int i = 0; i < count; i += most_moved)
    move_some(*this, gathered_motions.data() + i, std::min(count - i, most_moved));
  gathered_motions.clear();
}

}  // namespace slim::cuda
