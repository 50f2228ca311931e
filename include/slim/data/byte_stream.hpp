// Files as streams of bytes, packed by zlib or as they are.
#pragma once

#include <array>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include <zlib.h>

#include "record_error.hpp"

namespace slim::data {

/// How a file of records is packed as a whole; TensorFlow's TFRecordOptions.
enum class compression { none, gzip, zlib };

namespace detail {

constexpr std::size_t stream_block = std::size_t{1} << 16;

/// What zlib calls the format.
constexpr int window_bits(compression c) { return c == compression::gzip ? 15 + 16 : 15; }

struct close_file {
  void operator()(std::FILE* f) const { std::fclose(f); }
};
using file_handle = std::unique_ptr<std::FILE, close_file>;

inline file_handle open_file(const std::string& path, const char* mode) {
  file_handle file(std::fopen(path.c_str(), mode));
  if (!file) throw record_error(path, std::string("cannot be opened: ") + std::strerror(errno));
  return file;
}

/// The unpacked bytes of a file, in order. Throws record_error if the file cannot be read or is not
/// packed as it should be.
class input_bytes {
 public:
  input_bytes(std::string path, compression packing)
      : path_(std::move(path)), packing_(packing), file_(open_file(path_, "rb")) {
    if (packing_ == compression::none) return;
    packed_.resize(stream_block);
    if (inflateInit2(&zlib_, window_bits(packing_)) != Z_OK) fail("zlib cannot be started");
  }
  input_bytes(const input_bytes&) = delete;
  input_bytes& operator=(const input_bytes&) = delete;
  ~input_bytes() {
    if (packing_ != compression::none) inflateEnd(&zlib_);
  }

  /// Up to n more bytes; fewer only at the end of the file. Where it throws, position() tells how
  /// many there were before the fault.
  std::size_t read(char* to, std::size_t n) {
    if (packing_ != compression::none) return unpack(to, n);
    const std::size_t got = read_file(to, n);
    position_ += got;
    return got;
  }
  /// Goes back to a byte read before. Only where nothing is packed.
  void seek(std::uint64_t position) {
    std::clearerr(file_.get());
    if (std::fseek(file_.get(), static_cast<long>(position), SEEK_SET) != 0) fail("cannot seek");
    position_ = position;
  }
  std::uint64_t position() const { return position_; }
  const std::string& path() const { return path_; }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw record_error(path_, position_, what);
  }
  std::size_t read_file(void* to, std::size_t n) {
    const std::size_t got = std::fread(to, 1, n, file_.get());
    if (got < n && std::ferror(file_.get()))
      fail(std::string("cannot be read: ") + std::strerror(errno));
    return got;
  }

  std::size_t unpack(char* to, std::size_t n) {
    std::size_t got = 0;
    while (got < n) {
      if (zlib_.avail_in == 0 && !refill()) {
        if (inside_) fail("the packed data end too early");
        break;
      }
      if (!inside_ && inflateReset(&zlib_) != Z_OK) fail("zlib cannot be restarted");
      inside_ = true;
      const auto room = static_cast<uInt>(std::min(n - got, stream_block));
      zlib_.next_out = reinterpret_cast<Bytef*>(to + got), zlib_.avail_out = room;
      const int status = inflate(&zlib_, Z_NO_FLUSH);
      got += room - zlib_.avail_out;
      position_ += room - zlib_.avail_out;
      if (status == Z_STREAM_END)
        inside_ = false;  // another member may follow
      else if (status != Z_OK && status != Z_BUF_ERROR)
        fail(std::string("is not packed as expected: ") + (zlib_.msg ? zlib_.msg : "bad data"));
    }
    return got;
  }
  bool refill() {
    zlib_.next_in = packed_.data();
    zlib_.avail_in = static_cast<uInt>(read_file(packed_.data(), packed_.size()));
    return zlib_.avail_in > 0;
  }

  std::string path_;
  compression packing_;
  file_handle file_;
  std::uint64_t position_ = 0;
  std::vector<Bytef> packed_;
  z_stream zlib_{};
  bool inside_ = false;  // a packed member has begun and not ended
};

/// Writes a file, packing it on the way. Throws record_error if that fails.
class output_bytes {
 public:
  output_bytes(std::string path, compression packing)
      : path_(std::move(path)), packing_(packing), file_(open_file(path_, "wb")) {
    if (packing_ == compression::none) return;
    packed_.resize(stream_block);
    const int status = deflateInit2(&zlib_, Z_DEFAULT_COMPRESSION, Z_DEFLATED,
                                    window_bits(packing_), 8, Z_DEFAULT_STRATEGY);
    if (status != Z_OK) fail("zlib cannot be started");
  }
  output_bytes(const output_bytes&) = delete;
  output_bytes& operator=(const output_bytes&) = delete;
  ~output_bytes() {
    if (packing_ != compression::none) deflateEnd(&zlib_);
  }

  void write(const char* from, std::size_t n) {
    position_ += n;
    if (packing_ == compression::none) return write_file(from, n);
    while (n > 0) {
      const std::size_t part = std::min(n, stream_block);
      zlib_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(from));  // zlib only reads it
      zlib_.avail_in = static_cast<uInt>(part);
      pack(Z_NO_FLUSH);
      from += part, n -= part;
    }
  }
  /// Hands everything to the operating system.
  void flush() {
    if (packing_ != compression::none) pack(Z_SYNC_FLUSH);
    if (std::fflush(file_.get()) != 0) fail(cannot_write());
  }
  void close() {
    if (packing_ != compression::none) pack(Z_FINISH);
    if (std::fclose(file_.release()) != 0) fail(cannot_write());
  }
  bool is_open() const { return file_ != nullptr; }
  std::uint64_t position() const { return position_; }
  const std::string& path() const { return path_; }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw record_error(path_, position_, what);
  }
  static std::string cannot_write() {
    return std::string("cannot be written: ") + std::strerror(errno);
  }
  void write_file(const void* from, std::size_t n) {
    if (std::fwrite(from, 1, n, file_.get()) != n) fail(cannot_write());
  }
  void pack(int flush) {
    do {
      zlib_.next_out = packed_.data(), zlib_.avail_out = static_cast<uInt>(packed_.size());
      deflate(&zlib_, flush);
      write_file(packed_.data(), packed_.size() - zlib_.avail_out);
    } while (zlib_.avail_out == 0);
    zlib_.next_in = nullptr, zlib_.avail_in = 0;
  }

  std::string path_;
  compression packing_;
  file_handle file_;
  std::uint64_t position_ = 0;
  std::vector<Bytef> packed_;
  z_stream zlib_{};
};

}  // namespace detail
}  // namespace slim::data
