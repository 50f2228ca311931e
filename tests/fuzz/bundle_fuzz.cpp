// The index of a V2 checkpoint, its checksums re-forged, over shards of fixed bytes.
#include <slim/checkpoint/checkpoint_reader.hpp>

#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const slim_fuzz::byte_vector shard = [] {
    slim_fuzz::byte_vector bytes(8192);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * i >> 4);
    return bytes;
  }();
  slim_fuzz::byte_vector index = slim_fuzz::bytes_of(data, size);
  slim_test::reforge_bundle(index, shard);
  return slim_fuzz::survive([&] {
    // As many shards as it wants, up to a few.
    const std::uint64_t shards = slim::detail::bundle_index(index, "index").shards;
    const std::vector<std::span<const std::byte>> given(std::min<std::uint64_t>(shards, 4), shard);
    return slim::checkpoint_reader(index, given, "fuzz");
  });
}
