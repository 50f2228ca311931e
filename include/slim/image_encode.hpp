// Pixels to PNG and JPEG in memory. Link with libjpeg-turbo and libpng.
#pragma once

#include <csetjmp>
#include <cstdio>  // jpeglib.h needs FILE
#include <cstdlib>
#include <memory>
#include <span>
#include <string>

#include <jpeglib.h>
#include <png.h>

#include "image.hpp"

namespace slim {

namespace detail {

/// Throws image_error unless there are as many pixels as the extents say and a format holds them.
inline void check_pixels(std::span<const std::uint8_t> pixels, int height, int width, int channels,
                         bool alpha) {
  const bool known = channels == 1 || channels == 3 || (alpha && channels == 4);
  const auto row = static_cast<std::size_t>(width) * static_cast<std::size_t>(channels);
  if (height < 1 || width < 1 || !known || pixels.size() != static_cast<std::size_t>(height) * row)
    throw image_error("an image of " + std::to_string(height) + "x" + std::to_string(width) + "x" +
                      std::to_string(channels) + " cannot be encoded from " +
                      std::to_string(pixels.size()) + " bytes");
}

struct free_memory {
  void operator()(unsigned char* p) const { std::free(p); }
};

/// libjpeg's way to report: a message, and a jump out of the library.
struct jpeg_fault {
  jpeg_error_mgr base;
  std::jmp_buf back;
  char text[JMSG_LENGTH_MAX];
};

/// Whether it went well. Holds trivial locals only: a jump skips no destructor.
inline bool compress_jpeg(jpeg_compress_struct& state, jpeg_fault& fault,
                          const std::uint8_t* pixels, int quality, unsigned char** bytes,
                          unsigned long* size) {
  if (setjmp(fault.back) != 0) return false;
  jpeg_mem_dest(&state, bytes, size);
  jpeg_set_defaults(&state);
  jpeg_set_quality(&state, quality, TRUE);
  jpeg_start_compress(&state, TRUE);
  const std::size_t row = static_cast<std::size_t>(state.image_width) *
                          static_cast<std::size_t>(state.input_components);
  while (state.next_scanline < state.image_height) {
    auto* line = const_cast<JSAMPROW>(pixels + state.next_scanline * row);
    jpeg_write_scanlines(&state, &line, 1);
  }
  jpeg_finish_compress(&state);
  return true;
}

}  // namespace detail

/// The PNG file of 8-bit pixels [height, width, channels]: 1 grey, 3 RGB, 4 RGBA. Throws
/// image_error.
inline std::string encode_png(std::span<const std::uint8_t> pixels, int height, int width,
                              int channels) {
  detail::check_pixels(pixels, height, width, channels, true);
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  header.width = static_cast<png_uint_32>(width);
  header.height = static_cast<png_uint_32>(height);
  header.format = channels == 1   ? PNG_FORMAT_GRAY
                  : channels == 3 ? PNG_FORMAT_RGB
                                  : PNG_FORMAT_RGBA;
  std::string bytes(PNG_IMAGE_PNG_SIZE_MAX(header), '\0');
  png_alloc_size_t size = bytes.size();
  if (!png_image_write_to_memory(&header, bytes.data(), &size, 0, pixels.data(), 0, nullptr))
    throw image_error(std::string("a PNG cannot be encoded: ") + header.message);
  bytes.resize(size);
  return bytes;
}

/// The JPEG file of 8-bit pixels [height, width, channels]: 1 grey, 3 RGB; quality 1 to 100. Throws
/// image_error.
inline std::string encode_jpeg(std::span<const std::uint8_t> pixels, int height, int width,
                               int channels, int quality = 95) {
  detail::check_pixels(pixels, height, width, channels, false);
  jpeg_compress_struct state{};
  detail::jpeg_fault fault{};
  state.err = jpeg_std_error(&fault.base);
  fault.base.error_exit = [](j_common_ptr c) {
    auto* f = reinterpret_cast<detail::jpeg_fault*>(c->err);  // its first member
    f->base.format_message(c, f->text);
    std::longjmp(f->back, 1);
  };
  jpeg_create_compress(&state);
  state.image_width = static_cast<JDIMENSION>(width);
  state.image_height = static_cast<JDIMENSION>(height);
  state.input_components = channels;
  state.in_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  const bool good = detail::compress_jpeg(state, fault, pixels.data(), quality, &bytes, &size);
  const std::unique_ptr<unsigned char, detail::free_memory> owner(bytes);
  jpeg_destroy_compress(&state);
  if (!good) throw image_error(std::string("a JPEG cannot be encoded: ") + fault.text);
  return {reinterpret_cast<const char*>(bytes), size};
}

}  // namespace slim
