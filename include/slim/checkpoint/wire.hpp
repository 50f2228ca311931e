// Protocol buffers read field by field where they lie, by protobuf's own coded stream: nothing is
// copied, so a tensor of 400 MB inside a message costs no memory.
#pragma once

#include <climits>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include "tensor_types.hpp"

namespace slim::detail {

/// A coded stream over bytes in memory that knows what is left.
class wire_stream {
 public:
  explicit wire_stream(byte_span bytes)
      : bytes_(bytes.size() <= INT_MAX ? bytes : byte_span{}),
        good_(bytes.size() <= INT_MAX),
        stream_(reinterpret_cast<const std::uint8_t*>(bytes_.data()),
                static_cast<int>(bytes_.size())) {}

  /// Whether everything read so far was well-formed.
  bool good() const { return good_; }
  bool at_end() const { return position() == bytes_.size(); }
  std::size_t position() const { return static_cast<std::size_t>(stream_.CurrentPosition()); }
  std::size_t left() const { return bytes_.size() - position(); }

  std::uint64_t varint() {
    std::uint64_t value = 0;
    good_ = good_ && stream_.ReadVarint64(&value);
    return good_ ? value : 0;
  }
  std::uint32_t fixed32() {
    std::uint32_t value = 0;
    good_ = good_ && stream_.ReadLittleEndian32(&value);
    return good_ ? value : 0;
  }
  std::uint64_t fixed64() {
    std::uint64_t value = 0;
    good_ = good_ && stream_.ReadLittleEndian64(&value);
    return good_ ? value : 0;
  }
  /// The next n bytes; none, and no longer good, if there are fewer.
  byte_span take(std::uint64_t n) {
    good_ = good_ && n <= left();
    if (!good_) return {};
    const byte_span taken = bytes_.subspan(position(), n);
    good_ = stream_.Skip(static_cast<int>(n));
    return taken;
  }

 private:
  byte_span bytes_;
  bool good_;
  google::protobuf::io::CodedInputStream stream_;
};

/// A field of a message. `number` and `fixed` are as they stand; `bytes` are those of a string, a
/// message or packed numbers.
struct wire_field {
  int id = 0;
  std::uint64_t number = 0;
  byte_span bytes{};
};

/// Walks over the fields of a message: `while (m.next(field)) ...; if (!m.good()) ...`.
class wire_message {
 public:
  explicit wire_message(byte_span bytes) : stream_(bytes) {}

  bool good() const { return good_ && stream_.good(); }

  bool next(wire_field& field) {
    using lite = google::protobuf::internal::WireFormatLite;
    if (!good() || stream_.at_end()) return false;
    const std::uint64_t tag = stream_.varint();
    field = {};
    field.id = static_cast<int>((tag & 0xFFFFFFFFu) >> 3);
    good_ = tag <= 0xFFFFFFFFu && field.id > 0;
    switch (static_cast<int>(tag & 7)) {
      case lite::WIRETYPE_VARINT:
        field.number = stream_.varint();
        break;
      case lite::WIRETYPE_FIXED32:
        field.number = stream_.fixed32();
        break;
      case lite::WIRETYPE_FIXED64:
        field.number = stream_.fixed64();
        break;
      case lite::WIRETYPE_LENGTH_DELIMITED:
        field.bytes = stream_.take(stream_.varint());
        break;
      default:
        good_ = false;  // groups: TensorFlow's messages have none
    }
    return good();
  }

 private:
  wire_stream stream_;
  bool good_ = true;
};

}  // namespace slim::detail
