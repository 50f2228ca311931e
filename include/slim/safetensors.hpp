// safetensors files: a header in JSON, then the tensors' bytes. Read from a file or from memory.
//
//   restore(m, safetensors_reader("lenet.safetensors"));
//
// Format: the README of huggingface/safetensors. Needs nlohmann/json, and Boost for the mapping.
#pragma once

#include <nlohmann/json.hpp>

#include "checkpoint/mapped_file.hpp"
#include "restore.hpp"

namespace slim {

namespace detail {

/// A tensor as the header has it.
struct safetensors_entry {
  std::string name{}, dtype{};
  stored_shape dims{};
  std::vector<std::uint64_t> offsets{};  // begin and end, behind the header
  bool has_shape = false;
};

/// Takes the header apart while it is parsed, so that what is not a header stops at once and
/// nothing is built of it. Depth 1 is the object of tensors, 2 a tensor, 3 a list of it.
class safetensors_header : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<safetensors_entry> tensors{};
  std::string fault{};

  bool start_object(std::size_t) override {
    if (depth_ == 2 || in_list_) return refuse("an object where a value was expected");
    ++depth_;
    if (depth_ == 2 && !metadata_) tensors.push_back({.name = key_});
    return true;
  }
  bool end_object() override {
    if (depth_-- == 2 && !metadata_) {
      const safetensors_entry& t = tensors.back();
      if (t.dtype.empty() || !t.has_shape || t.offsets.size() != 2)
        return refuse(t.name + " lacks dtype, shape or two data_offsets");
    }
    return true;
  }
  bool key(std::string& name) override {
    key_ = name;
    if (depth_ == 1) metadata_ = name == "__metadata__";
    return true;
  }
  bool string(std::string& text) override {
    if (depth_ != 2 || in_list_) return refuse("a string where a tensor was expected");
    if (metadata_) return true;
    if (key_ != "dtype" || !tensors.back().dtype.empty()) return refuse("an unexpected string");
    tensors.back().dtype = text;
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ != 2 || metadata_ || in_list_) return refuse("a list where none was expected");
    safetensors_entry& t = tensors.back();
    const bool first = key_ == "shape" ? !t.has_shape : t.offsets.empty();
    if ((key_ != "shape" && key_ != "data_offsets") || !first) return refuse("an unexpected list");
    t.has_shape = t.has_shape || key_ == "shape";
    return in_list_ = true;
  }
  bool end_array() override {
    in_list_ = false;
    return true;
  }
  bool number_unsigned(number_unsigned_t n) override {
    if (!in_list_) return refuse("a number where none was expected");
    constexpr auto most = static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max());
    if (n > most) return refuse("a number too large");
    if (key_ == "shape")
      tensors.back().dims.push_back(static_cast<std::int64_t>(n));
    else
      tensors.back().offsets.push_back(n);
    return true;
  }
  bool number_integer(number_integer_t) override { return refuse("a negative number"); }
  bool number_float(number_float_t, const std::string&) override {
    return refuse("a number that is not whole");
  }
  bool null() override { return refuse("a null"); }
  bool boolean(bool) override { return refuse("a truth value"); }
  bool binary(nlohmann::json::binary_t&) override { return refuse("binary data"); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception&) override {
    return refuse("no JSON at byte " + std::to_string(position));
  }

 private:
  bool refuse(const std::string& what) {
    if (fault.empty()) fault = "malformed header: " + what;
    return false;
  }

  int depth_ = 0;
  bool metadata_ = false;  // the member of depth 1 we are in is __metadata__
  bool in_list_ = false;
  std::string key_{};
};

}  // namespace detail
}  // namespace slim

#if NLOHMANN_JSON_VERSION_MAJOR == 3 && NLOHMANN_JSON_VERSION_MINOR == 11
// sax_parse picks a format at run time, and would bring 50 kB of readers for BSON, CBOR and others
// into every program. A header is JSON; an internal of the library's, so for known versions only.
template <class Json, class Adapter>
class nlohmann::detail::binary_reader<Json, Adapter, slim::detail::safetensors_header> {
 public:
  template <class... Argument>
  explicit binary_reader(Argument&&...) {}
  template <class... Argument>
  bool sax_parse(Argument&&...) {
    return false;
  }
};
#endif

