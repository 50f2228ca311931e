// Sorted tables in leveldb's format, read where they lie in memory. leveldb's own reader trusts the
// offsets and sizes in a table and allocates what they say; this one takes nothing on trust.
#pragma once

#include <memory>

#include <snappy.h>

#include "crc32c.hpp"
#include "wire.hpp"

namespace slim::detail {

/// Where a block lies in its file.
struct block_handle {
  std::uint64_t offset = 0, size = 0;
};

/// A value in a table, and what keeps its bytes alive if they are not the file's own.
struct table_value {
  byte_span bytes{};
  std::shared_ptr<const std::string> owner{};
};

/// A table: keys in byte order, in blocks with checksums, and an index of the blocks. The bytes
/// must outlive it. Format: leveldb's doc/table_format.md.
class sorted_table {
 public:
  static constexpr std::size_t footer_size = 48, trailer_size = 5;
  static constexpr std::uint64_t magic = 0xdb4775248b80fb57u;

  /// Reads the index. `file` stands in messages. Throws checkpoint_error.
  sorted_table(byte_span bytes, std::string file) : bytes_(bytes), file_(std::move(file)) {
    if (!is_table(bytes_)) damaged("it does not end as a table does; truncated?");
    wire_stream footer(bytes_.last(footer_size));
    block(handle_in(footer));  // the metaindex says nothing, but is part of the file
    const table_value index = block(handle_in(footer));
    std::uint64_t end = 0;  // blocks follow each other: none is read twice
    walk(index.bytes, [&](const std::string&, byte_span value) {
      wire_stream entry(value);
      const block_handle h = handle_in(entry);
      if (h.offset < end) damaged("blocks out of order");
      inside(h);
      end = h.offset + h.size + trailer_size;
      blocks_.push_back(h);
    });
  }

  /// Whether the bytes end as a table does.
  static bool is_table(byte_span bytes) {
    return bytes.size() >= footer_size && wire_stream(bytes.last(8)).fixed64() == magic;
  }

  /// f(key, value) for every entry in the order of keys. Reads, and verifies, every block once.
  /// Throws checkpoint_error.
  template <class F>
  void for_each(F f) const {
    std::optional<std::string> last;
    for (const block_handle& b : blocks_) {
      const table_value contents = block(b);
      walk(contents.bytes, [&](const std::string& key, byte_span value) {
        if (last && key <= *last) damaged("keys out of order");
        last = key;
        f(key, table_value{value, contents.owner});
      });
    }
  }

 private:
  [[noreturn]] void damaged(const std::string& fault) const {
    throw checkpoint_error(file_, "", "damaged table: " + fault);
  }

  block_handle handle_in(wire_stream& s) const {
    const block_handle handle{s.varint(), s.varint()};
    if (!s.good()) damaged("malformed offset or size of a block");
    return handle;
  }

  void inside(block_handle h) const {
    const std::size_t room = bytes_.size() - footer_size;
    if (h.offset > room || h.size > room - h.offset || trailer_size > room - h.offset - h.size)
      damaged("a block of " + std::to_string(h.size) + " bytes at " + std::to_string(h.offset) +
              " lies outside of its " + std::to_string(bytes_.size()) + " bytes");
  }

  /// The contents of a block, verified and uncompressed.
  table_value block(block_handle h) const {
    inside(h);
    const byte_span stored = bytes_.subspan(h.offset, h.size + 1);  // contents and type
    const byte_span crc = bytes_.subspan(h.offset + h.size + 1, 4);
    if (wire_stream(crc).fixed32() != masked_crc32c(stored))
      damaged("wrong checksum of the block at " + std::to_string(h.offset));
    const byte_span contents = stored.first(h.size);
    switch (static_cast<int>(stored.back())) {
      case 0:
        return {contents, nullptr};
      case 1:
        return uncompressed(contents);
      default:
        damaged("unknown compression of the block at " + std::to_string(h.offset));
    }
  }

  table_value uncompressed(byte_span contents) const {
    constexpr std::size_t best_ratio = 22;  // 64 bytes from a copy of 3: snappy can do no better
    const auto* data = reinterpret_cast<const char*>(contents.data());
    std::size_t size = 0;
    const bool plausible = snappy::GetUncompressedLength(data, contents.size(), &size) &&
                           size / best_ratio <= contents.size();
    auto out = std::make_shared<std::string>();
    if (!plausible || !snappy::Uncompress(data, contents.size(), out.get()))
      damaged("a block that snappy cannot uncompress");
    return {bytes_of(*out), out};
  }

  /// f(key, value) for each entry of a block.
  template <class F>
  void walk(byte_span contents, F f) const {
    if (contents.size() < 4) damaged("a block without restarts");
    const std::uint64_t restarts = wire_stream(contents.last(4)).fixed32();
    if (restarts > (contents.size() - 4) / 4) damaged("a block with too many restarts");
    const byte_span entries = contents.first(contents.size() - 4 - 4 * restarts);
    // Keys share prefixes: a small block must not unfold into keys without bound.
    std::size_t room = 64 * contents.size() + 4096;
    wire_stream s(entries);
    for (std::string key; !s.at_end();) {
      const std::uint64_t shared = s.varint(), own = s.varint(), length = s.varint();
      const std::string_view suffix = characters(s.take(own));
      const byte_span value = s.take(length);
      if (!s.good() || shared > key.size()) damaged("malformed entry in a block");
      key.resize(shared);
      key += suffix;
      if (key.size() > room) damaged("keys too long for their block");
      room -= key.size();
      f(std::as_const(key), value);
    }
  }

  byte_span bytes_;
  std::string file_;
  std::vector<block_handle> blocks_;
};

}  // namespace slim::detail
