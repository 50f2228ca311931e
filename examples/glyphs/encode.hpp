// Images as the bytes of a PNG or JPEG file.
#pragma once

#include <csetjmp>
#include <cstdint>
#include <cstdio>  // jpeglib.h needs FILE and size_t
#include <cstdlib>
#include <string>
#include <vector>

#include <jpeglib.h>
#include <png.h>

#include <slim/image.hpp>

namespace glyphs {

/// Of 8 bits; element [y, x, c] is pixels[(y * size + x) * channels + c].
struct picture {
  int size = 0;
  int channels = 1;  ///< 1: grey, 3: RGB
  std::vector<std::uint8_t> pixels{};
};

/// Throws slim::image_error.
inline std::string encode_png(const picture& p) {
  png_image out{};
  out.version = PNG_IMAGE_VERSION;
  out.width = out.height = static_cast<png_uint_32>(p.size);
  out.format = p.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  out.flags = PNG_IMAGE_FLAG_FAST;  // what noise costs is not worth a search for repetitions
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(out);
  std::string file(bytes, '\0');
  if (!png_image_write_to_memory(&out, file.data(), &bytes, 0, p.pixels.data(), 0, nullptr))
    throw slim::image_error(std::string("cannot be made a PNG: ") + out.message);
  file.resize(bytes);
  return file;
}

namespace detail {

/// libjpeg reports errors by longjmp: run() holds trivial locals only, so that no destructor is
/// skipped.
class jpeg_encoder {
 public:
  jpeg_encoder() {
    state_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = [](j_common_ptr state) {
      auto* errors = reinterpret_cast<error_manager*>(state->err);
      state->err->format_message(state, errors->message);
      std::longjmp(errors->jump, 1);
    };
  }
  jpeg_encoder(const jpeg_encoder&) = delete;
  jpeg_encoder& operator=(const jpeg_encoder&) = delete;
  ~jpeg_encoder() {
    jpeg_destroy_compress(&state_);
    std::free(bytes_);
  }

  std::string encode(const picture& p, int quality) {
    if (!run(p, quality))
      throw slim::image_error(std::string("cannot be made a JPEG: ") + errors_.message);
    return {reinterpret_cast<const char*>(bytes_), size_};
  }

 private:
  struct error_manager {
    jpeg_error_mgr base{};  // first: libjpeg's pointer to it is a pointer to the whole
    std::jmp_buf jump{};
    char message[JMSG_LENGTH_MAX]{};
  };

  bool run(const picture& p, int quality) noexcept {
    if (setjmp(errors_.jump) != 0) return false;
    jpeg_create_compress(&state_);
    jpeg_mem_dest(&state_, &bytes_, &size_);
    state_.image_width = state_.image_height = static_cast<JDIMENSION>(p.size);
    state_.input_components = p.channels;
    state_.in_color_space = p.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&state_);
    jpeg_set_quality(&state_, quality, TRUE);
    jpeg_start_compress(&state_, TRUE);
    while (state_.next_scanline < state_.image_height) {
      const std::size_t stride = std::size_t(p.size) * std::size_t(p.channels);
      // libjpeg reads only.
      auto* row = const_cast<JSAMPLE*>(p.pixels.data() + stride * state_.next_scanline);
      jpeg_write_scanlines(&state_, &row, 1);
    }
    jpeg_finish_compress(&state_);
    return true;
  }

  jpeg_compress_struct state_{};
  error_manager errors_{};
  unsigned char* bytes_ = nullptr;
  unsigned long size_ = 0;
};

}  // namespace detail

/// Quality as libjpeg's, of 100. Throws slim::image_error.
inline std::string encode_jpeg(const picture& p, int quality) {
  return detail::jpeg_encoder().encode(p, quality);
}

}  // namespace glyphs
