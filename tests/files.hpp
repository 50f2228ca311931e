// Files as tests of files need them: whole in memory, and in folders that vanish.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include <slim/checkpoint/tensor_types.hpp>

namespace slim_test {

/// A folder of its own for a test, removed with all that is in it.
class temporary_folder {
 public:
  temporary_folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "slim-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = pattern;
  }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }
  bool empty() const { return std::filesystem::is_empty(path_); }

 private:
  std::filesystem::path path_;
};

/// A file in memory, for tests that damage one many times.
class memory_file {
 public:
  explicit memory_file(const std::vector<std::byte>& bytes = {})
      : descriptor_(memfd_create("slim", 0)) {
    write(bytes);
  }
  memory_file(const memory_file&) = delete;
  memory_file& operator=(const memory_file&) = delete;
  ~memory_file() { close(descriptor_); }

  /// In place of what it held.
  void write(const std::vector<std::byte>& bytes) {
    const auto size = static_cast<ssize_t>(bytes.size());
    if (ftruncate(descriptor_, 0) != 0 ||
        pwrite(descriptor_, bytes.data(), bytes.size(), 0) != size)
      throw std::runtime_error("cannot write to a file in memory");
  }
  std::string folder() const { return "/proc/self/fd"; }
  std::string name() const { return std::to_string(descriptor_); }
  std::string path() const { return folder() + "/" + name(); }

 private:
  int descriptor_;
};

inline std::vector<std::byte> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path);
  const std::string text(std::istreambuf_iterator<char>(in), {});
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

inline void write_file(const std::string& path, const std::vector<std::byte>& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
  if (!out) throw std::runtime_error("cannot write " + path);
}

/// The message of the checkpoint_error that f throws; empty if it throws none.
template <class F>
std::string fault(F f) {
  try {
    f();
  } catch (const slim::checkpoint_error& e) {
    return e.what();
  }
  return "";
}

}  // namespace slim_test
