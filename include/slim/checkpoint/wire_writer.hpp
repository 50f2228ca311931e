// Protocol buffers written field by field, by protobuf's own coded stream.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>

namespace slim::detail {

/// A message, written field by field.
class wire_writer {
  using lite = google::protobuf::internal::WireFormatLite;

 public:
  void number(int id, std::uint64_t value) {
    if (value == 0) return;  // as protobuf does: zero is a field's default
    tag(id, lite::WIRETYPE_VARINT);
    write([&](auto& out) { out.WriteVarint64(value); });
  }
  void fixed32(int id, std::uint32_t value) {
    if (value == 0) return;
    tag(id, lite::WIRETYPE_FIXED32);
    write([&](auto& out) { out.WriteLittleEndian32(value); });
  }
  void fixed64(int id, std::uint64_t value) {
    if (value == 0) return;
    tag(id, lite::WIRETYPE_FIXED64);
    write([&](auto& out) { out.WriteLittleEndian64(value); });
  }
  /// A float that is written even where it is zero: one of several kinds of value.
  void fixed_always(int id, float value) {
    tag(id, lite::WIRETYPE_FIXED32);
    write([&](auto& out) { out.WriteLittleEndian32(std::bit_cast<std::uint32_t>(value)); });
  }
  void fixed(int id, float value) { fixed32(id, std::bit_cast<std::uint32_t>(value)); }
  void fixed(int id, double value) { fixed64(id, std::bit_cast<std::uint64_t>(value)); }
  /// A message, a string or bytes.
  void message(int id, std::string_view value) {
    tag(id, lite::WIRETYPE_LENGTH_DELIMITED);
    write([&](auto& out) { out.WriteVarint64(value.size()); });
    bytes_ += value;
  }
  void packed_varints(int id, std::span<const std::int64_t> values) {
    if (values.empty()) return;
    std::string packed;
    {
      google::protobuf::io::StringOutputStream stream(&packed);
      google::protobuf::io::CodedOutputStream out(&stream);
      for (const std::int64_t v : values) out.WriteVarint64(static_cast<std::uint64_t>(v));
    }
    message(id, packed);
  }
  /// Floats or doubles, as they lie in memory.
  template <class T>
  void packed_fixed(int id, std::span<const T> values) {
    if (values.empty()) return;
    message(id, {reinterpret_cast<const char*>(values.data()), values.size_bytes()});
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void tag(int id, lite::WireType type) {
    write([&](auto& out) { out.WriteTag(lite::MakeTag(id, type)); });
  }
  template <class F>
  void write(F f) {
    google::protobuf::io::StringOutputStream stream(&bytes_);
    google::protobuf::io::CodedOutputStream out(&stream);
    f(out);
  }

  std::string bytes_;
};

}  // namespace slim::detail
