// Batch normalisation and sums of rows: one pass for the sums, one to normalise.
#include "columns.cuh"

namespace slim::cuda {

namespace {

template <class T>
struct sum_of {
  const T* x;
  int c;

  template <int V>
  __device__ void operator()(long row, int channel, float (&sums)[1][V]) const {
    float values[V];
    load_fixed(x + row * c + channel, values);
#pragma unroll
    for (int i = 0; i < V; ++i) sums[0][i] += values[i];
  }
};
struct put_sum {
  elements y;
  __device__ void operator()(int channel, const double (&totals)[1]) const {
    y.put(channel, static_cast<float>(totals[0]));
  }
};

}  // namespace

void sum_rows(stream& s, array x, array y) {
  const int c = static_cast<int>(y.count);
  with_type(x.type, [&](auto t) {
    using T = typename decltype(t)::type;
    sum_columns<1>(s, x.count / c, c, sum_of<T>{static_cast<const T*>(x.data), c},
                   put_sum{elements(y)});
  });
}

namespace {

/// Sums around the first row, which is close to the mean: that keeps the difference of squares from
/// cancelling.
template <class T>
struct sums_around {
  const T* x;
  int c;

  template <int V>
  __device__ void operator()(long row, int channel, float (&sums)[2][V]) const {
    float values[V], middle[V];
    load_fixed(x + row * c + channel, values);
    load_fixed(x + channel, middle);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      const float apart = values[i] - middle[i];
      sums[0][i] += apart, sums[1][i] += apart * apart;
    }
  }
};
/// Mean and biased variance from them.
template <class T>
struct put_statistics {
  const T* x;
  double rows;
  float *mean, *variance;

  __device__ void operator()(int channel, const double (&totals)[2]) const {
    const double apart = totals[0] / rows, squares = totals[1] / rows - apart * apart;
    mean[channel] = static_cast<float>(double(to_float(x[channel])) + apart);
    variance[channel] = static_cast<float>(squares > 0 ? squares : 0);
  }
};

struct channel_norm {
  elements mean, variance, gamma, beta;
  double epsilon;

  channel_norm(const batch_norm_arrays& b)
      : mean(b.mean), variance(b.variance), gamma(b.gamma), beta(b.beta), epsilon(b.epsilon) {}

  __device__ float inverse(int channel) const {
    return static_cast<float>(1.0 / sqrt(double(variance[channel]) + epsilon));
  }
  __device__ float scale(int channel) const {
    const float by = inverse(channel);
    return gamma.there() ? gamma[channel] * by : by;
  }
  __device__ float shift(int channel) const { return beta.there() ? beta[channel] : 0.0f; }
};

/// Threads keep their channels while they go through the rows, so that what a channel needs is
/// computed once: f(prepared, x, y) of V neighbours.
template <int V, class Prepare, class F>
__global__ void row_kernel(long rows, int c, Prepare prepare, F f) {
  const int groups = c / V;
  const long threads = long{gridDim.x} * blockDim.x;
  const long row_step = threads / groups;
  const long mine = long{blockIdx.x} * blockDim.x + threadIdx.x;
  if (mine >= row_step * groups) return;
  const int channel = static_cast<int>(mine % groups) * V;
  const auto constants = prepare(channel);
#pragma unroll 4
  for (long row = mine / groups; row < rows; row += row_step) f(constants, row * c + channel);
}

template <int V, class Prepare, class F>
void for_rows(stream& s, long rows, int c, Prepare prepare, F f) {
  const int groups = c / V;
  const long wanted = rows * groups, least = (groups + block_threads - 1) / block_threads;
  long blocks = (wanted + block_threads - 1) / block_threads;
  const long most = long{s.multiprocessors} * 8;
  if (blocks > most) blocks = most;
  if (blocks < least) blocks = least;
  launch(s, "normalising", &row_kernel<V, Prepare, F>, static_cast<unsigned>(blocks), block_threads,
         0, rows, c, prepare, f);
}

template <int V>
struct normal_constants {
  float mean[V], scale[V], shift[V];
};

template <class T, int V>
void normalize_as(stream& s, const T* x, long rows, int c, const channel_norm& n, function f,
                  T* y) {
  for_rows<V>(
      s, rows, c,
      [=] __device__(int channel) {
        normal_constants<V> k;
        for (int i = 0; i < V; ++i) {
          k.mean[i] = n.mean[channel + i], k.scale[i] = n.scale(channel + i);
          k.shift[i] = n.shift(channel + i);
        }
        return k;
      },
      [=] __device__(const normal_constants<V>& k, long at) {
        float values[V];
        load_fixed(x + at, values);
#pragma unroll
        for (int i = 0; i < V; ++i)
          values[i] = apply(f, (values[i] - k.mean[i]) * k.scale[i] + k.shift[i]);
        store(values, y + at);
      });
}

/// Sums of dy and dy (x - mean).
template <class T>
struct gradient_sums {
  const T *x, *dy;
  int c;
  channel_norm n;

