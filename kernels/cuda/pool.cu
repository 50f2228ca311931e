// Pooling over NHWC images: a thread has a window's or a pixel's neighbouring channels. Gradients
// are gathered, not scattered, so that sums have an order.
#include "columns.cuh"

namespace slim::cuda {
namespace {

struct pixel {
  long image;
  int row, column, channel;
};

/// Which V channels of which pixel number i is. Most tensors are small enough for divisions of half
/// the width, which take a fraction of the time.
template <int V, class Index>
__device__ inline pixel pixel_in(Index i, int h, int w, int c) {
  const Index groups = static_cast<Index>(c / V);
  pixel p;
  p.channel = static_cast<int>(i % groups) * V;
  i /= groups;
  p.column = static_cast<int>(i % static_cast<Index>(w));
  i /= static_cast<Index>(w);
  p.row = static_cast<int>(i % static_cast<Index>(h));
  p.image = static_cast<long>(i / static_cast<Index>(h));
  return p;
}
template <int V>
__device__ inline pixel pixel_of(long i, int h, int w, int c) {
  return i < (1L << 32) ? pixel_in<V>(static_cast<unsigned>(i), h, w, c)
                        : pixel_in<V>(static_cast<unsigned long>(i), h, w, c);
}

__device__ inline bool inside(int at, int extent) { return at >= 0 && at < extent; }

/// Windows of a kernel K at stride S and rate 1, so that loops over them are unrolled; K = 0: those
/// of any shape.
template <int K, int S>
struct windows : convolution_shape {
  explicit windows(const convolution_shape& s) : convolution_shape(s) {}

