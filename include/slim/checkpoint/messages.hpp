// TensorFlow's messages that say what a tensor is: shapes, and the part of a tensor that a slice
// is.
#pragma once

#include "wire.hpp"

namespace slim::detail {

/// Part of one axis; a length of -1 is all of it.
struct slice_extent {
  std::int64_t start = 0, length = -1;

  bool whole() const { return start == 0 && length == -1; }
  bool operator==(const slice_extent&) const = default;
};
/// One extent an axis.
using tensor_slice = std::vector<slice_extent>;

/// TensorFlow's own limit, which also bounds what a forged message can ask for.
constexpr std::size_t max_stored_rank = 254;

/// TensorShapeProto; none if it is malformed or a shape that is not known.
inline std::optional<stored_shape> parse_shape(byte_span bytes) {
  stored_shape dims;
  wire_message m(bytes);
  for (wire_field f; m.next(f);) {
    if (f.id == 3 && f.number != 0) return std::nullopt;  // unknown rank
    if (f.id != 2) continue;
    std::int64_t size = 0;
    wire_message dim(f.bytes);
    for (wire_field d; dim.next(d);)
      if (d.id == 1) size = static_cast<std::int64_t>(d.number);
    if (!dim.good() || dims.size() == max_stored_rank) return std::nullopt;
    dims.push_back(size);
  }
  if (!m.good() || !element_count(dims)) return std::nullopt;
  return dims;
}

/// TensorSliceProto; none if it is malformed.
inline std::optional<tensor_slice> parse_slice(byte_span bytes) {
  tensor_slice slice;
  wire_message m(bytes);
  for (wire_field f; m.next(f);) {
    if (f.id != 1) continue;
    slice_extent e;
    wire_message extent(f.bytes);
    for (wire_field d; extent.next(d);) {
      if (d.id == 1) e.start = static_cast<std::int64_t>(d.number);
      if (d.id == 2) e.length = static_cast<std::int64_t>(d.number);
    }
    if (!extent.good() || slice.size() == max_stored_rank) return std::nullopt;
    slice.push_back(e);
  }
  if (!m.good()) return std::nullopt;
  return slice;
}

/// Appends a number so that the order of bytes is the order of numbers: a byte holds seven bits,
/// and as many leading bits say how many bytes follow. (TensorFlow's ordered code.)
inline void append_ordered(std::string& out, std::int64_t number) {
  const std::uint64_t magnitude =
      number < 0 ? ~static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number);
  int length = 1;
  while (length < 10 && magnitude >> (7 * length - 1) != 0) ++length;
  std::string bytes;
  for (int i = length - 1; i >= 0; --i) {
    const int shift = 8 * i;
    const std::int64_t rest = shift < 64 ? number >> shift : number >> 63;
    bytes += static_cast<char>(rest & 0xFF);
  }
  // The header: `length` ones from the top, flipped by the sign that is there already.
  for (int bit = 0; bit < length; ++bit)
    bytes[static_cast<std::size_t>(bit / 8)] ^= static_cast<char>(0x80 >> bit % 8);
  out += bytes;
}

/// The key under which a slice of a tensor is stored.
inline std::string slice_key(std::string_view name, const tensor_slice& slice) {
  std::string key(1, '\0');
  for (char c : name) {
    key += c;
    if (c == '\0') key += '\xff';
    if (c == '\xff') key += '\0';
  }
  key += std::string_view("\0\1", 2);
  key += slice.empty() ? std::string(1, '\0') : std::string{'\1', static_cast<char>(slice.size())};
  for (const slice_extent& e : slice) {
    append_ordered(key, e.start);
    append_ordered(key, e.length);
  }
  return key;
}

}  // namespace slim::detail
