// A file of records, in the packing that its first byte says. Checksums of an unpacked one are
// re-forged, so that damage gets past them; what its records hold is read as events, too.
#include <slim/data/record_set.hpp>
#include <slim/summaries/event_reader.hpp>

#include "../files.hpp"
#include "fuzz.hpp"

namespace {

using namespace slim;

void reforge_records(slim_fuzz::byte_vector& file) {
  const auto put = [&](std::size_t at, std::uint32_t crc) { std::memcpy(&file[at], &crc, 4); };
  const std::span<const std::byte> bytes(file);
  for (std::size_t at = 0; at + 12 <= file.size();) {
    std::uint64_t length;
    std::memcpy(&length, &file[at], 8);
    put(at + 8, slim::detail::masked_crc32c(bytes.subspan(at, 8)));
    if (file.size() - at < 16 || length > file.size() - at - 16) return;
    put(at + 12 + length, slim::detail::masked_crc32c(bytes.subspan(at + 12, length)));
    at += 16 + length;
  }
}

template <class F>
void survive_record(F f) {
  try {
    f();
  } catch (const data::record_error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  const auto packing = static_cast<data::compression>(bytes[0] % 3);
  slim_fuzz::byte_vector content = slim_fuzz::bytes_of(bytes + 1, size - 1);
  if (packing == data::compression::none) reforge_records(content);
  const slim_test::memory_file file(content);
  survive_record([&] {
    data::record_reader reader(file.path(), packing);
    while (reader.next()) {
    }
  });
  for (const auto corrupt : {data::on_corrupt::stop, data::on_corrupt::skip})
    survive_record([&] {
      const data::record_set set({file.path()}, {packing, corrupt, 1 << 24});
      for (std::int64_t i = 0; i < set.size(); ++i) set.record(i);
    });
  survive_record([&] {
    summaries::event_reader events(file.path());
    while (events.next()) {
    }
  });
  return 0;
}
