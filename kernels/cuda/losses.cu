// Losses before their reduction, and normalisation without variables.
#include "rows.cuh"

namespace slim::cuda {
namespace {

/// max(0, x) that keeps what is not a number.
__device__ inline float above_zero(float x) { return x <= 0 ? 0.0f : x; }

__device__ float loss_of(elementwise_loss l, float p, float y) {
  switch (l.f) {
    case loss_function::absolute_difference:
      return fabsf(p - y);
    case loss_function::squared_error:
      return (p - y) * (p - y);
    case loss_function::log_loss:
      return -y * logf(p + l.number) - (1 - y) * logf(1 - p + l.number);
    case loss_function::sigmoid_cross_entropy:
      return apply(function::softplus, p) - p * (y * (1 - l.number) + l.number / 2);
    case loss_function::hinge:
      return above_zero(1 - (2 * y - 1) * p);
  }
  return 0;
}
__device__ float slope_of(elementwise_loss l, float p, float y) {
  switch (l.f) {
    case loss_function::absolute_difference:
      return float((p > y) - (p < y));
    case loss_function::squared_error:
      return 2 * (p - y);
    case loss_function::log_loss:
      return (1 - y) / (1 - p + l.number) - y / (p + l.number);
    case loss_function::sigmoid_cross_entropy:
      return apply(function::sigmoid, p) - (y * (1 - l.number) + l.number / 2);
    case loss_function::hinge:
      return 1 - (2 * y - 1) * p > 0 ? -(2 * y - 1) : 0.0f;
  }
  return 0;
}
__device__ float label_slope_of(elementwise_loss l, float p, float y) {
  switch (l.f) {
    case loss_function::absolute_difference:
      return -float((p > y) - (p < y));
    case loss_function::squared_error:
      return 2 * (y - p);
    case loss_function::log_loss:
      return logf(1 - p + l.number) - logf(p + l.number);
    case loss_function::sigmoid_cross_entropy:
      return -p * (1 - l.number);
    case loss_function::hinge:
      return 1 - (2 * y - 1) * p > 0 ? -2 * p : 0.0f;
  }
  return 0;
}

/// Element number e of the line at `at` in [0, outer inner).
__device__ inline long on_axis(axis a, long at, long e) {
  return (at / a.inner * a.extent + e) * a.inner + at % a.inner;
}

__device__ double mean_difference(const elements& p, const elements& y, long first, long m) {
  return sum_over_block<double>(
             m, [&](long i) { return double(p[first + i]) - double(y[first + i]); }) /
         double(m);
}

}  // namespace

void losses(stream& s, elementwise_loss l, array p, array y, array out) {
  map(s, out, [l] __device__(float a, float b, long) { return loss_of(l, a, b); }, p, y);
}
void losses_backward(stream& s, elementwise_loss l, array p, array y, array dlosses, bool by_labels,
                     array dx) {
  map(
      s, dx,
      [=] __device__(float a, float b, float d, long) {
        return d * (by_labels ? label_slope_of(l, a, b) : slope_of(l, a, b));
      },
      p, y, dlosses);
}

void cosine_distance(stream& s, axis a, array p, array y, array out) {
  const elements predicted(p), wanted(y);
  map(s, out, [=] __device__(long i) {
    float sum = 0;
    for (long e = 0; e < a.extent; ++e) {
      const long at = on_axis(a, i, e);
      sum += predicted[at] * wanted[at];
    }
    return 1 - sum;
  });
}
void cosine_distance_backward(stream& s, axis a, array factor, array dlosses, array dx) {
  const elements slopes(dlosses);
  map(
      s, dx,
      [=] __device__(float f, long i) {
        const long line = i / (a.extent * a.inner) * a.inner + i % a.inner;
        return -f * slopes[line];
      },
      factor);
}

void pairwise_squared_error(stream& s, array p, array y, int n, array out) {
  const elements predicted(p), wanted(y), to(out);
  const long m = p.count / n;
  for_row_blocks(s, n, [=] __device__(long r) {
    const double mean = mean_difference(predicted, wanted, r * m, m);
    const double squares = sum_over_block<double>(m, [&](long i) {
      const double d = double(predicted[r * m + i]) - double(wanted[r * m + i]) - mean;
      return d * d;
    });
    if (threadIdx.x == 0) to.put(r, static_cast<float>(2 * squares / double(m)));
  });
}
void pairwise_squared_error_backward(stream& s, array p, array y, array dlosses, int n, array dx) {
  const elements predicted(p), wanted(y), slopes(dlosses), to(dx);
  const long m = p.count / n;
  for_row_blocks(s, n, [=] __device__(long r) {
    const double mean = mean_difference(predicted, wanted, r * m, m);
    const float slope = 4 * slopes[r] / float(m);
    for (long i = r * m + threadIdx.x; i < (r + 1) * m; i += block_threads)
      to.put(i, static_cast<float>(double(predicted[i]) - double(wanted[i]) - mean) * slope);
  });
}

void unit_norm(stream& s, axis a, array x, float epsilon, array y) {
  const elements in(x), out(y);
  for_each(s, a.outer * a.inner, [=] __device__(long i) {
    float squares = 0;
    for (long e = 0; e < a.extent; ++e) {
      const float v = in[on_axis(a, i, e)];
      squares += v * v;
    }
    const float by = 1 / sqrtf(squares + epsilon);
    for (long e = 0; e < a.extent; ++e) out.put(on_axis(a, i, e), in[on_axis(a, i, e)] * by);
  });
}
void unit_norm_backward(stream& s, axis a, array x, array dy, float epsilon, array dx) {
  const elements in(x), slopes(dy), out(dx);
  for_each(s, a.outer * a.inner, [=] __device__(long i) {
    float squares = epsilon, along = 0;
    for (long e = 0; e < a.extent; ++e) {
      const long at = on_axis(a, i, e);
      squares += in[at] * in[at], along += in[at] * slopes[at];
    }
    const float by = 1 / sqrtf(squares), pull = along / squares;
    for (long e = 0; e < a.extent; ++e) {
      const long at = on_axis(a, i, e);
      out.put(at, (slopes[at] - in[at] * pull) * by);
    }
  });
}

namespace {

/// bias + alpha times the sum of squares of a channel's neighbours.
__device__ float response_at(const response& r, const elements& x, long pixel, int channel, int c) {
  float squares = 0;
  for (int k = max(channel - r.depth_radius, 0); k <= min(channel + r.depth_radius, c - 1); ++k)
    squares += x[pixel * c + k] * x[pixel * c + k];
  return r.bias + r.alpha * squares;
}

}  // namespace

void local_response_normalization(stream& s, response r, array x, int c, array y) {
  const elements in(x);
  map(
      s, y,
      [=] __device__(float v, long i) {
        return v * powf(response_at(r, in, i / c, static_cast<int>(i % c), c), -r.beta);
      },
      x);
}
void local_response_normalization_backward(stream& s, response r, array x, array dy, int c,
                                           array dx) {
  const elements in(x), slopes(dy);
  map(
      s, dx,
      [=] __device__(float v, float d, long i) {
        const long pixel = i / c;
        const int channel = static_cast<int>(i % c);
        float sum = 0;
        for (int k = max(channel - r.depth_radius, 0); k <= min(channel + r.depth_radius, c - 1);
             ++k)
          sum += slopes[pixel * c + k] * in[pixel * c + k] *
                 powf(response_at(r, in, pixel, k, c), -r.beta - 1);
        return d * powf(response_at(r, in, pixel, channel, c), -r.beta) -
               v * sum * 2 * r.alpha * r.beta;
      },
      x, dy);
}

// Depthwise convolution: plain sums, one thread an output.

void depthwise(stream& s, const convolution_shape& d, array x, array w, array y) {
  const elements in(x), weights(w);
  const int multiplier = d.k / d.c;
  map(s, y, [=] __device__(long i) {
    const int k = static_cast<int>(i % d.k);
    long at = i / d.k;
    const int column = static_cast<int>(at % d.out_w);
    at /= d.out_w;
    const int row = static_cast<int>(at % d.out_h);
    const long image = at / d.out_h;
    float sum = 0;
    for (int a = 0; a < d.kernel_h; ++a) {
      const int h = row * d.stride_h - d.pad_top + a * d.rate_h;
      if (h < 0 || h >= d.h) continue;
      for (int b = 0; b < d.kernel_w; ++b) {
        const int v = column * d.stride_w - d.pad_left + b * d.rate_w;
        if (v < 0 || v >= d.w) continue;
        sum += in[((image * d.h + h) * d.w + v) * d.c + k / multiplier] *
               weights[long{a * d.kernel_w + b} * d.k + k];
      }
    }
    return sum;
  });
}
void depthwise_backward_data(stream& s, const convolution_shape& d, array dy, array w, array dx) {
  const elements slopes(dy), weights(w);
  const int multiplier = d.k / d.c;
  map(s, dx, [=] __device__(long i) {
    const int c = static_cast<int>(i % d.c);
    long at = i / d.c;
    const int column = static_cast<int>(at % d.w);
    at /= d.w;
    const int row = static_cast<int>(at % d.h);
    const long image = at / d.h;
    float sum = 0;
    for (int a = 0; a < d.kernel_h; ++a) {
      const int h = row + d.pad_top - a * d.rate_h;
      if (h < 0 || h % d.stride_h != 0 || h / d.stride_h >= d.out_h) continue;
      for (int b = 0; b < d.kernel_w; ++b) {
        const int v = column + d.pad_left - b * d.rate_w;
        if (v < 0 || v % d.stride_w != 0 || v / d.stride_w >= d.out_w) continue;
        const long out = ((image * d.out_h + h / d.stride_h) * d.out_w + v / d.stride_w) * d.k;
        for (int m = 0; m < multiplier; ++m)
          sum += slopes[out + c * multiplier + m] *
                 weights[long{a * d.kernel_w + b} * d.k + c * multiplier + m];
      }
    }
    return sum;
  });
}
void depthwise_backward_filter(stream& s, const convolution_shape& d, array x, array dy, array dw) {
  const elements in(x), slopes(dy), to(dw);
  const int multiplier = d.k / d.c;
  for_row_blocks(s, long{d.kernel_h} * d.kernel_w * d.k, [=] __device__(long i) {
    const int k = static_cast<int>(i % d.k);
    const int a = static_cast<int>(i / d.k) / d.kernel_w,
              b = static_cast<int>(i / d.k) % d.kernel_w;
    const double sum = sum_over_block<double>(long{d.n} * d.out_h * d.out_w, [&](long at) {
      const int h =
          static_cast<int>(at / d.out_w % d.out_h) * d.stride_h - d.pad_top + a * d.rate_h;
      const int v = static_cast<int>(at % d.out_w) * d.stride_w - d.pad_left + b * d.rate_w;
      if (h < 0 || h >= d.h || v < 0 || v >= d.w) return 0.0;
      const long image = at / (long{d.out_h} * d.out_w);
      return double(in[((image * d.h + h) * d.w + v) * d.c + k / multiplier]) *
             double(slopes[at * d.k + k]);
    });
    if (threadIdx.x == 0) to.put(i, static_cast<float>(sum));
  });
}

}  // namespace slim::cuda
