// A safetensors file. The size of its header is made to fit, as checksums are in other formats.
#include <slim/safetensors.hpp>

#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  slim_fuzz::byte_vector file = slim_fuzz::bytes_of(data, size);
  std::uint64_t header = 0;
  if (size >= 8) {
    std::memcpy(&header, file.data(), 8);
    header %= size - 7;
    std::memcpy(file.data(), &header, 8);
  }
  return slim_fuzz::survive([&] { return slim::safetensors_reader(file, "fuzz"); });
}
