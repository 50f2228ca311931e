// TensorFlow's V2 checkpoints, "bundles": a table of what there is (PREFIX.index), and the tensors'
// bytes in shards (PREFIX.data-00000-of-00001).
#pragma once

#include "slices.hpp"
#include "table.hpp"
#include "tensor_reader.hpp"

namespace slim::detail {

/// BundleEntryProto: a tensor, or a slice of one.
struct bundle_entry {
  tensor_type type = tensor_type::unknown;
  stored_shape dims{};
  std::uint64_t shard = 0, offset = 0, size = 0;
  std::uint32_t crc = 0;
  std::vector<tensor_slice> slices{};  // not empty: the bytes are under the slices' own keys

  static std::optional<bundle_entry> parse(byte_span bytes) {
    bundle_entry e;
    wire_message m(bytes);
    for (wire_field f; m.next(f);) {
      switch (f.id) {
        case 1:
          e.type = static_cast<tensor_type>(f.number & 0xFFFF);
          break;
        case 2: {
          std::optional<stored_shape> dims = parse_shape(f.bytes);
          if (!dims) return std::nullopt;
          e.dims = std::move(*dims);
          break;
        }
        case 3:
          e.shard = f.number;
          break;
        case 4:
          e.offset = f.number;
          break;
        case 5:
          e.size = f.number;
          break;
        case 6:
          e.crc = static_cast<std::uint32_t>(f.number);
          break;
        case 7: {
          std::optional<tensor_slice> slice = parse_slice(f.bytes);
          if (!slice) return std::nullopt;
          e.slices.push_back(std::move(*slice));
          break;
        }
        default:
          break;  // a later version's field
      }
    }
    return m.good() ? std::optional(std::move(e)) : std::nullopt;
  }
};

/// BundleHeaderProto, under the empty key.
struct bundle_header {
  std::uint64_t shards = 0;
  bool big_endian = false;
  std::uint64_t min_consumer = 0;

  static std::optional<bundle_header> parse(byte_span bytes) {
    bundle_header h;
    wire_message m(bytes);
    for (wire_field f; m.next(f);) {
      if (f.id == 1) h.shards = f.number;
      if (f.id == 2) h.big_endian = f.number == 1;
      if (f.id != 3) continue;
      wire_message version(f.bytes);
      for (wire_field v; version.next(v);)
        if (v.id == 2) h.min_consumer = v.number;
      if (!version.good()) return std::nullopt;
    }
    return m.good() ? std::optional(h) : std::nullopt;
  }
};

/// The index of a bundle: everything but the tensors' bytes.
class bundle_index {
 public:
  static constexpr std::uint64_t version = 1;  // of the format, that we read and write

  /// Throws checkpoint_error. The bytes are not needed afterwards.
  bundle_index(byte_span bytes, const std::string& file) {
    bool headed = false;
    sorted_table(bytes, file).for_each([&](const std::string& key, const table_value& value) {
      if (!headed) {
        read_header(key, value.bytes, file);
        headed = true;
      } else if (std::optional<bundle_entry> e = bundle_entry::parse(value.bytes)) {
        // A slice's key starts with a zero, and a name does not.
        (key[0] == '\0' ? slices : tensors).emplace_back(key, std::move(*e));
      } else {
        throw checkpoint_error(file, key[0] == '\0' ? "" : key, "malformed entry in the index");
      }
    });
    if (!headed) throw checkpoint_error(file, "", "is an empty table: no checkpoint");
  }

  std::uint64_t shards = 0;
  std::vector<std::pair<std::string, bundle_entry>> tensors, slices;  // by key, in order

 private:
  void read_header(const std::string& key, byte_span value, const std::string& file) {
    const std::optional<bundle_header> h = bundle_header::parse(value);
    if (!key.empty() || !h) throw checkpoint_error(file, "", "no header: not a checkpoint's index");
    if (h->big_endian) throw checkpoint_error(file, "", "is big-endian, which is not read");
    if (h->min_consumer > version)
      throw checkpoint_error(
          file, "",
          "needs readers of version " + std::to_string(h->min_consumer) + ", this is version 1");
    shards = h->shards;
  }
};

/// A bundle as an archive.
class bundle_archive : public tensor_archive {
 public:
  /// Each shard's bytes, and what it is called. `mapping` keeps those of a mapped file alive; it is
  /// null for bytes of the caller's.
  struct shard {
    byte_span bytes{};
    std::string file{};
    std::shared_ptr<const void> mapping{};
  };

  bundle_archive(bundle_index index, std::string file, std::vector<shard> shards)
      : tensor_archive(std::move(file)),
        shards_(std::move(shards)),
        slices_(std::move(index.slices)) {
    std::vector<std::pair<tensor_info, bundle_entry>> found;
    for (auto& [name, entry] : index.tensors) {
      check(name, entry);
      found.emplace_back(tensor_info{name, entry.type, entry.dims}, std::move(entry));
    }
    keep(found, entries_);
  }

