// What may happen to gradients between backward and update: multiplied, clipped, noise added.
#pragma once

#include <array>
#include <cmath>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "../eigen.hpp"
#include "../random.hpp"
#include "../runner.hpp"

namespace slim::learning {

namespace detail {

inline constexpr long gradient_shard = 1 << 16;

/// f(first, last, shard) for the shards of a variable's elements, on all threads.
template <class T, class F>
void for_shards(runner<T>& r, long count, F f) {
  const int shards = static_cast<int>((count + gradient_shard - 1) / gradient_shard);
  r.device().parallel(shards, [&](int shard, int) {
    const long first = shard * gradient_shard;
    f(first, std::min(first + gradient_shard, count), shard);
  });
}

template <class T>
using gradient_map = Eigen::Map<Eigen::Array<T, Eigen::Dynamic, 1>>;

}  // namespace detail

/// The sum of squares of a variable's gradient, in double. The same bits for any number of threads.
template <class T>
double squared_gradient_norm(runner<T>& r, int variable) {
  const tensor_view<T> g = r.gradient(variable);
  constexpr int most = 64;
  const long count = g.dims.count();
  double total = 0;
  for (long begin = 0; begin < count; begin += most * detail::gradient_shard) {
    std::array<double, most> parts{};
    const long here = std::min<long>(count - begin, most * detail::gradient_shard);
    detail::for_shards(r, here, [&](long first, long last, int shard) {
      const detail::gradient_map<T> part(g.data + begin + first, last - first);
      parts[static_cast<std::size_t>(shard)] = part.template cast<double>().square().sum();
    });
    for (const double p : parts) total += p;
  }
  return total;
}

/// A variable's gradient times a number.
template <class T>
void scale_gradient(runner<T>& r, int variable, T factor) {
  const tensor_view<T> g = r.gradient(variable);
  detail::for_shards(r, g.dims.count(), [&](long first, long last, int) {
    detail::gradient_map<T>(g.data + first, last - first) *= factor;
  });
}

/// TensorFlow's clip_by_norm of each of these variables' gradients by itself: g * max_norm /
/// max(|g|, max_norm).
template <class T>
void clip_gradient_norms(runner<T>& r, const std::vector<int>& variables, double max_norm) {
  for (const int v : variables) {
    const double norm = std::sqrt(squared_gradient_norm(r, v));
    if (norm > max_norm) scale_gradient(r, v, static_cast<T>(max_norm / norm));
  }
}

/// The 2-norm of all these variables' gradients together.
template <class T>
double global_gradient_norm(runner<T>& r, const std::vector<int>& variables) {
  double sum = 0;
  for (const int v : variables) sum += squared_gradient_norm(r, v);
  return std::sqrt(sum);
}

/// TensorFlow's clip_by_global_norm: every gradient times max_norm * min(1 / norm, 1 / max_norm),
/// which is NaN where the norm is infinite. Returns the norm as it was.
template <class T>
double clip_by_global_norm(runner<T>& r, const std::vector<int>& variables, double max_norm) {
  const double norm = global_gradient_norm(r, variables);
  if (!std::isfinite(norm)) {
    for (const int v : variables) scale_gradient(r, v, std::numeric_limits<T>::quiet_NaN());
  } else if (norm > max_norm) {
    for (const int v : variables) scale_gradient(r, v, static_cast<T>(max_norm / norm));
  }
  return norm;
}

/// Adds `scale` times a truncated standard normal to every element, as a function of the seed, the
/// step and the element (Neelakantan et al., 2015).
template <class T>
void add_gradient_noise(runner<T>& r, const std::vector<int>& variables, double scale,
                        std::uint64_t seed, std::int64_t step) {
  const std::uint64_t key = random_at(seed, static_cast<std::uint64_t>(step));
  for (const int v : variables) {
    const tensor_view<T> g = r.gradient(v);
    const std::uint64_t own = random_at(key, static_cast<std::uint64_t>(v));
    detail::for_shards(r, g.dims.count(), [&](long first, long last, int) {
      for (long i = first; i < last; ++i) {
        random_stream stream(random_at(own, static_cast<std::uint64_t>(i)));
        g.data[i] += static_cast<T>(scale * stream.truncated_normal());
      }
    });
  }
}

/// The limit of adaptive_clipping_fn: the norm that the logarithms of past norms make unlikely.
class adaptive_clipping {
 public:
  double std_factor = 2.0, decay = 0.95, epsilon = 1e-8;
  /// Also never more than this, if it is positive.
  double static_max_norm = 0;
  /// With it the decay is at most step / (step + 1): early norms count.
  bool by_step = false;

  /// What gradients of this norm are multiplied by.
  double factor(double norm, std::int64_t step) {
    const double log_norm = std::log(norm + epsilon);
    const double d = by_step ? std::min(decay, double(step) / double(step + 1)) : decay;
    mean_ = d * mean_ + (1 - d) * log_norm;
    mean_of_squares_ = d * mean_of_squares_ + (1 - d) * log_norm * log_norm;
    const double deviation = std::sqrt(std::max(epsilon, mean_of_squares_ - mean_ * mean_));
    const double most = std::exp(mean_ + std_factor * deviation);
    const double f = norm < most ? 1.0 : std::exp(mean_) / norm;
    return static_max_norm > 0 ? std::min(static_max_norm / norm, f) : f;
  }
  /// AdaptiveMaxNorm/mean and AdaptiveMaxNorm/sq_mean.
  double mean() const { return mean_; }
  double mean_of_squares() const { return mean_of_squares_; }

 private:
  double mean_ = 0, mean_of_squares_ = 0;
};

}  // namespace slim::learning
