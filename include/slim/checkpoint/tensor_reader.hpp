// Files of named tensors: names, types, shapes, and values on request, whatever the format.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>

#include "../memory.hpp"
#include "tensor_types.hpp"

namespace slim {

namespace detail {

/// Raw elements of a tensor that lie together: all of it, or rows [start, start + rows) of one
/// axis.
struct tensor_piece {
  byte_span bytes{};                    // little-endian, row-major
  std::shared_ptr<const void> owner{};  // of bytes that are not the file's own
  std::size_t axis = 0;
  std::int64_t start = 0, rows = 0;
  bool mapped = false;  // the bytes are those of a mapped file
};

/// What a format knows of a file: its tensors in the order of names, and their verified bytes.
/// Threads may share one.
class tensor_archive {
 public:
  virtual ~tensor_archive() = default;
  const std::string& file() const { return file_; }
  const std::vector<tensor_info>& tensors() const { return tensors_; }

  /// The pieces that together are the tensor, one of ours. Throws checkpoint_error if its bytes are
  /// not what the file promised.
  virtual std::vector<tensor_piece> pieces(const tensor_info& tensor) const = 0;
  /// The elements of a tensor of strings. Throws checkpoint_error.
  virtual std::vector<std::string> strings(const tensor_info& tensor) const = 0;

 protected:
  explicit tensor_archive(std::string file) : file_(std::move(file)) {}
  [[noreturn]] void fail(const std::string& variable, const std::string& fault) const {
    throw checkpoint_error(file_, variable, fault);
  }
  /// The number of a tensor in tensors().
  std::size_t index_of(const tensor_info& tensor) const {
    return static_cast<std::size_t>(&tensor - tensors_.data());
  }
  /// To be called once: sorts what was found, and refuses names that occur twice.
  template <class Entry>
  void keep(std::vector<std::pair<tensor_info, Entry>>& found, std::vector<Entry>& entries) {
    std::sort(found.begin(), found.end(),
              [](const auto& a, const auto& b) { return a.first.name < b.first.name; });
    for (auto& [info, entry] : found) {
      if (!tensors_.empty() && tensors_.back().name == info.name) fail(info.name, "is there twice");
      tensors_.push_back(std::move(info));
      entries.push_back(std::move(entry));
    }
  }

 private:
  std::string file_;
  std::vector<tensor_info> tensors_;
};

/// Whether a tensor of this type can be read as Ts: any float as any other, bools as bytes, all
/// others as themselves.
template <class T>
constexpr bool converts_to(tensor_type type) {
  if (std::is_floating_point_v<T>) return is_floating(type);
  return type == type_of<T>() || (std::is_same_v<T, std::uint8_t> && type == tensor_type::boolean);
}

template <class Stored, class T>
void convert_elements(const std::byte* from, std::int64_t count, T* to) {
  if constexpr (std::is_same_v<Stored, T>) {
    if (count > 0) std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(T));
  } else {
    for (std::int64_t i = 0; i < count; ++i, from += sizeof(Stored)) {
      Stored element;  // what lies in a file is not aligned
      std::memcpy(&element, from, sizeof(Stored));
      to[i] = static_cast<T>(element);
    }
  }
}

/// Elements of a type that converts to T.
template <class T>
void read_elements(tensor_type type, const std::byte* from, std::int64_t count, T* to) {
  if constexpr (std::is_floating_point_v<T>) {
    switch (type) {
      case tensor_type::float32:
        return convert_elements<float>(from, count, to);
      case tensor_type::float64:
        return convert_elements<double>(from, count, to);
      case tensor_type::float16:
        return convert_elements<Eigen::half>(from, count, to);
      default:
        return convert_elements<Eigen::bfloat16>(from, count, to);
    }
  } else {
    convert_elements<T>(from, count, to);
  }
}

/// Elements that are contiguous in a piece and in its tensor.
template <class T>
struct copy_job {
  tensor_type type = tensor_type::unknown;
  const std::byte* from = nullptr;
  std::int64_t count = 0;
  T* to = nullptr;
  bool mapped = false;

