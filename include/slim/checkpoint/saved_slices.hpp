// TensorFlow's V1 checkpoints: one table that holds the tensors themselves, each a message under
// the key of its slice. A sharded one is several such files.
#pragma once

#include <map>

#include "slices.hpp"
#include "table.hpp"
#include "tensor_reader.hpp"

namespace slim::detail {

/// The field of TensorProto that holds elements of a type, and whether they are varints there.
struct typed_field {
  int id = 0;
  bool varints = false;
};
constexpr typed_field field_of(tensor_type type) {
  switch (type) {
    case tensor_type::float32:
      return {5, false};
    case tensor_type::float64:
      return {6, false};
    case tensor_type::int32:
    case tensor_type::int16:
    case tensor_type::int8:
    case tensor_type::uint16:
    case tensor_type::uint8:
      return {7, true};
    case tensor_type::string:
      return {8, false};
    case tensor_type::int64:
      return {10, true};
    case tensor_type::boolean:
      return {11, true};
    case tensor_type::float16:
    case tensor_type::bfloat16:
      return {13, true};
    case tensor_type::uint32:
      return {16, true};
    case tensor_type::uint64:
      return {17, true};
    default:
      return {};
  }
}

/// V1 files as an archive. Opening verifies every byte of them.
class saved_slices_archive : public tensor_archive {
 public:
  struct source {
    byte_span bytes{};
    std::string file{};
    std::shared_ptr<const void> owner{};  // of the bytes; may be null
  };

  /// Throws checkpoint_error.
  saved_slices_archive(std::string file, std::vector<source> sources)
      : tensor_archive(std::move(file)), sources_(std::move(sources)) {
    std::map<std::string, described> described_tensors;
    for (const source& s : sources_) read_table(s, described_tensors);
    std::vector<std::pair<tensor_info, std::vector<stored_slice>>> found;
    for (auto& [name, d] : described_tensors)
      found.emplace_back(tensor_info{name, d.type, std::move(d.dims)}, std::move(d.slices));
    keep(found, slices_);
  }

  std::vector<tensor_piece> pieces(const tensor_info& tensor) const override {
    const std::vector<stored_slice>& stored = slices_[index_of(tensor)];
    std::vector<tensor_slice> shapes;
    for (const stored_slice& s : stored) shapes.push_back(s.slice);
    const std::optional<std::vector<row_range>> ranges = ranges_of(tensor.dims, shapes);
    if (!ranges) fail(tensor.name, "its slices do not make up " + text_of(tensor.dims));
    std::vector<tensor_piece> pieces;
    for (std::size_t i = 0; i < stored.size(); ++i)
      pieces.push_back(piece(tensor, stored[i].value, (*ranges)[i]));
    return pieces;
  }

  std::vector<std::string> strings(const tensor_info& tensor) const override {
    const std::vector<stored_slice>& stored = slices_[index_of(tensor)];
    if (stored.size() != 1) fail(tensor.name, "is a partitioned tensor of strings");
    std::vector<std::string> out;
    wire_message m(tensor_in(tensor, stored[0].value));
    for (wire_field f; m.next(f);)
      if (f.id == field_of(tensor_type::string).id) out.emplace_back(characters(f.bytes));
    if (!m.good() || static_cast<std::int64_t>(out.size()) != tensor.count())
      fail(tensor.name, "has not as many strings as its shape says");
    return out;
  }

 private:
  struct stored_slice {
    tensor_slice slice{};
    table_value value{};  // SavedTensorSlices
  };
  struct described {
    tensor_type type = tensor_type::unknown;
    stored_shape dims{};
    std::vector<stored_slice> slices{};
  };
  using values_by_key = std::vector<std::pair<std::string, table_value>>;

  void read_table(const source& s, std::map<std::string, described>& all) const {
    values_by_key values;
    sorted_table(s.bytes, s.file).for_each([&](const std::string& key, const table_value& value) {
      values.emplace_back(key, value);
    });
    if (values.empty() || !values[0].first.empty())
      throw checkpoint_error(s.file, "", "no header: not a checkpoint");
    bool described_any = false;
    wire_message m(values[0].second.bytes);
    for (wire_field f; m.next(f);)
      if (f.id == 1) {
        read_meta(s, f.bytes, values, all);
        described_any = true;
      }
    if (!m.good() || !described_any) throw checkpoint_error(s.file, "", "malformed header");
  }

