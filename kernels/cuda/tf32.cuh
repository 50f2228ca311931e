// TF32: floats whose lower 13 bits count for nothing.
#pragma once

#include <cstdint>

namespace slim::cuda {

/// Rounded to the nearest, ties away from zero.
__device__ inline std::uint32_t to_tf32(float value) {
  std::uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
}

}  // namespace slim::cuda
