// Optimizers by TensorFlow's formulas (see slim/optimizers.hpp), in one pass over memory each.
#include "optimizers.hpp"

#include "elements.cuh"

namespace slim::cuda {
namespace {

using formula = optimizer_step::formula;

__device__ inline float power_of(float x, float p) { return p == 0.5f ? sqrtf(x) : powf(x, p); }

/// A proximal step of l1 |w| + l2 / 2 w^2.
__device__ inline float proximal(float w, float g, float rate, float l1, float l2) {
  const float u = w - rate * g, shrunk = fmaxf(fabsf(u) - rate * l1, 0.0f);
  return copysignf(shrunk, u) / (1 + rate * l2);
}

/// k: rate, then the formula's own numbers, in the order optimizers.hpp gives them.
template <formula F>
__device__ inline void update(const float* k, float& w, float g, float& a, float& b, float& c) {
  if constexpr (F == formula::gradient_descent) {
    w -= k[0] * g;
  } else if constexpr (F == formula::momentum) {
    a = a * k[1] + g, w -= a * k[0];
  } else if constexpr (F == formula::nesterov) {
    a = a * k[1] + g, w -= g * k[0] + a * (k[1] * k[0]);
  } else if constexpr (F == formula::adam) {
    a += (g - a) * (1 - k[1]), b += (g * g - b) * (1 - k[2]);
    w -= a * k[0] / (sqrtf(b) + k[3]);
  } else if constexpr (F == formula::rmsprop) {
    a += (g * g - a) * (1 - k[1]), b = b * k[2] + g * k[0] / sqrtf(a + k[3]), w -= b;
  } else if constexpr (F == formula::centered_rmsprop) {
    a += (g * g - a) * (1 - k[1]), b += (g - b) * (1 - k[1]);
    c = c * k[2] + g * k[0] / sqrtf(a - b * b + k[3]), w -= c;
  } else if constexpr (F == formula::adagrad) {
    a += g * g, w -= g * k[0] / sqrtf(a);
  } else if constexpr (F == formula::adadelta) {
    a = a * k[1] + g * g * (1 - k[1]);
    w -= sqrtf((b + k[2]) / (a + k[2])) * g * k[0];
    b = b * k[1] + (b + k[2]) / (a + k[2]) * g * g * (1 - k[1]);
  } else if constexpr (F == formula::proximal_gradient_descent) {
    w = proximal(w, g, k[0], k[1], k[2]);
  } else if constexpr (F == formula::proximal_adagrad) {
    a += g * g, w = proximal(w, g, k[0] * rsqrtf(a), k[1], k[2]);
  } else {
    b += g + 2 * k[3] * w - (power_of(a + g * g, k[4]) - power_of(a, k[4])) / k[0] * w;
    a += g * g;
    w = fabsf(b) > k[1] ? (copysignf(k[1], b) - b) / (power_of(a, k[4]) / k[0] + 2 * k[2]) : 0.0f;
  }
}

template <formula F>
constexpr int slots_of() {
  switch (F) {
    case formula::gradient_descent:
    case formula::proximal_gradient_descent:
      return 0;
    case formula::momentum:
    case formula::nesterov:
    case formula::adagrad:
    case formula::proximal_adagrad:
      return 1;
    case formula::centered_rmsprop:
      return 3;
    default:
      return 2;
  }
}

/// Four elements a thread; ranges start and end on cache lines.
template <formula F>
__global__ void update_kernel(const float* numbers, float* w, const float* g, float* a, float* b,
                              float* c, long first, long last) {
  constexpr int slots = slots_of<F>();
  float k[8];
  for (int i = 0; i < 8; ++i) k[i] = numbers[i];
  const long step = long{gridDim.x} * blockDim.x * 4;
  for (long i = first + (long{blockIdx.x} * blockDim.x + threadIdx.x) * 4; i < last; i += step) {
    float values[4], slopes[4], s0[4] = {}, s1[4] = {}, s2[4] = {};
    load(w + i, values);
    load(g + i, slopes);
    if constexpr (slots > 0) load(a + i, s0);
    if constexpr (slots > 1) load(b + i, s1);
    if constexpr (slots > 2) load(c + i, s2);
#pragma unroll
    for (int e = 0; e < 4; ++e) update<F>(k, values[e], slopes[e], s0[e], s1[e], s2[e]);
    store(values, w + i);
    if constexpr (slots > 0) store(s0, a + i);
    if constexpr (slots > 1) store(s1, b + i);
    if constexpr (slots > 2) store(s2, c + i);
  }
}

template <formula F>
void update_by(stream& s, const float* numbers, const update_memory& m) {
  for (const element_range& r : m.ranges)
    launch(s, "an update", &update_kernel<F>, blocks_for(s, (r.last - r.first + 3) / 4),
           block_threads, 0, numbers, m.variables, m.gradients, m.slots[0], m.slots[1], m.slots[2],
           r.first, r.last);
}

}  // namespace

void update(stream& s, formula kind, const float* numbers, const update_memory& m) {
  switch (kind) {
#define FORMULA(f) \
  case formula::f: \
    return update_by<formula::f>(s, numbers, m);
    FORMULA(gradient_descent)
    FORMULA(momentum)
    FORMULA(nesterov)
    FORMULA(adam)
    FORMULA(rmsprop)
    FORMULA(centered_rmsprop)
    FORMULA(adagrad)
    FORMULA(adadelta)
    FORMULA(proximal_gradient_descent)
    FORMULA(proximal_adagrad)
    FORMULA(ftrl)
#undef FORMULA
  }
}

}  // namespace slim::cuda