  /// SavedTensorSliceMeta: what there is.
  void read_meta(const source& s, byte_span meta, const values_by_key& values,
                 std::map<std::string, described>& all) const {
    wire_message m(meta);
    for (wire_field f; m.next(f);)
      if (f.id == 1) read_tensor(s, f.bytes, values, all);
    if (!m.good()) throw checkpoint_error(s.file, "", "malformed header");
  }

  /// SavedSliceMeta: a tensor and its slices in this file.
  void read_tensor(const source& s, byte_span bytes, const values_by_key& values,
                   std::map<std::string, described>& all) const {
    std::string name;
    tensor_type type = tensor_type::unknown;
    std::optional<stored_shape> dims = stored_shape{};
    std::vector<tensor_slice> slices;
    wire_message m(bytes);
    for (wire_field f; m.next(f) && dims;) {
      if (f.id == 1) name = characters(f.bytes);
      if (f.id == 2) dims = parse_shape(f.bytes);
      if (f.id == 3) type = static_cast<tensor_type>(f.number & 0xFFFF);
      if (f.id != 4) continue;
      std::optional<tensor_slice> slice = parse_slice(f.bytes);
      if (!slice) throw checkpoint_error(s.file, name, "malformed slice");
      slices.push_back(std::move(*slice));
    }
    if (!m.good() || !dims) throw checkpoint_error(s.file, name, "malformed description");
    described& d = all[name];
    if (!d.slices.empty() && (d.type != type || d.dims != *dims))
      throw checkpoint_error(s.file, name, "has another type or shape in another shard");
    d.type = type, d.dims = std::move(*dims);
    for (tensor_slice& slice : slices) {
      const std::string key = slice_key(name, slice);
      const auto at =
          std::lower_bound(values.begin(), values.end(), key,
                           [](const auto& entry, const std::string& k) { return entry.first < k; });
      if (at == values.end() || at->first != key)
        throw checkpoint_error(s.file, name, "its values are missing");
      d.slices.push_back({std::move(slice), at->second});
    }
  }

  /// The TensorProto in a SavedTensorSlices.
  byte_span tensor_in(const tensor_info& tensor, const table_value& value) const {
    byte_span found{};
    bool good = true;
    wire_message m(value.bytes);
    for (wire_field f; m.next(f);) {
      if (f.id != 2) continue;
      wire_message slice(f.bytes);
      for (wire_field g; slice.next(g);)
        if (g.id == 3) found = g.bytes;
      good = good && slice.good();
    }
    if (!good || !m.good()) fail(tensor.name, "malformed values");
    return found;
  }

  tensor_piece piece(const tensor_info& tensor, const table_value& value,
                     const row_range& r) const {
    const typed_field field = field_of(tensor.type);
    byte_span elements{};
    wire_message m(tensor_in(tensor, value));
    for (wire_field f; m.next(f);)
      if (f.id == field.id) elements = f.bytes;
    if (!m.good()) fail(tensor.name, "malformed values");
    const auto count = static_cast<std::size_t>(r.count(tensor.dims));
    const auto width = static_cast<std::size_t>(size_of(tensor.type));
    tensor_piece out{elements, value.owner, r.axis, r.start, r.rows};
    if (field.varints) {
      if (count > elements.size()) wrong_count(tensor, r);  // before room for them is made
      auto raw = decoded(elements, width);
      out.bytes = *raw, out.owner = std::move(raw);
    }
    if (out.bytes.size() != count * width) wrong_count(tensor, r);
    return out;
  }

  [[noreturn]] void wrong_count(const tensor_info& tensor, const row_range& r) const {
    fail(tensor.name, "has not the " + std::to_string(r.count(tensor.dims)) + " values of type " +
                          name_of(tensor.type) + " that its shape says");
  }

  /// Varints as elements of some bytes each; fewer if the varints are malformed.
  static std::shared_ptr<std::vector<std::byte>> decoded(byte_span varints, std::size_t width) {
    auto raw = std::make_shared<std::vector<std::byte>>();
    wire_stream s(varints);
    while (!s.at_end()) {
      const std::uint64_t v = s.varint();
      if (!s.good()) break;
      const byte_span low = std::as_bytes(std::span(&v, 1)).first(width);  // little-endian
      raw->insert(raw->end(), low.begin(), low.end());
    }
    return raw;
  }

  std::vector<source> sources_;
  std::vector<std::vector<stored_slice>> slices_;  // as tensors()
};

}  // namespace slim::detail
