// A file's bytes in memory, mapped rather than read.
#pragma once

#include <filesystem>
#include <memory>

#include <boost/interprocess/file_mapping.hpp>
#include <boost/interprocess/mapped_region.hpp>

#include "tensor_types.hpp"

namespace slim::detail {

/// A file mapped for reading, which must not shrink meanwhile.
class mapped_file {
 public:
  /// Throws checkpoint_error.
  explicit mapped_file(const std::string& path) {
    namespace fs = std::filesystem;
    std::error_code fault;
    const fs::file_status status = fs::status(path, fault);
    if (!fs::exists(status)) throw checkpoint_error(path, "", "there is no such file");
    if (!fs::is_regular_file(status)) throw checkpoint_error(path, "", "is not a file");
    if (fs::file_size(path, fault) == 0 && !fault) return;  // nothing to map
    try {
      const boost::interprocess::file_mapping file(path.c_str(), boost::interprocess::read_only);
      region_ = boost::interprocess::mapped_region(file, boost::interprocess::read_only);
    } catch (const boost::interprocess::interprocess_exception& e) {
      throw checkpoint_error(path, "", std::string("cannot be read: ") + e.what());
    }
  }

  byte_span bytes() const {
    return {static_cast<const std::byte*>(region_.get_address()), region_.get_size()};
  }

 private:
  boost::interprocess::mapped_region region_;
};

}  // namespace slim::detail
