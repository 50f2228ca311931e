#pragma once

// Aligned, zero-filled memory for arenas and scratch space.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace slim {

namespace detail {

/// Takes the whole pages among these bytes, which lie in a mapping, out of memory: those of a file
/// are read from it again when they are needed, all others are zero then.
inline void drop_pages([[maybe_unused]] const std::byte* bytes,
                       [[maybe_unused]] std::size_t size) {
#ifdef __linux__
  static const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes);
  const std::uintptr_t first = (begin + page - 1) / page * page, last = (begin + size) / page * page;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
#endif
}

}  // namespace detail

/// Owns `size()` bytes of zero-filled memory. Small buffers are aligned to a cache line (64 bytes),
/// buffers of 2 MiB or more to a huge page, which the system is asked to use. Move-only.
/// The constructor throws std::bad_alloc if there is no memory left.
class aligned_buffer {
 public:
  static constexpr std::size_t line = 64;
  static constexpr std::size_t huge_page = std::size_t{2} << 20;

  aligned_buffer() = default;
  explicit aligned_buffer(std::size_t bytes) : size_(bytes) {
    if (bytes == 0) return;
    if (bytes < huge_page) {
      data_ = base_ = small(bytes);
    } else {
      reserved_ = round_up(bytes, huge_page) + huge_page;
      base_ = reserve(reserved_);
      data_ = base_ + padding(base_);
    }
  }
  aligned_buffer(aligned_buffer&& other) noexcept { *this = std::move(other); }
  aligned_buffer& operator=(aligned_buffer&& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(data_, other.data_);
    std::swap(reserved_, other.reserved_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~aligned_buffer() { release(base_, reserved_); }

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

  /// Gives the whole pages inside bytes [first, last) back to the system; what lay there reads as
  /// zero from now on. Buffers too small to have pages of their own stay as they are.
  void drop(std::size_t first, std::size_t last) {
    last = std::min(last, size_);
    if (reserved_ > 0 && first < last) detail::drop_pages(data_ + first, last - first);
  }

 private:
  static constexpr std::size_t round_up(std::size_t n, std::size_t unit) {
    return (n + unit - 1) / unit * unit;
  }
  static std::size_t padding(const std::byte* base) {
    const auto address = reinterpret_cast<std::uintptr_t>(base);
    return round_up(address, huge_page) - address;
  }

#ifdef __linux__
  // Fresh pages are zero, and cost nothing until they are touched.
  static std::byte* reserve(std::size_t reserved) {
    void* base =
        mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) throw std::bad_alloc();
    madvise(base, reserved, MADV_HUGEPAGE);  // only a wish: may fail
    return static_cast<std::byte*>(base);
  }
  static void release(std::byte* base, std::size_t reserved) {
    if (reserved == 0)
      ::operator delete(base, std::align_val_t{line});
    else
      munmap(base, reserved);
  }
#else
  static std::byte* reserve(std::size_t reserved) { return small(reserved); }
  static void release(std::byte* base, std::size_t) {
    ::operator delete(base, std::align_val_t{line});
  }
#endif
  static std::byte* small(std::size_t bytes) {
    void* data = ::operator new(bytes, std::align_val_t{line});
    return static_cast<std::byte*>(std::memset(data, 0, bytes));
  }

  std::byte* base_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t reserved_ = 0;  // bytes mapped; 0: a small buffer from operator new
  std::size_t size_ = 0;
};

}  // namespace slim
