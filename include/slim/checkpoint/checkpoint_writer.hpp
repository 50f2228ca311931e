// Writes TensorFlow's V2 checkpoints.
#pragma once

#include <filesystem>
#include <map>

#include <leveldb/env.h>
#include <leveldb/table_builder.h>

#include "bundle.hpp"
#include "sync.hpp"
#include "wire_writer.hpp"

namespace slim {

namespace detail {

inline std::string serialized(const stored_shape& dims) {
  wire_writer shape;
  for (const std::int64_t d : dims) {
    wire_writer dim;
    dim.number(1, static_cast<std::uint64_t>(d));
    shape.message(2, dim.bytes());
  }
  return shape.bytes();
}

inline std::string serialized(const bundle_entry& e) {
  wire_writer m;
  m.number(1, static_cast<std::uint64_t>(e.type));
  m.message(2, serialized(e.dims));
  m.number(4, e.offset);
  m.number(5, e.size);
  m.fixed32(6, e.crc);
  return m.bytes();
}

inline std::string bundle_header_of_one_shard() {
  wire_writer version, header;
  version.number(1, bundle_index::version);
  header.number(1, 1);
  header.message(3, version.bytes());
  return header.bytes();
}

/// A file under a temporary name until it is complete.
class temporary_file {
 public:
  /// Throws checkpoint_error, as all its members do.
  explicit temporary_file(std::string path)
      : path_(std::move(path)), temporary_(path_ + ".tempstate") {
    leveldb::WritableFile* file = nullptr;
    check(environment().NewWritableFile(temporary_, &file));
    file_.reset(file);
  }
  temporary_file(const temporary_file&) = delete;
  temporary_file& operator=(const temporary_file&) = delete;
  ~temporary_file() {
    if (!temporary_.empty()) environment().RemoveFile(temporary_);
  }

  leveldb::WritableFile* file() { return file_.get(); }
  void append(byte_span bytes) {
    check(file_->Append({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
  }
  /// Waits until the bytes are on the disk.
  void close() {
    check(file_->Sync());
    check(file_->Close());
    file_.reset();
  }
  /// Gives the file its own name, in place of what had it before.
  void publish() {
    check(environment().RenameFile(temporary_, path_));
    temporary_.clear();
  }
  void check(const leveldb::Status& s) const {
    if (!s.ok()) throw checkpoint_error(path_, "", "cannot be written: " + s.ToString());
  }

 private:
  static leveldb::Env& environment() { return *leveldb::Env::Default(); }

  std::string path_, temporary_;
  std::unique_ptr<leveldb::WritableFile> file_;
};

}  // namespace detail

/// Writes a checkpoint that TensorFlow's Saver restores:
///
///   checkpoint_writer writer("logdir/model.ckpt-100");
///   writer.add("conv1/biases", {64}, std::span<const float>(biases));
///   writer.finish();
///
/// Nothing is seen under the prefix until finish(), and nothing is left behind without it. Every
/// member throws checkpoint_error if the files cannot be written.
class checkpoint_writer {
 public:
  explicit checkpoint_writer(const std::string& prefix)
      : prefix_(prefix), data_(prefix + ".data-00000-of-00001"), index_(prefix + ".index") {}

  /// A tensor of numbers, row-major. Throws checkpoint_error if the name is taken or empty, or the
  /// elements are not as many as the shape says.
  template <class T>
  void add(const std::string& name, const stored_shape& dims, std::span<const T> elements) {
    constexpr tensor_type type = type_of<T>();
    static_assert(size_of(type) > 0, "elements must be numbers of a fixed width, or bools");
    const std::optional<std::int64_t> count = element_count(dims);
    if (!count || static_cast<std::uint64_t>(*count) != elements.size())
      throw checkpoint_error(
          prefix_, name,
          std::to_string(elements.size()) + " elements are not of shape " + text_of(dims));
    const detail::byte_span bytes = std::as_bytes(elements);
    add_entry(name, type, dims, bytes, detail::masked_crc32c(bytes));
  }

  /// A tensor of strings, row-major.
  void add_strings(const std::string& name, const stored_shape& dims,
                   std::span<const std::string> elements);

  /// Makes the checkpoint visible, and waits until it is on the disk.
  void finish() {
    write_index();
    data_.close(), index_.close();
    data_.publish();  // first: an index is there only with its data
    index_.publish();
    const std::filesystem::path folder = std::filesystem::path(prefix_).parent_path();
    detail::sync_to_disk(folder.empty() ? "." : folder.string());  // not every file system can
  }

 private:
  void add_entry(const std::string& name, tensor_type type, const stored_shape& dims,
                 detail::byte_span bytes, std::uint32_t crc) {
    if (name.empty() || name[0] == '\0')
      throw checkpoint_error(prefix_, name, "a tensor needs a name");
    detail::bundle_entry e;
    e.type = type, e.dims = dims, e.offset = offset_, e.size = bytes.size(), e.crc = crc;
    if (!entries_.emplace(name, detail::serialized(e)).second)
      throw checkpoint_error(prefix_, name, "was added twice");
    data_.append(bytes);
    offset_ += bytes.size();
  }

  void write_index() {
    leveldb::Options options;  // these make it TensorFlow's own index, byte for byte
    options.compression = leveldb::kNoCompression;
    options.block_size = 262144;
    leveldb::TableBuilder table(options, index_.file());
    table.Add("", detail::bundle_header_of_one_shard());
    for (const auto& [name, entry] : entries_) table.Add(name, entry);
    index_.check(table.Finish());
  }

  std::string prefix_;
  detail::temporary_file data_, index_;
  std::map<std::string, std::string> entries_;
  std::uint64_t offset_ = 0;
};

inline void checkpoint_writer::add_strings(const std::string& name, const stored_shape& dims,
                                           std::span<const std::string> elements) {
  using namespace detail;
  if (element_count(dims) != static_cast<std::int64_t>(elements.size()))
    throw checkpoint_error(
        prefix_, name,
        std::to_string(elements.size()) + " strings are not of shape " + text_of(dims));
  std::string bytes;
  std::uint32_t crc = 0;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream out(&stream);
    for (const std::string& s : elements) {
      out.WriteVarint64(s.size());
      crc = extend_crc32c(crc, static_cast<std::uint32_t>(s.size()));
    }
    const std::uint32_t lengths = masked(crc);
    out.WriteLittleEndian32(lengths);
    crc = extend_crc32c(crc, lengths);
  }
  for (const std::string& s : elements) {
    bytes += s;
    crc = extend_crc32c(crc, bytes_of(s));
  }
  add_entry(name, tensor_type::string, dims, bytes_of(bytes), masked(crc));
}

}  // namespace slim
