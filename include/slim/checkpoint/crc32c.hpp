// The checksum of TensorFlow's files: CRC-32C (Castagnoli), masked so that a checksum of bytes that
// hold checksums stays a good one.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include <isa-l/crc.h>

#include "tensor_types.hpp"

namespace slim::detail {

static_assert(std::endian::native == std::endian::little, "files hold little-endian elements");

/// The CRC of the bytes that `crc` was made of, followed by `bytes`.
inline std::uint32_t extend_crc32c(std::uint32_t crc, byte_span bytes) {
  constexpr std::size_t most = std::size_t{1} << 30;  // ISA-L counts in ints
  crc = ~crc;
  while (!bytes.empty()) {
    const std::size_t n = std::min(bytes.size(), most);
    // The interface is not const, the function is.
    auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
    crc = crc32_iscsi(data, static_cast<int>(n), crc);
    bytes = bytes.subspan(n);
  }
  return ~crc;
}
/// The same of a number's four bytes, little-endian.
inline std::uint32_t extend_crc32c(std::uint32_t crc, std::uint32_t number) {
  return extend_crc32c(crc, std::as_bytes(std::span(&number, 1)));
}
inline std::uint32_t crc32c(byte_span bytes) { return extend_crc32c(0, bytes); }

constexpr std::uint32_t masked(std::uint32_t crc) { return (crc >> 15 | crc << 17) + 0xA282EAD8u; }
inline std::uint32_t masked_crc32c(byte_span bytes) { return masked(crc32c(bytes)); }

}  // namespace slim::detail
