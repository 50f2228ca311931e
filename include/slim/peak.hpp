// The fused multiply-add peak of the threads of a device, measured: what shares of peak refer to.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

#include "device.hpp"
#include "kernels/cpu/simd.hpp"

namespace slim {

namespace detail {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

inline constexpr int peak_chains = 12;

/// Independent chains of multiply-adds in registers, enough to hide their latency.
template <class T>
double multiply_add_chains(long rounds) {
  cpu::vec<T> sums[peak_chains];
  const cpu::vec<T> factor(T(0.999)), addend(T(1e-3));
  cpu::unroll<peak_chains>([&](auto i) { sums[i] = cpu::vec<T>(T(i + 1)); });
  for (long round = 0; round < rounds; ++round)
    cpu::unroll<peak_chains>([&](auto i) { sums[i] = multiply_add(sums[i], factor, addend); });
  double sum = 0;
  for (cpu::vec<T>& s : sums) sum += double(s.sum());
  return sum;
}

}  // namespace detail

/// Giga floating-point operations a second, in Ts, of all the device's threads together: the best
/// of five repetitions of `rounds` (a million take some 10 ms).
template <class T = float>
double peak_gflops(cpu_device& device, long rounds = 1'000'000) {
  const double operations =
      2.0 * detail::peak_chains * cpu::width<T> * double(rounds) * device.threads();
  std::vector<double> sums(static_cast<std::size_t>(device.threads()));
  double best = 0;
  for (int repetition = 0; repetition < 5; ++repetition) {
    const auto start = std::chrono::steady_clock::now();
    device.parallel(device.threads(), [&](int task, int) {
      sums[static_cast<std::size_t>(task)] = detail::multiply_add_chains<T>(rounds);
    });
    best = std::max(best, operations / detail::seconds_since(start) / 1e9);
  }
  // The sums are written where others could see them, so that no compiler leaves them out.
  volatile double seen = sums[0];
  static_cast<void>(seen);
  return best;
}

}  // namespace slim
