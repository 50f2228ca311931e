// TF-Slim's reduction of losses to one number, on plain memory: what its kernels and the functions
// on spans share.
#pragma once

namespace slim {

/// Calls f(r, begin, end) for the part of every row of `inner` elements that lies in [first, last).
template <class F>
constexpr void for_parts_of_rows(long first, long last, long inner, F f) {
  for (long r = first / inner, begin = first; begin < last; ++r) {
    const long end = (r + 1) * inner < last ? (r + 1) * inner : last;
    f(r, begin, end);
    begin = end;
  }
}

/// The weights of losses in row-major order: `scale`, times number r of `weights` (unless null) for
/// losses r * inner to (r + 1) * inner.
template <class T>
struct loss_weights {
  const T* weights = nullptr;
  double scale = 1;
  long inner = 1;  ///< losses that share a weight

  double operator()(long r) const {
    return weights == nullptr ? scale : scale * static_cast<double>(weights[r]);
  }
  /// How many of the losses [first, last) have a weight that is not 0.
  double present(long first, long last) const {
    if (weights == nullptr) return scale != 0 ? static_cast<double>(last - first) : 0;
    long count = 0;
    if (scale != 0)
      for_parts_of_rows(first, last, inner, [&](long r, long begin, long end) {
        count += weights[r] != T(0) ? end - begin : 0;
      });
    return static_cast<double>(count);
  }
  /// The slope of the mean along a loss of weight number r; 0 where no loss counts.
  T slope(long r, double divisor) const {
    return divisor == 0 ? T(0) : static_cast<T>((*this)(r) / divisor);
  }
};

/// A share of a reduction: sum(weights losses), and how many losses count.
struct partial_mean {
  double sum = 0, present = 0;

  partial_mean& operator+=(const partial_mean& other) {
    sum += other.sum, present += other.present;
    return *this;
  }
  double mean() const { return present == 0 ? 0 : sum / present; }
};

/// In how many shares losses are reduced. A function of their number alone, so that the bits do not
/// depend on threads.
inline constexpr int most_loss_shards = 64;
constexpr int loss_shards(long count) {
  const long shards = count >> 12;
  return shards < 1 ? 1 : shards > most_loss_shards ? most_loss_shards : static_cast<int>(shards);
}

}  // namespace slim
