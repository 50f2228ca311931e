// What is thrown for records that cannot be read or written.
#pragma once

#include <cstdint>
#include <string>

#include "../error.hpp"

namespace slim::data {

/// A fault in a file of records; the message names the file and the byte at which the record
/// begins. In compressed files bytes are counted as they are unpacked.
class record_error : public error {
 public:
  record_error(std::string file, std::uint64_t offset, const std::string& what)
      : error(file + ", byte " + std::to_string(offset) + ": " + what),
        file_(std::move(file)),
        offset_(offset) {}
  /// A fault of the file as a whole.
  record_error(std::string file, const std::string& what)
      : error(file + ": " + what), file_(std::move(file)) {}
  const std::string& file() const { return file_; }
  /// Zero where the file as a whole is at fault.
  std::uint64_t offset() const { return offset_; }

 private:
  std::string file_;
  std::uint64_t offset_ = 0;
};

}  // namespace slim::data