  std::vector<tensor_piece> pieces(const tensor_info& tensor) const override {
    const bundle_entry& entry = entries_[index_of(tensor)];
    if (entry.slices.empty()) {
      const row_range all = whole_of(entry.dims);
      return {piece(tensor, entry, all)};
    }
    const std::optional<std::vector<row_range>> ranges = ranges_of(entry.dims, entry.slices);
    if (!ranges) fail(tensor.name, "its slices do not make up " + text_of(entry.dims));
    std::vector<tensor_piece> pieces;
    for (std::size_t i = 0; i < ranges->size(); ++i)
      pieces.push_back(piece(tensor, slice(tensor, entry.slices[i]), (*ranges)[i]));
    return pieces;
  }

  std::vector<std::string> strings(const tensor_info& tensor) const override {
    const bundle_entry& entry = entries_[index_of(tensor)];
    if (!entry.slices.empty()) fail(tensor.name, "is a partitioned tensor of strings");
    const byte_span bytes = bytes_of(tensor.name, entry);
    wire_stream s(bytes);
    std::vector<std::uint64_t> lengths;
    std::uint32_t crc = 0;
    for (std::int64_t i = 0; i < tensor.count() && s.good(); ++i) {
      lengths.push_back(s.varint());
      crc = extend_crc32c(crc, static_cast<std::uint32_t>(lengths.back()));
    }
    const std::uint32_t lengths_crc = s.fixed32();
    if (!s.good() || lengths_crc != masked(crc)) fail(tensor.name, "wrong checksum of its lengths");
    crc = extend_crc32c(crc, lengths_crc);
    crc = extend_crc32c(crc, bytes.subspan(s.position()));
    if (masked(crc) != entry.crc) fail(tensor.name, "wrong checksum");
    std::vector<std::string> out;
    for (std::uint64_t n : lengths) out.emplace_back(characters(s.take(n)));
    if (!s.good() || !s.at_end()) fail(tensor.name, "its strings do not fill its bytes");
    return out;
  }

 private:
  /// Whether an entry's bytes can be what its type and shape say.
  void check(const std::string& name, const bundle_entry& e) const {
    if (!e.slices.empty() || size_of(e.type) == 0) return;  // seen to when they are read
    const std::int64_t count = *element_count(e.dims);
    if (static_cast<std::uint64_t>(count) * static_cast<std::uint64_t>(size_of(e.type)) != e.size)
      fail(name, name_of(e.type) + " " + text_of(e.dims) + " cannot be " + std::to_string(e.size) +
                     " bytes");
    bytes_of(name, e);
  }

  byte_span bytes_of(const std::string& name, const bundle_entry& e) const {
    if (e.shard >= shards_.size())
      fail(name,
           "lies in shard " + std::to_string(e.shard) + " of " + std::to_string(shards_.size()));
    const shard& s = shards_[e.shard];
    if (e.offset > s.bytes.size() || e.size > s.bytes.size() - e.offset)
      throw checkpoint_error(s.file, name,
                             "needs bytes " + std::to_string(e.offset) + " to " +
                                 std::to_string(e.offset + e.size) + ", the file has " +
                                 std::to_string(s.bytes.size()) + "; truncated?");
    return s.bytes.subspan(e.offset, e.size);
  }

  tensor_piece piece(const tensor_info& tensor, const bundle_entry& e, const row_range& r) const {
    const auto size = static_cast<std::uint64_t>(r.count(tensor.dims) * size_of(tensor.type));
    if (e.type != tensor.type || e.size != size)
      fail(tensor.name, "a slice of it has another type or size");
    const byte_span bytes = bytes_of(tensor.name, e);
    if (masked_crc32c(bytes) != e.crc)
      throw checkpoint_error(shards_[e.shard].file, tensor.name, "wrong checksum: damaged");
    return {bytes, nullptr, r.axis, r.start, r.rows, shards_[e.shard].mapping != nullptr};
  }

  const bundle_entry& slice(const tensor_info& tensor, const tensor_slice& s) const {
    const std::string key = slice_key(tensor.name, s);
    const auto at =
        std::lower_bound(slices_.begin(), slices_.end(), key,
                         [](const auto& entry, const std::string& k) { return entry.first < k; });
    if (at == slices_.end() || at->first != key) fail(tensor.name, "a slice of it is missing");
    return at->second;
  }

  std::vector<shard> shards_;
  std::vector<bundle_entry> entries_;                         // as tensors()
  std::vector<std::pair<std::string, bundle_entry>> slices_;  // by key, in order
};

}  // namespace slim::detail
