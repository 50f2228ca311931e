// Waiting until what was written is on the disk.
#pragma once

#include <string>

#include <fcntl.h>
#include <unistd.h>

namespace slim::detail {

/// Waits until a file's bytes or, of a folder, the names in it are on the disk; whether they are.
inline bool sync_to_disk(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  const bool done = fsync(file) == 0;
  close(file);
  return done;
}

}  // namespace slim::detail
