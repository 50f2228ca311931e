// Puts good checksums into damaged tables, so that damage reaches what lies behind the checksums.
// Lenient where the library is strict: what does not hang together is left as it is.
#pragma once

#include <cstring>
#include <functional>
#include <vector>

#include <slim/checkpoint/bundle.hpp>

namespace slim_test {

using slim::detail::byte_span;
using slim::detail::wire_stream;
using byte_vector = std::vector<std::byte>;

struct span_of_file {
  std::size_t offset, size;
};

/// The handle that a stream stands at, if a block of the file can lie there.
inline std::optional<span_of_file> block_at(wire_stream& s, std::size_t file_size) {
  const std::uint64_t offset = s.varint(), size = s.varint();
  if (!s.good() || offset > file_size || size > file_size || offset + size + 5 > file_size)
    return std::nullopt;
  return span_of_file{offset, size};
}

/// f(value) for each entry of an uncompressed block, as offsets into the file.
inline void for_each_value(const byte_vector& file, span_of_file block,
                           const std::function<void(span_of_file)>& f) {
  const byte_span contents = byte_span(file).subspan(block.offset, block.size);
  wire_stream s(contents);
  while (!s.at_end()) {
    s.varint();
    const std::uint64_t own = s.varint(), length = s.varint();
    s.take(own);
    const std::size_t at = s.position();
    s.take(length);
    if (!s.good()) return;
    f({block.offset + at, length});
  }
}

/// The metaindex and the index, if the footer names them.
inline std::vector<std::optional<span_of_file>> index_blocks(const byte_vector& file) {
  if (file.size() < 48) return {std::nullopt, std::nullopt};
  wire_stream footer(byte_span(file).last(48));
  const auto metaindex = block_at(footer, file.size() - 48);
  return {metaindex, block_at(footer, file.size() - 48)};
}

/// The blocks that the index names.
inline std::vector<span_of_file> data_blocks(const byte_vector& file) {
  std::vector<span_of_file> blocks;
  const std::optional<span_of_file> index = index_blocks(file)[1];
  if (!index) return blocks;
  for_each_value(file, *index, [&](span_of_file value) {
    wire_stream s(byte_span(file).subspan(value.offset, value.size));
    if (const auto block = block_at(s, file.size() - 48)) blocks.push_back(*block);
  });
  return blocks;
}

inline void store(byte_vector& file, std::size_t at, std::uint32_t value) {
  std::memcpy(file.data() + at, &value, sizeof value);
}

/// Good checksums behind every block of a table.
inline void reforge_table(byte_vector& file) {
  std::vector<span_of_file> blocks = data_blocks(file);
  for (const auto& index : index_blocks(file))
    if (index) blocks.push_back(*index);
  for (const span_of_file& b : blocks)
    store(file, b.offset + b.size + 1,
          slim::detail::masked_crc32c(byte_span(file).subspan(b.offset, b.size + 1)));
}

/// Good checksums in every entry of a bundle's index, for these bytes of its shards, and in the
/// index itself.
inline void reforge_bundle(byte_vector& index, byte_span shard) {
  for (const span_of_file& block : data_blocks(index)) {
    std::vector<std::pair<std::size_t, std::uint32_t>> repairs;
    for_each_value(index, block, [&](span_of_file value) {
      const byte_span bytes = byte_span(index).subspan(value.offset, value.size);
      const auto entry = slim::detail::bundle_entry::parse(bytes);
      // The checksum's tag; a lucky other byte of that value does no harm.
      const auto tag = std::find(bytes.begin(), bytes.end(), std::byte{0x35});
      const std::size_t at = static_cast<std::size_t>(tag - bytes.begin()) + 1;
      if (!entry || at + 4 > bytes.size() || entry->offset > shard.size() ||
          entry->size > shard.size() - entry->offset)
        return;
      repairs.emplace_back(value.offset + at,
                           slim::detail::masked_crc32c(shard.subspan(entry->offset, entry->size)));
    });
    for (const auto& [at, crc] : repairs) store(index, at, crc);
  }
  reforge_table(index);
}

/// f(T{}) for the element type of a tensor of numbers; bools are read as bytes.
template <class F>
void with_element(slim::tensor_type type, F f) {
  const auto one_of = [&]<class... T>(T... zero) {
    bool found = false;
    ((slim::type_of<T>() == type ? (found = true, f(zero)) : void()), ...);
    if (!found) f(float{});  // which is refused, unless it is a float
  };
  if (type == slim::tensor_type::boolean) return f(std::uint8_t{});
  one_of(double{}, std::int8_t{}, std::int16_t{}, std::int32_t{}, std::int64_t{}, std::uint8_t{},
         std::uint16_t{}, std::uint32_t{}, std::uint64_t{}, Eigen::half{}, Eigen::bfloat16{});
}

/// Reads everything there is in a file; what it cannot read must be refused by a checkpoint_error.
/// Returns the number of tensors read.
inline int read_all(const slim::tensor_reader& reader) {
  int read = 0;
  for (const slim::tensor_info& t : reader.tensors()) {
    try {
      if (t.type == slim::tensor_type::string)
        reader.read_strings(t.name);
      else
        with_element(t.type, [&]<class T>(T) { reader.read<T>(t.name); });
      if (slim::is_floating(t.type)) reader.read<double>(t.name);  // converted
      ++read;
    } catch (const slim::checkpoint_error&) {
    }
  }
  return read;
}

}  // namespace slim_test
