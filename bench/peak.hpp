// The fused multiply-add peak of the threads of a device, measured: what shares of peak refer to.
#pragma once

#include <chrono>

#include <slim/device.hpp>
#include <slim/kernels/cpu/simd.hpp>

namespace slim_bench {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Independent chains of multiply-adds in registers, enough to hide their latency.
inline double multiply_add_chains(long rounds) {
  using slim::cpu::vec;
  constexpr int chains = 12;
  vec<float> sums[chains];
  const vec<float> factor(0.999f), addend(1e-3f);
  slim::cpu::unroll<chains>([&](auto i) { sums[i] = vec<float>(float(i + 1)); });
  for (long round = 0; round < rounds; ++round)
    slim::cpu::unroll<chains>([&](auto i) { sums[i] = multiply_add(sums[i], factor, addend); });
  double sum = 0;
  for (vec<float>& s : sums) sum += s.sum();
  return sum;
}

/// Giga floating-point operations a second of all the device's threads together: the best of a few.
inline double peak_gflops(slim::cpu_device& device) {
  constexpr long rounds = 4'000'000;
  const double operations = 2.0 * 12 * slim::cpu::width<float> * rounds * device.threads();
  double best = 0;
  for (int repetition = 0; repetition < 5; ++repetition) {
    const auto start = std::chrono::steady_clock::now();
    double sink[256] = {};
    device.parallel(device.threads(),
                    [&](int task, int) { sink[task % 256] = multiply_add_chains(rounds); });
    best = std::max(best, operations / seconds_since(start) / 1e9);
  }
  return best;
}

}  // namespace slim_bench
