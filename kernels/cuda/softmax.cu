// Softmax, cross entropy and the reduction of losses.
#include "rows.cuh"

namespace slim::cuda {
namespace {

/// The largest element of a row, and the sum of exp(x - top): what softmax divides by.
struct row_norm {
  float top, sum;

  __device__ row_norm(const elements& x, long first, int k) : top(-INFINITY) {
    for (int j = threadIdx.x; j < k; j += block_threads) top = larger()(top, x[first + j]);
    top = over_block(top, larger());
    const float highest = top;
    sum = sum_over_block<float>(k, [&](long j) { return expf(x[first + j] - highest); });
  }
  /// Log softmax is x minus this.
  __device__ float log() const { return top + logf(sum); }
};

/// Targets of cross entropy: labels as ints, or as a distribution that is smoothed.
struct targets {
  elements labels;
  int k;
  float smoothing;

  __device__ float operator()(long r, int j) const {
    if (labels.type == number::i32)
      return static_cast<const int*>(labels.data)[r] == j ? 1.0f : 0.0f;
    return labels[r * k + j] * (1.0f - smoothing) + smoothing / float(k);
  }
};

/// Weights of losses; `inner` losses share one.
struct loss_weight {
  elements weights;
  double factor;
  long inner, losses;
  const double* counted = nullptr;  // weights that are not 0

  loss_weight(const reduction& r, long losses)
      : weights(r.weights),
        factor(r.factor),
        inner(r.weights ? losses / r.weights.count : 1),
        losses(losses) {}

  /// Counts, for `present`: in memory that stays until another count.
  void count(stream& s) {
    if (weights.data == nullptr || factor == 0) return;
    double* const to = sum_memory(s) + most_partials;
    const elements w = weights;
    sum_all(
        s, losses / inner, [=] __device__(long r) { return w[r] != 0 ? 1.0 : 0.0; },
        [=] __device__(double sum) { *to = sum; });
    counted = to;
  }

