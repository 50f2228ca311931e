#pragma once

// Aligned, zero-filled memory for arenas and scratch space.

#include <cstddef>
#include <cstring>
#include <new>
#include <utility>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace slim {

/// Owns `size()` bytes of zero-filled memory. Small buffers are aligned to a cache line (64 bytes),
/// buffers of 2 MiB or more to a huge page, which the system is asked to use. Move-only.
/// The constructor throws std::bad_alloc if there is no memory left.
class aligned_buffer {
 public:
  static constexpr std::size_t line = 64;
  static constexpr std::size_t huge_page = std::size_t{2} << 20;

  aligned_buffer() = default;
  explicit aligned_buffer(std::size_t bytes)
      : data_(bytes == 0 ? nullptr : allocate(bytes)), size_(bytes) {}
  aligned_buffer(aligned_buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  aligned_buffer& operator=(aligned_buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~aligned_buffer() {
    if (data_ != nullptr) ::operator delete (data_, std::align_val_t{alignment(size_)});
  }

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  static constexpr std::size_t alignment(std::size_t bytes) {
    return bytes < huge_page ? line : huge_page;
  }

  static std::byte* allocate(std::size_t bytes) {
    void* data = ::operator new (bytes, std::align_val_t{alignment(bytes)});
#ifdef __linux__
    if (bytes >= huge_page) madvise(data, bytes, MADV_HUGEPAGE);  // only a wish: may fail
#endif
    return static_cast<std::byte*>(std::memset(data, 0, bytes));
  }

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace slim
