// Batch normalisation, forward: one pass for the sums, one to normalise.
#include "batch_norm.cuh"

namespace slim::cuda {

namespace {

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

}  // namespace slim::cuda
