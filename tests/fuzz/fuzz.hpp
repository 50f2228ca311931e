// What the fuzz targets share: each gives bytes to a reader, which may refuse them by a
// checkpoint_error and must do nothing worse.
#pragma once

#include "../reforge.hpp"

namespace slim_fuzz {

using slim_test::byte_vector;

inline byte_vector bytes_of(const std::uint8_t* data, std::size_t size) {
  const auto* first = reinterpret_cast<const std::byte*>(data);
  return {first, first + size};
}

/// Opens by f, reads everything, and forgives a refusal.
template <class F>
int survive(F open) {
  try {
    slim_test::read_all(open());
  } catch (const slim::checkpoint_error&) {
  }
  return 0;
}

}  // namespace slim_fuzz
