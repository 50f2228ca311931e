// PNG by libpng.
#pragma once

#include <cstdio>
#include <cstring>
#include <new>
#include <span>

#include <png.h>

#include "pixels.hpp"

namespace slim::detail {

// libpng reports errors by longjmp: see jpeg_decoder.hpp.

/// A PNG read from memory.
class png_decoder {
 public:
  explicit png_decoder(std::span<const std::byte> bytes)
      : left_(bytes), png_(png_create_read_struct(PNG_LIBPNG_VER_STRING, this, &fail, &ignore)) {
    if (png_ == nullptr) throw std::bad_alloc();
    info_ = png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw std::bad_alloc();
    }
  }
  png_decoder(const png_decoder&) = delete;
  png_decoder& operator=(const png_decoder&) = delete;
  ~png_decoder() { png_destroy_read_struct(&png_, &info_, nullptr); }

  pixel_array decode(const decode_options& options) {
    if (!read_header()) throw image_error(std::string("is no valid PNG: ") + message_);
    const std::size_t height = png_get_image_height(png_, info_);
    const std::size_t width = png_get_image_width(png_, info_);
    check_extent(height, width, options.max_pixels);
    if (!set_layout(options.channels))
      throw image_error(std::string("is no valid PNG: ") + message_);
    const std::size_t stride = static_cast<std::size_t>(options.channels) * width;
    if (png_get_rowbytes(png_, info_) != stride) throw image_error("is a PNG of unknown layout");
    pixel_array out = blank_image(height, width, options.channels);
    std::vector<png_bytep> rows(height);
    for (std::size_t y = 0; y < height; ++y) rows[y] = out.pixels.data() + stride * y;
    if (!read_rows(rows.data())) {
      throw image_error(std::string("is a damaged or truncated PNG: ") + message_);
    }
    return out;
  }

 private:
  [[noreturn]] static void fail(png_structp png, png_const_charp message) {
    auto* self = static_cast<png_decoder*>(png_get_error_ptr(png));
    std::snprintf(self->message_, sizeof self->message_, "%s", message);
    png_longjmp(png, 1);
  }
  static void ignore(png_structp, png_const_charp) {}

  static void take(png_structp png, png_bytep out, std::size_t count) {
    auto* self = static_cast<png_decoder*>(png_get_io_ptr(png));
    if (count > self->left_.size()) png_error(png, "the file ends early");
    std::memcpy(out, self->left_.data(), count);
    self->left_ = self->left_.subspan(count);
  }

  bool read_header() noexcept {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_read_fn(png_, this, &take);
    png_read_info(png_, info_);
    return true;
  }

  /// Asks for 8 bits of so many channels whatever is stored.
  bool set_layout(int channels) noexcept {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    const int type = png_get_color_type(png_, info_);
    const bool colour = (type & PNG_COLOR_MASK_COLOR) != 0;
    if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png_);
    if (!colour) png_set_expand_gray_1_2_4_to_8(png_);
    if (!colour && channels > 1) png_set_gray_to_rgb(png_);
    if (colour && channels == 1) png_set_rgb_to_gray(png_, PNG_ERROR_ACTION_NONE, 0.299, 0.587);
    png_set_strip_16(png_);
    if (channels < 4)
      png_set_strip_alpha(png_);
    else if (png_get_valid(png_, info_, PNG_INFO_tRNS) != 0)
      png_set_tRNS_to_alpha(png_);
    else if ((type & PNG_COLOR_MASK_ALPHA) == 0)
      png_set_add_alpha(png_, 0xFF, PNG_FILLER_AFTER);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }

  bool read_rows(png_bytepp rows) noexcept {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_read_image(png_, rows);
    png_read_end(png_, nullptr);  // so that a missing end is noticed
    return true;
  }

  std::span<const std::byte> left_;
  char message_[128]{};
  png_structp png_ = nullptr;  // after what its callbacks use
  png_infop info_ = nullptr;
};

}  // namespace slim::detail
