// TensorFlow's files of records, TFRecord:
//
//   data::record_writer writer("train-00000-of-00004");
//   writer.write(example.serialize());
//   writer.close();
//
//   data::record_reader reader("train-00000-of-00004");
//   while (auto record = reader.next()) use(*record);
//
// A record is its length (8 bytes, little-endian), a masked CRC-32C of those, its bytes, and a
// masked CRC-32C of them. Needs zlib and ISA-L.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "../checkpoint/crc32c.hpp"
#include "byte_stream.hpp"

namespace slim::data {

namespace detail {

using slim::detail::byte_span;

inline constexpr std::size_t record_header = 12, record_footer = 4;

inline std::uint32_t masked_crc(std::string_view bytes) {
  return slim::detail::masked_crc32c(std::as_bytes(std::span(bytes)));
}
template <class T>
T number_at(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
/// Whether a header's length is what was written.
inline bool header_holds(const char* header) {
  return masked_crc({header, 8}) == number_at<std::uint32_t>(header + 8);
}

}  // namespace detail

/// Writes records. Every member throws record_error if the file cannot be written.
class record_writer {
 public:
  explicit record_writer(const std::string& path, compression packing = compression::none)
      : out_(path, packing) {}
  /// Closes the file; close() tells whether that went well, this does not.
  ~record_writer() {
    try {
      close();
    } catch (const record_error&) {
    }
  }

  void write(std::string_view record) {
    std::array<char, detail::record_header> header;
    const std::uint64_t length = record.size();
    std::memcpy(header.data(), &length, 8);
    put(detail::masked_crc({header.data(), 8}), header.data() + 8);
    out_.write(header.data(), header.size());
    out_.write(record.data(), record.size());
    std::array<char, detail::record_footer> footer;
    put(detail::masked_crc(record), footer.data());
    out_.write(footer.data(), footer.size());
  }
  void write(std::span<const std::byte> record) {
    write(std::string_view(reinterpret_cast<const char*>(record.data()), record.size()));
  }
  /// Whoever reads the file now finds every record.
  void flush() { out_.flush(); }
  void close() {
    if (out_.is_open()) out_.close();
  }
  /// Bytes written, before they are packed: where the next record begins.
  std::uint64_t offset() const { return out_.position(); }
  const std::string& path() const { return out_.path(); }

 private:
  static void put(std::uint32_t value, char* to) { std::memcpy(to, &value, sizeof value); }

  detail::output_bytes out_;
};

/// What an incomplete last record is: a fault, or one that is still being written.
enum class record_tail { complete, growing };

/// Reads the records of a file one after the other.
class record_reader {
 public:
  /// Throws record_error if the file cannot be opened. Only a file that is not packed may be
  /// `growing`: then next() finds nothing where a record is incomplete, and can be asked again.
  explicit record_reader(const std::string& path, compression packing = compression::none,
                         record_tail tail = record_tail::complete)
      : in_(path, packing), tail_(tail) {
    if (tail == record_tail::growing && packing != compression::none)
      throw record_error(path, 0, "a packed file cannot be read while it grows");
  }

  /// The next record, until the next call; none at the end. Throws record_error at a truncated or
  /// corrupt record. Memory grows with the bytes that are there, not with what a length claims.
  std::optional<std::string_view> next() {
    offset_ = in_.position();
    std::array<char, detail::record_header> header;
    const std::size_t got = in_.read(header.data(), header.size());
    if (got == 0) {
      if (tail_ == record_tail::growing) in_.seek(offset_);  // forgets that the end was met
      return std::nullopt;
    }
    if (got < header.size()) return incomplete("the file ends within a record's length");
    if (!detail::header_holds(header.data()))
      fail("the record's length is corrupt (its checksum does not match)");
    const auto length = detail::number_at<std::uint64_t>(header.data());
    if (length > record_.max_size() - detail::record_footer) fail("the record is too long");
    if (!read(static_cast<std::size_t>(length) + detail::record_footer))
      return incomplete("the file ends within a record of " + std::to_string(length) + " bytes");
    const std::string_view record(record_.data(), static_cast<std::size_t>(length));
    if (detail::masked_crc(record) != detail::number_at<std::uint32_t>(record_.data() + length))
      fail("the record is corrupt (its checksum does not match)");
    return record;
  }
  /// Where the record that next() gave, or failed at, begins.
  std::uint64_t offset() const { return offset_; }

 private:
  bool read(std::size_t n) {
    constexpr std::size_t step = std::size_t{1} << 20;
    record_.clear();
    while (record_.size() < n) {
      const std::size_t before = record_.size(), part = std::min(step, n - before);
      record_.resize(before + part);
      if (in_.read(record_.data() + before, part) < part) return false;
    }
    return true;
  }
  std::optional<std::string_view> incomplete(const std::string& what) {
    if (tail_ != record_tail::growing) fail(what);
    in_.seek(offset_);
    return std::nullopt;
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw record_error(in_.path(), offset_, what);
  }

  detail::input_bytes in_;
  record_tail tail_;
  std::uint64_t offset_ = 0;
  std::string record_;
};

}  // namespace slim::data