  __device__ int rows() const { return K > 0 ? K : kernel_h; }
  __device__ int columns() const { return K > 0 ? K : kernel_w; }
  __device__ int row_of(int out, int a) const {
    return K > 0 ? out * S - pad_top + a : out * stride_h - pad_top + a * rate_h;
  }
  __device__ int column_of(int out, int b) const {
    return K > 0 ? out * S - pad_left + b : out * stride_w - pad_left + b * rate_w;
  }
};
template <class F>
void with_windows(const convolution_shape& s, F f) {
  const auto is = [&](int k, int stride) {
    return s.kernel_h == k && s.kernel_w == k && s.stride_h == stride && s.stride_w == stride &&
           s.rate_h == 1 && s.rate_w == 1;
  };
  if (is(3, 2))
    f(windows<3, 2>(s));
  else if (is(2, 2))
    f(windows<2, 2>(s));
  else if (is(3, 1))
    f(windows<3, 1>(s));
  else
    f(windows<0, 0>(s));
}

/// The first window along one axis that covers input `at`: outputs from it on of which those with
/// (at + pad - out stride) divisible by rate and below the kernel do.
__device__ inline int first_window(int at, int pad, int kernel, int stride, int rate) {
  const int low = at + pad - (kernel - 1) * rate;
  return low <= 0 ? 0 : (low + stride - 1) / stride;
}

template <int V>
__device__ inline void load_bytes(const unsigned char* from, unsigned char (&x)[V]) {
  if constexpr (V == 8) {
    const uint2 bytes = *reinterpret_cast<const uint2*>(from);
    memcpy(x, &bytes, sizeof bytes);
  } else
    for (int i = 0; i < V; ++i) x[i] = from[i];
}
template <int V>
__device__ inline void store_bytes(const unsigned char (&x)[V], unsigned char* to) {
  if constexpr (V == 8) {
    uint2 bytes;
    memcpy(&bytes, x, sizeof bytes);
    *reinterpret_cast<uint2*>(to) = bytes;
  } else
    for (int i = 0; i < V; ++i) to[i] = x[i];
}

/// Calls f(t, row, column) for the elements t of a window inside the image.
template <int K, int S, class F>
__device__ inline void for_window(const windows<K, S>& s, int out_row, int out_column, F f) {
#pragma unroll
  for (int a = 0; a < s.rows(); ++a) {
    const int row = s.row_of(out_row, a);
    if (!inside(row, s.h)) continue;
#pragma unroll
    for (int b = 0; b < s.columns(); ++b) {
      const int column = s.column_of(out_column, b);
      if (inside(column, s.w)) f(a * s.columns() + b, row, column);
    }
  }
}

/// Calls f(out_row, out_column, t) for the windows that have an input pixel as element t, in order.
template <int K, int S, class F>
__device__ inline void for_windows_over(const windows<K, S>& s, int row, int column, F f) {
  if constexpr (K > 0) {
    constexpr int most = (K + S - 1) / S;  // along an axis
    const int down = row + s.pad_top, right = column + s.pad_left;
#pragma unroll
    for (int m = most - 1; m >= 0; --m) {
      const int i = down / S - m, a = down - i * S;
      if (!inside(i, s.out_h) || a >= K) continue;
#pragma unroll
      for (int n = most - 1; n >= 0; --n) {
        const int j = right / S - n, b = right - j * S;
        if (inside(j, s.out_w) && b < K) f(i, j, a * K + b);
      }
    }
  } else {
    for (int i = first_window(row, s.pad_top, s.kernel_h, s.stride_h, s.rate_h);
         i < s.out_h && i * s.stride_h <= row + s.pad_top; ++i) {
      const int a = row + s.pad_top - i * s.stride_h;
      if (a % s.rate_h != 0) continue;
      for (int j = first_window(column, s.pad_left, s.kernel_w, s.stride_w, s.rate_w);
           j < s.out_w && j * s.stride_w <= column + s.pad_left; ++j) {
        const int b = column + s.pad_left - j * s.stride_w;
        if (b % s.rate_w == 0) f(i, j, a / s.rate_h * s.kernel_w + b / s.rate_w);
      }
    }
  }
}

template <int V, class T, class Windows>
void max_pool_as(stream& stream, const Windows& s, const T* x, T* y, unsigned char* winners) {
  for_each(stream, long{s.n} * s.out_h * s.out_w * (s.c / V), [=] __device__(long i) {
    const pixel p = pixel_of<V>(i, s.out_h, s.out_w, s.c);
    float best[V];
    unsigned char winner[V] = {};
    for (float& each : best) each = -INFINITY;
    bool any = false;
    for_window(s, p.row, p.column, [&](int t, int row, int column) {
      float values[V];
      load(x + ((p.image * s.h + row) * s.w + column) * s.c + p.channel, values);
#pragma unroll
      for (int k = 0; k < V; ++k)
        if (!any || values[k] > best[k])
          best[k] = values[k], winner[k] = static_cast<unsigned char>(t);
      any = true;
    });
    store(best, y + i * V);
    if (winners != nullptr) store_bytes(winner, winners + i * V);
  });
}

/// What arrives at input pixels from the windows they won: dy(i, j) where winner(i, j) is t.
template <class T, int V, class Windows>
__device__ inline void won(const Windows& s, const pixel& p, const unsigned char* winners,
                           const T* dy, float (&sum)[V]) {
  for_windows_over(s, p.row, p.column, [&](int i, int j, int t) {
    const long at = ((p.image * s.out_h + i) * s.out_w + j) * s.c + p.channel;
    unsigned char winner[V];
    load_bytes(winners + at, winner);
    float slopes[V];
    load(dy + at, slopes);
#pragma unroll
    for (int k = 0; k < V; ++k)
      if (winner[k] == t) sum[k] += slopes[k];
  });
}

template <int V, class T, class Windows>
void max_pool_backward_as(stream& stream, const Windows& s, const unsigned char* winners,
                          const T* dy, const T* saved, function f, const T* running, T* dx) {
  for_each(stream, long{s.n} * s.h * s.w * (s.c / V), [=] __device__(long i) {
    float sum[V] = {};
    won(s, pixel_of<V>(i, s.h, s.w, s.c), winners, dy, sum);
    float other[V];
    if (running != nullptr) {
      load(running + i * V, other);
#pragma unroll
      for (int k = 0; k < V; ++k) sum[k] += other[k];
    }
    if (saved != nullptr) {
      load(saved + i * V, other);
#pragma unroll
      for (int k = 0; k < V; ++k) sum[k] *= slope(f, other[k]);
    }
    store(sum, dx + i * V);
  });
}

/// 2x2 windows at stride 2: a thread has a window, and writes its four pixels. Rows and columns
/// that no window covers, of which there are some unless `Even`, belong to the last window's
/// thread.
template <class T, bool Even, class Slope>
struct halves {
  using way = column_way<lanes, 4>;
  convolution_shape s;
  const T *y, *dy;
  const unsigned char* winners;
  Slope slope_of;
  T* dx;