  __device__ double operator()(long i) const {
    return weights.there() ? factor * double(weights[i / inner]) : factor;
  }
  /// How many losses have a weight that is not 0.
  __device__ double present() const {
    if (factor == 0) return 0;
    return weights.there() ? double(inner) * *counted : double(losses);
  }
  /// What the sum is divided by, 0 for nothing to sum.
  __device__ double divisor(bool sum) const { return sum ? 1 : present(); }
};

}  // namespace

void log_softmax(stream& s, array x, int k, array y) {
  const elements in(x), out(y);
  for_row_blocks(s, x.count / k, [=] __device__(long r) {
    const float norm = row_norm(in, r * k, k).log();
    for (int j = threadIdx.x; j < k; j += block_threads) out.put(r * k + j, in[r * k + j] - norm);
  });
}
void softmax(stream& s, array x, int k, array y) {
  const elements in(x), out(y);
  for_row_blocks(s, x.count / k, [=] __device__(long r) {
    const row_norm norm(in, r * k, k);
    for (int j = threadIdx.x; j < k; j += block_threads)
      out.put(r * k + j, expf(in[r * k + j] - norm.top) / norm.sum);
  });
}
void softmax_backward(stream& s, array y, array dy, int k, array dx) {
  const elements value(y), slope(dy), out(dx);
  for_row_blocks(s, y.count / k, [=] __device__(long r) {
    const float sum =
        sum_over_block<float>(k, [&](long j) { return value[r * k + j] * slope[r * k + j]; });
    for (int j = threadIdx.x; j < k; j += block_threads)
      out.put(r * k + j, (slope[r * k + j] - sum) * value[r * k + j]);
  });
}
void log_softmax_backward(stream& s, array y, array dy, int k, array dx) {
  const elements value(y), slope(dy), out(dx);
  for_row_blocks(s, y.count / k, [=] __device__(long r) {
    const float sum = sum_over_block<float>(k, [&](long j) { return slope[r * k + j]; });
    for (int j = threadIdx.x; j < k; j += block_threads)
      out.put(r * k + j, slope[r * k + j] - expf(value[r * k + j]) * sum);
  });
}

void cross_entropy_rows(stream& s, array log_p, array labels, int k, float smoothing,
                        array losses) {
  const elements in(log_p), out(losses);
  const targets wanted{elements(labels), k, smoothing};
  for_row_blocks(s, log_p.count / k, [=] __device__(long r) {
    const float sum = sum_over_block<float>(k, [&](long j) {
      const float target = wanted(r, static_cast<int>(j));
      return target == 0 ? 0.0f : target * in[r * k + j];
    });
    if (threadIdx.x == 0) out.put(r, -sum);
  });
}
void cross_entropy_rows_backward(stream& s, array labels, array drows, int k, float smoothing,
                                 array dx) {
  const elements slopes(drows);
  const targets wanted{elements(labels), k, smoothing};
  map(s, dx, [=] __device__(long i) {
    const long r = i / k;
    return -slopes[r] * wanted(r, static_cast<int>(i - r * k));
  });
}

void softmax_cross_entropy(stream& s, array logits, array labels, array weights, int k,
                           float smoothing, float factor, array rows, array loss, array gradient) {
  const elements in(logits), to(gradient);
  const targets wanted{elements(labels), k, smoothing};
  const long n = logits.count / k;
  loss_weight weight({weights, factor, false}, n);
  weight.count(s);
  float* row_losses = static_cast<float*>(rows.data);
  for_row_blocks(s, n, [=] __device__(long r) {
    const double present = weight.present();
    const float by = present == 0 ? 0.0f : static_cast<float>(weight(r) / present);
    const float norm = row_norm(in, r * k, k).log();
    const float sum = sum_over_block<float>(k, [&](long j) {
      const float target = wanted(r, static_cast<int>(j));
      return target == 0 ? 0.0f : target * (norm - in[r * k + j]);
    });
    if (threadIdx.x == 0) row_losses[r] = by * sum;
    for (int j = threadIdx.x; j < k && to.there(); j += block_threads)
      to.put(r * k + j, by * (expf(in[r * k + j] - norm) - wanted(r, j)));
  });
  const elements total(loss);
  for_row_blocks(s, 1, [=] __device__(long) {
    const double sum = sum_over_block<double>(n, [=](long r) { return double(row_losses[r]); });
    if (threadIdx.x == 0) total.put(0, static_cast<float>(sum));
  });
}

void weighted_mean(stream& s, array losses, const reduction& r, array loss) {
  const elements in(losses), out(loss);
  loss_weight weight(r, losses.count);
  const bool plain = r.sum;
  if (!plain) weight.count(s);
  sum_all(
      s, losses.count, [=] __device__(long i) { return weight(i) * double(in[i]); },
      [=] __device__(double sum) {
        const double divisor = weight.divisor(plain);
        out.put(0, divisor == 0 ? 0.0f : static_cast<float>(sum / divisor));
      });
}
void weighted_mean_backward(stream& s, array dloss, const reduction& r, array dlosses) {
  const elements from(dloss);
  loss_weight weight(r, dlosses.count);
  const bool plain = r.sum;
  if (!plain) weight.count(s);
  map(s, dlosses, [=] __device__(long i) {
    const double divisor = weight.divisor(plain);
    return divisor == 0 ? 0.0f : static_cast<float>(weight(i) / divisor) * from[0];
  });
}
void weighted_mean_weights_backward(stream& s, array losses, array dloss, const reduction& r,
                                    array dweights) {
  const elements in(losses), from(dloss), out(dweights);
  loss_weight weight(r, losses.count);
  const bool plain = r.sum;
  if (!plain) weight.count(s);
  for_row_blocks(s, dweights.count, [=] __device__(long row) {
    const double divisor = weight.divisor(plain);
    const double slope = divisor == 0 ? 0 : double(from[0]) * weight.factor / divisor;
    const double sum = sum_over_block<double>(
        weight.inner, [&](long i) { return double(in[row * weight.inner + i]); });
    const bool absent = plain && weight.weights[row] == 0;
    if (threadIdx.x == 0) out.put(row, absent ? 0.0f : static_cast<float>(slope * sum));
  });
}

void regularizer(stream& s, array w, penalty p, array sum) {
  const elements in(w), out(sum);
  const long count = w.count;
  const auto of = [=] __device__(double v) {
    return double(p.l2) * v * v / 2 + double(p.l1) * fabs(v);
  };
  sum_all(
      s, (count + lanes - 1) / lanes,
      [=] __device__(long i) {
        double sum = 0;
        if ((i + 1) * lanes > count) {
          for (long k = i * lanes; k < count; ++k) sum += of(in[k]);
          return sum;
        }
        float values[lanes];
        in.load_from(i * lanes, values);
#pragma unroll
        for (int k = 0; k < lanes; ++k) sum += of(values[k]);
        return sum;
      },
      [=] __device__(double total) { out.put(0, static_cast<float>(total)); });
}

}  // namespace slim::cuda
