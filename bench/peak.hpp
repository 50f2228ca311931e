// The library's measured peak under the names the benchmarks use.
#pragma once

#include <slim/peak.hpp>

namespace slim_bench {

using slim::detail::seconds_since;

inline double peak_gflops(slim::cpu_device& device) {
  return slim::peak_gflops<float>(device, 4'000'000);
}

}  // namespace slim_bench
