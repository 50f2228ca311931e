// Random numbers as a function of a key and a counter, so that they are the same for any number of
// threads and any order. The mixing function is SplitMix64's (Steele, Lea and Flood, OOPSLA 2014).
#pragma once

#include <cmath>
#include <cstdint>

namespace slim {

/// A bijection of 64 bits in which every input bit reaches every output bit.
constexpr std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

/// The key of element `index` of the stream whose key is `mixed` already; for many elements.
constexpr std::uint64_t random_of_mixed(std::uint64_t mixed, std::uint64_t index) {
  return mix(mixed + (index + 1) * 0x9E3779B97F4A7C15ULL);
}
/// The key of element `index` of the stream `key`.
constexpr std::uint64_t random_at(std::uint64_t key, std::uint64_t index) {
  return random_of_mixed(mix(key), index);
}

/// Uniform in [0, 1) from 53 of 64 random bits.
constexpr double to_uniform(std::uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

/// The random numbers of one element.
class random_stream {
 public:
  explicit constexpr random_stream(std::uint64_t key) : key_(key) {}

  constexpr std::uint64_t bits() { return mix(key_ += 0x9E3779B97F4A7C15ULL); }
  constexpr double uniform() { return to_uniform(bits()); }
  constexpr double uniform(double from, double to) { return from + (to - from) * uniform(); }
  /// Uniform in [0, count) to within count / 2^32.
  constexpr int below(int count) {
    return static_cast<int>((bits() >> 32) * static_cast<std::uint64_t>(count) >> 32);
  }
  /// Standard normal, by Box and Muller.
  double normal() {
    const double radius = std::sqrt(-2.0 * std::log1p(-uniform()));
    return radius * std::cos(2.0 * 3.14159265358979323846 * uniform());
  }
  /// Standard normal, drawn again while beyond two standard deviations.
  double truncated_normal() {
    for (;;)
      if (const double x = normal(); x >= -2 && x <= 2) return x;
  }

 private:
  std::uint64_t key_;
};

}  // namespace slim
