// A V1 checkpoint, its checksums re-forged.
#include <slim/checkpoint/checkpoint_reader.hpp>

#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  slim_fuzz::byte_vector file = slim_fuzz::bytes_of(data, size);
  slim_test::reforge_table(file);
  return slim_fuzz::survive([&] { return slim::checkpoint_reader(file, "fuzz"); });
}