  void run() const { read_elements(type, from, count, to); }
  /// Lets go of the pages it read, so that a file and its copy are not in memory both.
  void drop_source() const {
    if (mapped) drop_pages(from, static_cast<std::size_t>(count * size_of(type)));
  }
};

/// Cuts the copying of a tensor from its pieces to `to` into jobs of at most `most` elements.
template <class T>
void add_copy_jobs(const tensor_info& t, const std::vector<tensor_piece>& pieces, T* to,
                   std::int64_t most, std::vector<copy_job<T>>& jobs) {
  for (const tensor_piece& p : pieces) {
    // Seen from the axis a piece is part of, a tensor is [outer, extent, inner].
    std::int64_t outer = 1, extent = 1, inner = 1;
    for (std::size_t i = 0; i < t.dims.size(); ++i)
      (i < p.axis ? outer : i == p.axis ? extent : inner) *= t.dims[i];
    const std::int64_t rows = t.dims.empty() ? 1 : p.rows, run = rows * inner;
    const std::byte* from = p.bytes.data();
    if (run == 0) continue;  // an empty tensor may claim any number of empty rows
    for (std::int64_t o = 0; o < outer; ++o) {
      T* const row = to + (o * extent + p.start) * inner;
      for (std::int64_t i = 0, n = 0; i < run; i += n, from += n * size_of(t.type)) {
        n = std::min(most, run - i);
        jobs.push_back({t.type, from, n, row + i, p.mapped});
      }
    }
  }
}

}  // namespace detail

/// A file of named tensors, open for reading; copies share it. Threads may share a reader.
class tensor_reader {
 public:
  /// The file's path, or what it is called in messages.
  const std::string& file() const { return archive_->file(); }
  /// What it holds, in the order of names.
  const std::vector<tensor_info>& tensors() const { return archive_->tensors(); }

  /// Null if there is no such tensor.
  const tensor_info* find(std::string_view name) const {
    const auto& all = tensors();
    const auto at =
        std::lower_bound(all.begin(), all.end(), name,
                         [](const tensor_info& t, std::string_view n) { return t.name < n; });
    return at != all.end() && at->name == name ? &*at : nullptr;
  }
  /// Throws checkpoint_error if there is no such tensor.
  const tensor_info& at(std::string_view name) const {
    const tensor_info* const found = find(name);
    if (found == nullptr)
      throw checkpoint_error(
          file(), std::string(name),
          "is not there (the file holds " + std::to_string(tensors().size()) + " tensors)");
    return *found;
  }

  /// All elements, row-major. Floats of any width are read as float or double, bools as
  /// std::uint8_t, and everything as its own type. Throws checkpoint_error; `to` is written only
  /// once everything was verified.
  template <class T>
  void read(const tensor_info& tensor, std::span<T> to) const {
    if (static_cast<std::int64_t>(to.size()) != tensor.count())
      throw checkpoint_error(
          file(), tensor.name,
          "has " + std::to_string(tensor.count()) + " elements, not " + std::to_string(to.size()));
    copy(tensor, verified<T>(tensor), to.data());
  }
  template <class T>
  std::vector<T> read(std::string_view name) const {
    const tensor_info& tensor = at(name);
    const std::vector<detail::tensor_piece> pieces = verified<T>(tensor);  // before room is made
    std::vector<T> out(static_cast<std::size_t>(tensor.count()));
    copy(tensor, pieces, out.data());
    return out;
  }
  /// The elements of a tensor of strings, row-major. Throws checkpoint_error.
  std::vector<std::string> read_strings(std::string_view name) const {
    const tensor_info& tensor = at(name);
    if (tensor.type != tensor_type::string)
      throw checkpoint_error(file(), tensor.name,
                             "holds " + name_of(tensor.type) + ", not strings");
    return archive_->strings(tensor);
  }

  /// Throws checkpoint_error if the tensor can't be read as Ts.
  template <class T>
  void check_type(const tensor_info& tensor) const {
    if (!detail::converts_to<T>(tensor.type))
      throw checkpoint_error(
          file(), tensor.name,
          "holds " + name_of(tensor.type) + ", which is not read as " + name_of(type_of<T>()));
  }
  /// The verified bytes of a tensor to be read as Ts; for those who copy by themselves.
  template <class T>
  std::vector<detail::tensor_piece> verified(const tensor_info& tensor) const {
    check_type<T>(tensor);
    return archive_->pieces(tensor);
  }

 protected:
  explicit tensor_reader(std::shared_ptr<const detail::tensor_archive> archive)
      : archive_(std::move(archive)) {}

 private:
  template <class T>
  static void copy(const tensor_info& tensor, const std::vector<detail::tensor_piece>& pieces,
                   T* to) {
    std::vector<detail::copy_job<T>> jobs;
    detail::add_copy_jobs(tensor, pieces, to, tensor.count(), jobs);
    for (const detail::copy_job<T>& job : jobs) job.run();
  }

  std::shared_ptr<const detail::tensor_archive> archive_;
};

}  // namespace slim
