// The records of many files by number, for readers that shuffle.
//
//   data::record_set records(data::get_data_files({"train-*"}));
//   for (std::int64_t i = 0; i < records.size(); ++i) use(records.record(i));
//
// Files that are not packed are mapped, and only their records' lengths are read beforehand; packed
// ones are unpacked into memory.
#pragma once

#include <algorithm>
#include <deque>
#include <stdexcept>

#include <glob.h>

#include "../checkpoint/mapped_file.hpp"
#include "tfrecord.hpp"

namespace slim::data {

/// The files that a list of names and patterns stands for: names with *, ? or [ are patterns, whose
/// files come in the order of their names. Throws std::invalid_argument, which names the pattern,
/// if a pattern finds nothing or nothing is given; a plain name need not exist.
inline std::vector<std::string> get_data_files(const std::vector<std::string>& sources) {
  std::vector<std::string> files;
  for (const std::string& source : sources) {
    if (source.find_first_of("*?[") == source.npos) {
      files.push_back(source);
      continue;
    }
    glob_t found{};
    const int status = glob(source.c_str(), 0, nullptr, &found);
    files.insert(files.end(), found.gl_pathv, found.gl_pathv + (status == 0 ? found.gl_pathc : 0));
    globfree(&found);
    if (status != 0) throw std::invalid_argument("no data files match " + source);
  }
  if (files.empty()) throw std::invalid_argument("no data files are given");
  return files;
}

/// What a corrupt record does: end the program's work with a record_error, or be left out.
enum class on_corrupt { stop, skip };

struct record_options {
  compression packing = compression::none;
  /// With `skip` every record is verified beforehand, so that the numbers of the others do not
  /// depend on when a fault is met; what follows a corrupt length in its file is left out, too.
  data::on_corrupt on_corrupt = data::on_corrupt::stop;
  /// Throws record_error when a packed file unpacks to more than this many bytes.
  std::uint64_t max_unpacked_bytes = std::uint64_t{1} << 36;
};

/// Records by number, in the order of the files and of the records in them. Reading is safe from
/// many threads at once.
class record_set {
  using byte_span = slim::detail::byte_span;

 public:
  /// Finds all records. Throws record_error, which names file and byte: at a missing file or a
  /// record whose length is corrupt or reaches past the file's end; unless that is skipped.
  explicit record_set(std::vector<std::string> files, const record_options& options = {})
      : files_(std::move(files)), options_(options) {
    for (std::size_t f = 0; f < files_.size(); ++f) add_file(static_cast<int>(f));
  }
  record_set(record_set&&) = default;

  std::int64_t size() const { return static_cast<std::int64_t>(places_.size()); }
  std::span<const std::string> files() const { return files_; }

  /// A record's bytes, which live as long as the set. Throws record_error if they are corrupt, and
  /// std::out_of_range.
  byte_span record(std::int64_t i) const {
    const place& at = places_.at(static_cast<std::size_t>(i));
    if (!holds(at))
      throw record_error(file_of(at), at.offset,
                         "the record is corrupt (its checksum does not match)");
    return bytes_of(at);
  }
  /// Where it is: "<file>:<byte>".
  std::string key(std::int64_t i) const {
    const place& at = places_.at(static_cast<std::size_t>(i));
    return file_of(at) + ":" + std::to_string(at.offset);
  }
  /// What was left out, and why.
  std::span<const std::string> skipped() const { return skipped_; }

 private:
  struct place {
    int file;
    std::uint64_t offset;  // of the record's length
    std::uint64_t length;  // of its bytes
  };

  void add_file(int f) {
    const std::string& path = files_[static_cast<std::size_t>(f)];
    contents_.push_back(options_.packing == compression::none ? map(path) : unpack(path));
    try {
      add_records(f, path);
    } catch (const record_error& e) {
      if (options_.on_corrupt == on_corrupt::stop) throw;
      skipped_.push_back(e.what());
    }
  }
  void add_records(int f, const std::string& path) {
    byte_span rest = contents_.back().bytes;
    for (std::uint64_t offset = 0; !rest.empty();) {
      const place at{f, offset, checked_length(path, offset, rest)};
      const auto whole = detail::record_header + at.length + detail::record_footer;
      if (options_.on_corrupt == on_corrupt::stop || holds(at))
        places_.push_back(at);
      else
        skipped_.push_back(path + ":" + std::to_string(offset) + ": its checksum does not match");
      rest = rest.subspan(whole), offset += whole;
    }
  }

  static std::uint64_t checked_length(const std::string& path, std::uint64_t offset,
                                      byte_span rest) {
    const char* header = reinterpret_cast<const char*>(rest.data());
    if (rest.size() < detail::record_header)
      throw record_error(path, offset, "the file ends within a record's length");
    if (!detail::header_holds(header))
      throw record_error(path, offset,
                         "the record's length is corrupt (its checksum does not match)");
    const auto length = detail::number_at<std::uint64_t>(header);
    const std::uint64_t room = rest.size() - detail::record_header;
    if (room < detail::record_footer || length > room - detail::record_footer)
      throw record_error(path, offset,
                         "the file ends within a record of " + std::to_string(length) + " bytes");
    return length;
  }

  // A file's bytes, and what holds them.
  struct content {
    std::shared_ptr<const void> owner{};
    byte_span bytes{};
  };
  static content map(const std::string& path) try {
    auto file = std::make_shared<const slim::detail::mapped_file>(path);
    const byte_span bytes = file->bytes();
    return {std::move(file), bytes};
  } catch (const checkpoint_error& e) {
    throw record_error(path, e.fault());
  }
  /// With `skip`, what comes before a fault.
  content unpack(const std::string& path) {
    detail::input_bytes in(path, options_.packing);
    auto all = std::make_shared<std::vector<char>>();
    for (bool more = true; more;) {
      const std::size_t before = all->size();
      all->resize(before + detail::stream_block);
      try {
        more = in.read(all->data() + before, detail::stream_block) == detail::stream_block;
      } catch (const record_error& e) {
        if (options_.on_corrupt == on_corrupt::stop) throw;
        skipped_.push_back(e.what());
        more = false;
      }
      all->resize(in.position());
      if (all->size() > options_.max_unpacked_bytes)
        throw record_error(path, all->size(),
                           "unpacks to more than " + std::to_string(options_.max_unpacked_bytes) +
                               " bytes, which is the limit");
    }
    const byte_span bytes = std::as_bytes(std::span(std::as_const(*all)));
    return {std::move(all), bytes};
  }

  const std::string& file_of(const place& at) const {
    return files_[static_cast<std::size_t>(at.file)];
  }
  byte_span bytes_of(const place& at) const {
    return contents_[static_cast<std::size_t>(at.file)].bytes.subspan(
        at.offset + detail::record_header, at.length);
  }
  bool holds(const place& at) const {
    const byte_span bytes = bytes_of(at);
    const char* footer = reinterpret_cast<const char*>(bytes.data() + bytes.size());
    return slim::detail::masked_crc32c(bytes) == detail::number_at<std::uint32_t>(footer);
  }

  std::vector<std::string> files_;
  record_options options_;
  std::vector<content> contents_;
  std::vector<place> places_;
  std::vector<std::string> skipped_;
};

}  // namespace slim::data
