// The largest of a 2x2 window, and which it is.
#pragma once

#include <cstdint>

namespace slim::cuda {

struct maximum {
  float value;
  std::uint32_t winner;
};
/// Of values in row-major order, the first if several are equal.
__device__ inline maximum max_of(float a, float b, float c, float d) {
  maximum best{a, 0};
  if (b > best.value) best = {b, 1};
  if (c > best.value) best = {c, 2};
  if (d > best.value) best = {d, 3};
  return best;
}

}  // namespace slim::cuda
