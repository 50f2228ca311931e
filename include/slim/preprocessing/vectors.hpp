// Several floats to compute with at once, by the compilers' own vectors.
#pragma once

#include <cstdint>
#include <cstring>

namespace slim::detail {

/// A pixel and what comes behind it, and a part of a row.
using float4 = float __attribute__((vector_size(16)));
using float16 = float __attribute__((vector_size(64)));

/// 16 bytes as floats.
inline void load_bytes(const std::uint8_t* from, float16& to) {
  using bytes = std::uint8_t __attribute__((vector_size(16)));
  using shorts = std::int16_t __attribute__((vector_size(32)));
  using ints = std::int32_t __attribute__((vector_size(64)));
  bytes b;
  std::memcpy(&b, from, sizeof b);
  // In steps of a factor of two, which g++ turns into one instruction each.
  to = __builtin_convertvector(__builtin_convertvector(__builtin_convertvector(b, shorts), ints),
                               float16);
}

}  // namespace slim::detail