namespace slim {
namespace detail {

/// The type of a name in the header; unknown for those that are listed but not read.
inline tensor_type safetensors_type(std::string_view dtype) {
  for (const tensor_type_row& row : tensor_type_rows)
    if (row.safetensors == dtype && !dtype.empty()) return row.type;
  return tensor_type::unknown;
}

class safetensors_archive : public tensor_archive {
 public:
  safetensors_archive(byte_span bytes, std::string file, std::shared_ptr<const void> owner)
      : tensor_archive(std::move(file)), owner_(std::move(owner)), mapped_(owner_ != nullptr) {
    const byte_span header = header_of(bytes);
    data_ = bytes.subspan(8 + header.size());
    const std::string_view text = characters(header);
    safetensors_header parsed;
    nlohmann::json::sax_parse(text.begin(), text.end(), &parsed);
    if (!parsed.fault.empty()) fail("", parsed.fault);

    std::vector<std::pair<tensor_info, byte_span>> found;
    for (safetensors_entry& e : parsed.tensors)
      found.emplace_back(tensor_info{e.name, safetensors_type(e.dtype), e.dims}, bytes_of(e));
    check_cover(found);
    keep(found, entries_);
  }

  std::vector<tensor_piece> pieces(const tensor_info& tensor) const override {
    return {{entries_[index_of(tensor)], nullptr, 0, 0, tensor.dims.empty() ? 1 : tensor.dims[0],
             mapped_}};
  }
  std::vector<std::string> strings(const tensor_info& tensor) const override {
    fail(tensor.name, "is no tensor of strings");
  }

 private:
  static constexpr std::uint64_t largest_header = 100'000'000;  // the format's own limit

  byte_span header_of(byte_span bytes) const {
    std::uint64_t size = 0;
    if (bytes.size() < 8) fail("", "is too short to be a safetensors file");
    std::memcpy(&size, bytes.data(), 8);
    if (size > largest_header || size > bytes.size() - 8)
      fail("", "its header of " + std::to_string(size) + " bytes does not fit: truncated, or no " +
                   "safetensors file");
    const byte_span header = bytes.subspan(8, size);
    if (size == 0 || header[0] != std::byte{'{'}) fail("", "is not a safetensors file");
    return header;
  }

  byte_span bytes_of(const safetensors_entry& e) const {
    const std::uint64_t begin = e.offsets[0], end = e.offsets[1];
    if (begin > end || end > data_.size())
      fail(e.name, "needs bytes " + std::to_string(begin) + " to " + std::to_string(end) +
                       " behind the header, there are " + std::to_string(data_.size()) +
                       "; truncated?");
    const std::optional<std::int64_t> count = element_count(e.dims);
    const int width = size_of(safetensors_type(e.dtype));
    if (!count || (width > 0 && static_cast<std::uint64_t>(*count * width) != end - begin))
      fail(e.name, e.dtype + " " + text_of(e.dims) + " cannot be " + std::to_string(end - begin) +
                       " bytes");
    return data_.subspan(begin, end - begin);
  }

  /// The format leaves no byte out, and gives none to two tensors.
  void check_cover(const std::vector<std::pair<tensor_info, byte_span>>& found) const {
    std::vector<std::pair<const std::byte*, std::size_t>> parts;
    for (const auto& [info, bytes] : found) parts.emplace_back(bytes.data(), bytes.size());
    std::sort(parts.begin(), parts.end());
    const std::byte* next = data_.data();
    for (const auto& [begin, size] : parts) {
      if (begin != next) fail("", "its tensors overlap, or leave bytes out");
      next += size;
    }
    if (next != data_.data() + data_.size()) fail("", "there are bytes behind its last tensor");
  }

  std::shared_ptr<const void> owner_;  // of a mapping; null: the bytes are the caller's
  bool mapped_;
  byte_span data_{};
  std::vector<byte_span> entries_;  // as tensors()
};

}  // namespace detail

/// A safetensors file, open for reading. The format has no checksums.
class safetensors_reader : public tensor_reader {
 public:
  /// Throws checkpoint_error. The file is mapped and must not shrink meanwhile.
  explicit safetensors_reader(const std::string& path) : tensor_reader(open(path)) {}
  /// In memory that outlives the reader. `name` stands in messages.
  explicit safetensors_reader(std::span<const std::byte> bytes,
                              const std::string& name = "safetensors in memory")
      : tensor_reader(std::make_shared<detail::safetensors_archive>(bytes, name, nullptr)) {}

 private:
  static std::shared_ptr<const detail::tensor_archive> open(const std::string& path) {
    auto file = std::make_shared<detail::mapped_file>(path);
    return std::make_shared<detail::safetensors_archive>(file->bytes(), path, file);
  }
};

}  // namespace slim
