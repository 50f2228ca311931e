// A JPEG or PNG of at most a million pixels.
#include <slim/image.hpp>

#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    slim::decode_image(std::as_bytes(std::span(data, size)), "fuzz", 1'000'000);
  } catch (const slim::image_error&) {
  }
  return 0;
}