  template <int V>
  __device__ void operator()(long row, int channel, float (&sums)[2][V]) const {
    float values[V], slope[V];
    load_fixed(x + row * c + channel, values);
    load_fixed(dy + row * c + channel, slope);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      sums[0][i] += slope[i];
      sums[1][i] += slope[i] * (values[i] - n.mean[channel + i]);
    }
  }
};
struct put_gradients {
  elements dgamma, dbeta;
  channel_norm n;

  __device__ void operator()(int channel, const double (&totals)[2]) const {
    dbeta.put(channel, static_cast<float>(totals[0]));
    dgamma.put(channel, static_cast<float>(totals[1] * double(n.inverse(channel))));
  }
};

template <int V>
struct backward_constants {
  float mean[V], scale[V], less[V], along[V];
};

template <class T, int V>
void batch_norm_backward_as(stream& s, const T* x, const T* dy, long rows, int c,
                            const channel_norm& n, bool through, const elements& dgamma,
                            const elements& dbeta, T* dx) {
  for_rows<V>(
      s, rows, c,
      [=] __device__(int channel) {
        backward_constants<V> k;
        for (int i = 0; i < V; ++i) {
          k.mean[i] = n.mean[channel + i], k.scale[i] = n.scale(channel + i);
          k.less[i] = through ? dbeta[channel + i] / float(rows) : 0.0f;
          k.along[i] = through ? dgamma[channel + i] * n.inverse(channel + i) / float(rows) : 0.0f;
        }
        return k;
      },
      [=] __device__(const backward_constants<V>& k, long at) {
        float values[V], slopes[V];
        load_fixed(x + at, values);
        load_fixed(dy + at, slopes);
#pragma unroll
        for (int i = 0; i < V; ++i)
          slopes[i] = (slopes[i] - k.less[i] - (values[i] - k.mean[i]) * k.along[i]) * k.scale[i];
        store(slopes, dx + at);
      });
}

}  // namespace

void normalize(stream& s, array x, const batch_norm_arrays& b, function f, array y) {
  expect_one_type({x, y});
  const int c = static_cast<int>(b.mean.count);
  with_width(x.type, c, [&](auto t, auto width) {
    using T = typename decltype(t)::type;
    normalize_as<T, decltype(width)::value>(s, static_cast<const T*>(x.data), x.count / c, c, b, f,
                                            static_cast<T*>(y.data));
  });
}

void batch_norm(stream& s, array x, const batch_norm_arrays& b, function f, array y) {
  const int c = static_cast<int>(b.mean.count);
  with_type(x.type, [&](auto t) {
    using T = typename decltype(t)::type;
    const T* from = static_cast<const T*>(x.data);
    sum_columns<2>(s, x.count / c, c, sums_around<T>{from, c},
                   put_statistics<T>{from, double(x.count / c), static_cast<float*>(b.mean.data),
                                     static_cast<float*>(b.variance.data)});
  });
  normalize(s, x, b, f, y);
}

void batch_norm_backward(stream& s, array x, array dy, const batch_norm_arrays& b, bool through,
                         array dx, array dgamma, array dbeta) {
  expect_one_type({x, dy, dx});
  const int c = static_cast<int>(b.mean.count);
  const long rows = x.count / c;
  const channel_norm n(b);
  const elements to_gamma(dgamma), to_beta(dbeta);
  with_type(x.type, [&](auto t) {
    using T = typename decltype(t)::type;
    const T *from = static_cast<const T*>(x.data), *slopes = static_cast<const T*>(dy.data);
    sum_columns<2>(s, rows, c, gradient_sums<T>{from, slopes, c, n},
                   put_gradients{to_gamma, to_beta, n});
  });
  with_width(x.type, c, [&](auto t, auto width) {
    using T = typename decltype(t)::type;
    batch_norm_backward_as<T, decltype(width)::value>(
        s, static_cast<const T*>(x.data), static_cast<const T*>(dy.data), rows, c, n, through,
        to_gamma, to_beta, static_cast<T*>(dx.data));
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
void moving_average(stream& s, array moving, array batch, float unbiased, float pull, array y) {
  map(
      s, y, [=] __device__(float m, float b, long) { return m - (m - b * unbiased) * pull; },
      moving, batch);
}

}  // namespace slim::cuda
