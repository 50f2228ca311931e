// Batch normalisation, backward: one pass for the sums of the gradient, one for that of x.
#include "batch_norm.cuh"

namespace slim::cuda {

namespace {

/// dy f'(y) where y = f(x) is computed again, as the T that it was written as.
template <class T, function F>
struct gradient_again {
  static constexpr bool is_dy = F == function::identity;
  __device__ float operator()(float dy, float x) const {
    if constexpr (is_dy)
      return dy;
    else if constexpr (F == function::relu)
      return x > 0 ? dy : 0.0f;  // as that of y, for rounding keeps the sign
    else
      return dy * slope(F, to_float(from_float<T>(apply(F, x))));
  }
};
template <class T>
struct any_gradient_again {
  static constexpr bool is_dy = false;
  function f;
  __device__ float operator()(float dy, float x) const {
    return dy * slope(f, to_float(from_float<T>(apply(f, x))));
  }
};
/// with_function for these.
template <class T, class G>
void with_gradient_again(function f, G g) {
  if (f == function::identity)
    g(gradient_again<T, function::identity>());
  else if (f == function::relu)
    g(gradient_again<T, function::relu>());
  else
    g(any_gradient_again<T>{f});
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

}  // namespace

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

}  // namespace slim::cuda