  template <int V>
  struct window_part {
    piece<T, V> y, dy;
    unsigned char winner[V];
  };
  template <int V>
  __device__ no_constants prepare(int, long) const {
    return {};
  }
  template <int V>
  __device__ window_part<V> fetched(long window, int channel) const {
    const long at = window * s.c + channel;
    window_part<V> part{fetch<V>(y + at), fetch<V>(dy + at), {}};
    load_bytes(winners + at, part.winner);
    return part;
  }
  template <int V>
  __device__ void add(no_constants, const window_part<V>& part, float (&sums)[1][V], long window,
                      int channel) const {
    const pixel p = pixel_of<1>(window, s.out_h, s.out_w, 1);
    float values[V], slopes[V];
    widen(part.y, values);
    widen(part.dy, slopes);
#pragma unroll
    for (int k = 0; k < V; ++k) slopes[k] *= slope_of(values[k]), sums[0][k] += slopes[k];
    const int rows = !Even && p.row + 1 == s.out_h ? s.h - 2 * p.row : 2;
    const int columns = !Even && p.column + 1 == s.out_w ? s.w - 2 * p.column : 2;
    T* const to = dx + ((p.image * s.h + 2 * p.row) * s.w + 2 * p.column) * s.c + channel;
#pragma unroll
    for (int a = 0; a < rows; ++a)
#pragma unroll
      for (int b = 0; b < columns; ++b) {
        float given[V];
#pragma unroll
        for (int k = 0; k < V; ++k)
          given[k] = a < 2 && b < 2 && part.winner[k] == 2 * a + b ? slopes[k] : 0.0f;
        store(given, to + (long{a} * s.w + b) * s.c);
      }
  }
};

/// Nothing is made of the totals.
struct no_sums : plain_totals<1> {
  __device__ void operator()(int, const double (&)[1]) const {}
};

template <class T, class Windows>
__device__ inline int first_maximum(const Windows& s, const T* x, long image, int channel, int i,
                                    int j) {
  float best = 0;
  int winner = -1;
  for_window(s, i, j, [&](int t, int row, int column) {
    const float v = to_float(x[((image * s.h + row) * s.w + column) * s.c + channel]);
    if (winner < 0 || v > best) best = v, winner = t;
  });
  return winner;
}

__device__ inline int covered(int out, int stride, int pad, int kernel, int rate, int extent) {
  int count = 0;
  for (int k = 0; k < kernel; ++k) count += inside(out * stride - pad + k * rate, extent);
  return count;
}
__device__ inline float share(const convolution_shape& s, int i, int j) {
  return 1.0f / float(covered(i, s.stride_h, s.pad_top, s.kernel_h, s.rate_h, s.h) *
                      covered(j, s.stride_w, s.pad_left, s.kernel_w, s.rate_w, s.w));
}

template <class T, class Windows>
void search_backward_as(stream& stream, const Windows& s, const T* x, const T* dy, T* dx) {
  for_each(stream, long{s.n} * s.h * s.w * s.c, [=] __device__(long i) {
    const pixel p = pixel_of<1>(i, s.h, s.w, s.c);
    float sum = 0;
    for_windows_over(s, p.row, p.column, [&](int a, int b, int element) {
      if (first_maximum(s, x, p.image, p.channel, a, b) == element)
        sum += to_float(dy[((p.image * s.out_h + a) * s.out_w + b) * s.c + p.channel]);
    });
    dx[i] = from_float<T>(sum);
  });
}

template <int V, class T, class Windows>
void avg_pool_as(stream& stream, const Windows& s, const T* x, T* y) {
  for_each(stream, long{s.n} * s.out_h * s.out_w * (s.c / V), [=] __device__(long i) {
    const pixel p = pixel_of<V>(i, s.out_h, s.out_w, s.c);
    float sum[V] = {};
    for_window(s, p.row, p.column, [&](int, int row, int column) {
      float values[V];
      load(x + ((p.image * s.h + row) * s.w + column) * s.c + p.channel, values);
#pragma unroll
      for (int k = 0; k < V; ++k) sum[k] += values[k];
    });
    const float by = share(s, p.row, p.column);
#pragma unroll
    for (int k = 0; k < V; ++k) sum[k] *= by;
    store(sum, y + i * V);
  });
}

template <int V, class T, class Windows>
void avg_pool_backward_as(stream& stream, const Windows& s, const T* dy, T* dx) {
  for_each(stream, long{s.n} * s.h * s.w * (s.c / V), [=] __device__(long i) {
    const pixel p = pixel_of<V>(i, s.h, s.w, s.c);
    float sum[V] = {};
    for_windows_over(s, p.row, p.column, [&](int a, int b, int) {
      float values[V];
      load(dy + ((p.image * s.out_h + a) * s.out_w + b) * s.c + p.channel, values);
      const float by = share(s, a, b);
#pragma unroll
      for (int k = 0; k < V; ++k) sum[k] += values[k] * by;
    });
    store(sum, dx + i * V);
  });
}

}  // namespace

void max_pool(stream& stream, const convolution_shape& s, array x, array y, array winners) {
  expect_one_type({x, y});
  with_width(x.type, s.c, [&](auto t, auto width) {
    using T = typename decltype(t)::type;
    with_windows(s, [&](const auto& w) {
      max_pool_as<decltype(width)::value>(stream, w, static_cast<const T*>(x.data),
                                          static_cast<T*>(y.data),
                                          static_cast<unsigned char*>(winners.data));
    });
  });
}

void max_pool_backward(stream& stream, const convolution_shape& s, array winners, array dy,
                       array saved, function f, array running, array dx) {
  expect_one_type({dx, dy, saved, running});
  with_width(dx.type, s.c, [&](auto t, auto width) {
    using T = typename decltype(t)::type;
    with_windows(s, [&](const auto& w) {
      max_pool_backward_as<decltype(width)::value>(
          stream, w, static_cast<const unsigned char*>(winners.data),
          static_cast<const T*>(dy.data), static_cast<const T*>(saved.data), f,
          static_cast<const T*>(running.data), static_cast<T*>(dx.data));
    });
  });
}

void max_pool_activation_backward(stream& stream, const convolution_shape& s, array y,
                                  array winners, array dy, function f, array dx, array db) {
  expect_one_type({dx, dy, y});
  const bool even = s.h == 2 * s.out_h && s.w == 2 * s.out_w;
  const long windows = long{s.n} * s.out_h * s.out_w;
  float* const memory = column_memory<1>(stream, s.c);
  with_type(dx.type, [&](auto t) {
    using T = typename decltype(t)::type;
    with_slope(f, [&](auto slope_of) {
      const auto run = [&](auto how, auto put) {
        const halves<T, decltype(how)::value, decltype(slope_of)> work{
            s,
            static_cast<const T*>(y.data),
            static_cast<const T*>(dy.data),
            static_cast<const unsigned char*>(winners.data),
            slope_of,
            static_cast<T*>(dx.data)};
        sum_columns<1>(stream, windows, s.c, work, put, memory);
      };
      const auto put = [&](auto how) {
        db ? run(how, put_sum{{}, elements(db)}) : run(how, no_sums());
      };
      even ? put(std::true_type()) : put(std::false_type());
    });
  });
}

void max_pool_search_backward(stream& stream, const convolution_shape& s, array x, array dy,
                              array dx) {
  expect_one_type({x, dy, dx});
  with_type(x.type, [&](auto t) {
    using T = typename decltype(t)::type;
    search_backward_as(stream, windows<0, 0>(s), static_cast<const T*>(x.data),
                       static_cast<const T*>(dy.data), static_cast<T*>(dx.data));
  });
}

void avg_pool(stream& stream, const convolution_shape& s, array x, array y) {
  expect_one_type({x, y});
  with_width(x.type, s.c, [&](auto t, auto width) {
    using T = typename decltype(t)::type;
    avg_pool_as<decltype(width)::value>(stream, windows<0, 0>(s), static_cast<const T*>(x.data),
                                        static_cast<T*>(y.data));
  });
}

void avg_pool_backward(stream& stream, const convolution_shape& s, array dy, array dx) {
  expect_one_type({dx, dy});
  with_width(dx.type, s.c, [&](auto t, auto width) {
    using T = typename decltype(t)::type;
    avg_pool_backward_as<decltype(width)::value>(
        stream, windows<0, 0>(s), static_cast<const T*>(dy.data), static_cast<T*>(dx.data));
  });
}

}  // namespace slim::cuda
