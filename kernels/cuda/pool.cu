// Pooling over NHWC images: a thread has a window's or a pixel's neighbouring channels. Gradients
// are gathered, not scattered, so that sums have an order.
#include "elements.cuh"

namespace slim::cuda {
namespace {

struct pixel {
  long image;
  int row, column, channel;
};

template <int V>
__device__ inline pixel pixel_of(long i, int h, int w, int c) {
  const int groups = c / V;
  pixel p;
  p.channel = static_cast<int>(i % groups) * V;
  i /= groups;
  p.column = static_cast<int>(i % w);
  i /= w;
  p.row = static_cast<int>(i % h);
  p.image = i / h;
  return p;
}

__device__ inline bool inside(int at, int extent) { return at >= 0 && at < extent; }

/// The windows along one axis that cover input `at`: outputs [first, last] of which those with
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
template <class F>
__device__ inline void for_window(const convolution_shape& s, int out_row, int out_column, F f) {
  for (int a = 0; a < s.kernel_h; ++a) {
    const int row = out_row * s.stride_h - s.pad_top + a * s.rate_h;
    if (!inside(row, s.h)) continue;
    for (int b = 0; b < s.kernel_w; ++b) {
      const int column = out_column * s.stride_w - s.pad_left + b * s.rate_w;
      if (inside(column, s.w)) f(a * s.kernel_w + b, row, column);
    }
  }
}

/// Calls f(out_row, out_column, t) for the windows that have an input pixel as element t.
template <class F>
__device__ inline void for_windows_over(const convolution_shape& s, int row, int column, F f) {
  for (int i = first_window(row, s.pad_top, s.kernel_h, s.stride_h, s.rate_h);
       i < s.out_h && i * s.stride_h <= row + s.pad_top; ++i) {
    const int a = row + s.pad_top - i * s.stride_h;
    if (a % s.rate_h != 0) continue;
    for (int j = first_window(column, s.pad_left, s.kernel_w, s.stride_w, s.rate_w);
         j < s.out_w && j * s.stride_w <= column + s.pad_left; ++j) {
      const int b = column + s.pad_left - j * s.stride_w;
      if (b % s.rate_w != 0) continue;
      f(i, j, a / s.rate_h * s.kernel_w + b / s.rate_w);
    }
  }
}

template <class T, int V>
void max_pool_as(stream& stream, const convolution_shape& s, const T* x, T* y,
                 unsigned char* winners) {
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
template <class T, int V>
__device__ inline void won(const convolution_shape& s, const pixel& p, const unsigned char* winners,
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

template <class T, int V>
void max_pool_backward_as(stream& stream, const convolution_shape& s, const unsigned char* winners,
                          const T* dy, const T* saved, function f, const T* running, T* dx) {
  for_each(stream, long{s.n} * s.h * s.w * (s.c / V), [=] __device__(long i) {
    float sum[V] = {};
    won<T, V>(s, pixel_of<V>(i, s.h, s.w, s.c), winners, dy, sum);
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

/// 2x2 windows at stride 2: a thread has a window, and writes its four pixels.
template <class T, int V>
void halves_backward_as(stream& stream, const convolution_shape& s, const T* y,
                        const unsigned char* winners, const T* dy, function f, T* dx) {
  // Rows and columns that no window covers belong to the last window's thread.
  for_each(stream, long{s.n} * s.out_h * s.out_w * (s.c / V), [=] __device__(long i) {
    const pixel p = pixel_of<V>(i, s.out_h, s.out_w, s.c);
    float values[V], slopes[V];
    unsigned char winner[V];
    load(y + i * V, values);
    load(dy + i * V, slopes);
    load_bytes(winners + i * V, winner);
#pragma unroll
    for (int k = 0; k < V; ++k) slopes[k] *= slope(f, values[k]);
    const int rows = p.row + 1 == s.out_h ? s.h - 2 * p.row : 2;
    const int columns = p.column + 1 == s.out_w ? s.w - 2 * p.column : 2;
    for (int a = 0; a < rows; ++a)
      for (int b = 0; b < columns; ++b) {
        float part[V];
#pragma unroll
        for (int k = 0; k < V; ++k)
          part[k] = a < 2 && b < 2 && winner[k] == 2 * a + b ? slopes[k] : 0.0f;
        store(part,
              dx + ((p.image * s.h + 2 * p.row + a) * s.w + 2 * p.column + b) * s.c + p.channel);
      }
  });
}

template <class T>
__device__ inline int first_maximum(const convolution_shape& s, const T* x, long image, int channel,
                                    int i, int j) {
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

template <class T>
void search_backward_as(stream& stream, const convolution_shape& s, const T* x, const T* dy,
                        T* dx) {
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

template <class T, int V>
void avg_pool_as(stream& stream, const convolution_shape& s, const T* x, T* y) {
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

template <class T, int V>
void avg_pool_backward_as(stream& stream, const convolution_shape& s, const T* dy, T* dx) {
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
    max_pool_as<T, decltype(width)::value>(stream, s, static_cast<const T*>(x.data),
                                           static_cast<T*>(y.data),
                                           static_cast<unsigned char*>(winners.data));
  });
}

void max_pool_backward(stream& stream, const convolution_shape& s, array winners, array dy,
                       array saved, function f, array running, array dx) {
  expect_one_type({dx, dy, saved, running});
  with_width(dx.type, s.c, [&](auto t, auto width) {
    using T = typename decltype(t)::type;
    max_pool_backward_as<T, decltype(width)::value>(
        stream, s, static_cast<const unsigned char*>(winners.data), static_cast<const T*>(dy.data),
        static_cast<const T*>(saved.data), f, static_cast<const T*>(running.data),
        static_cast<T*>(dx.data));
  });
}

void max_pool_activation_backward(stream& stream, const convolution_shape& s, array y,
                                  array winners, array dy, function f, array dx) {
  expect_one_type({dx, dy, y});
  with_width(dx.type, s.c, [&](auto t, auto width) {
    using T = typename decltype(t)::type;
    halves_backward_as<T, decltype(width)::value>(
        stream, s, static_cast<const T*>(y.data), static_cast<const unsigned char*>(winners.data),
        static_cast<const T*>(dy.data), f, static_cast<T*>(dx.data));
  });
}

void max_pool_search_backward(stream& stream, const convolution_shape& s, array x, array dy,
                              array dx) {
  expect_one_type({x, dy, dx});
  with_type(x.type, [&](auto t) {
    using T = typename decltype(t)::type;
    search_backward_as(stream, s, static_cast<const T*>(x.data), static_cast<const T*>(dy.data),
                       static_cast<T*>(dx.data));
  });
}

void avg_pool(stream& stream, const convolution_shape& s, array x, array y) {
  expect_one_type({x, y});
  with_width(x.type, s.c, [&](auto t, auto width) {
    using T = typename decltype(t)::type;
    avg_pool_as<T, decltype(width)::value>(stream, s, static_cast<const T*>(x.data),
                                           static_cast<T*>(y.data));
  });
}

void avg_pool_backward(stream& stream, const convolution_shape& s, array dy, array dx) {
  expect_one_type({dx, dy});
  with_width(dx.type, s.c, [&](auto t, auto width) {
    using T = typename decltype(t)::type;
    avg_pool_backward_as<T, decltype(width)::value>(stream, s, static_cast<const T*>(dy.data),
                                                    static_cast<T*>(dx.data));
  });
}

}  // namespace slim::cuda
