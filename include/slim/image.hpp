// JPEG and PNG files as 8-bit RGB, grey or RGBA.  Link with libjpeg-turbo and libpng.
//
//   slim::image photo = slim::read_image("cat.jpg");  // photo.pixels: [height, width, 3]
//
// The kind of a file is told by its first bytes.  Colours come out as TensorFlow's
// tf.io.decode_image(channels=3) gives them: grey is repeated, alpha is dropped, of 16 bits the
// upper 8 are kept, CMYK becomes RGB; JPEG uses the accurate integer DCT (TensorFlow's default is
// the fast one: see tests/oracle/README.md).  Profiles, gamma and EXIF orientation are ignored.
#pragma once

#include <array>
#include <climits>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>  // jpeglib.h needs FILE and size_t
#include <cstring>
#include <fstream>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <jerror.h>
#include <jpeglib.h>
#include <png.h>

#include "slim/error.hpp"

namespace slim {

/// A file that is missing, malformed, truncated or too large, or an image of the wrong size.
struct image_error : error {
  using error::error;
};

/// An 8-bit RGB image; element [y, x, c] is pixels[(y * width + x) * 3 + c].
struct image {
  static constexpr int channels = 3;
  int height = 0;
  int width = 0;
  std::vector<std::uint8_t> pixels{};  // [height, width, 3]
};

/// An 8-bit image; element [y, x, c] is pixels[(y * width + x) * channels + c].
struct pixel_array {
  int height = 0;
  int width = 0;
  int channels = 0;
  std::vector<std::uint8_t> pixels{};  // [height, width, channels]
};

/// What decode_image accepts unless told otherwise: 300 MB of pixels.
inline constexpr std::size_t default_max_pixels = 100'000'000;

struct decode_options {
  int channels = 3;       ///< 1 grey (of colours their luma), 3 RGB, 4 RGBA, which only PNG has
  bool fast_dct = false;  ///< JPEG by libjpeg's fast integer DCT, which is TensorFlow's default
  std::size_t max_pixels = default_max_pixels;  ///< of more an image is refused
};

namespace detail {

/// Throws unless 1 <= height * width <= max_pixels: before anything of that size is allocated.
inline void check_extent(std::size_t height, std::size_t width, std::size_t max_pixels) {
  if (height != 0 && width != 0 && height <= INT_MAX && width <= INT_MAX &&
      height <= max_pixels / width) {
    return;
  }
  throw image_error("is " + std::to_string(width) + "x" + std::to_string(height) +
                    " pixels, the limit is " + std::to_string(max_pixels));
}

inline pixel_array blank_image(std::size_t height, std::size_t width, int channels) {
  return {static_cast<int>(height), static_cast<int>(width), channels,
          std::vector<std::uint8_t>(height * width * static_cast<std::size_t>(channels))};
}

// libjpeg and libpng report errors by longjmp.  Every function that calls setjmp, and every one of
// ours between it and the library, holds trivial locals only, so no destructor is skipped; what
// needs a destructor lives in the decoder object or in the caller.

/// A JPEG read from memory.
class jpeg_decoder {
 public:
  explicit jpeg_decoder(std::span<const std::byte> bytes) : bytes_(bytes) {
    state_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = &fail;
    errors_.base.emit_message = &warn;
    errors_.base.output_message = [](j_common_ptr) {};
    progress_.progress_monitor = &limit_scans;
  }
  jpeg_decoder(const jpeg_decoder&) = delete;
  jpeg_decoder& operator=(const jpeg_decoder&) = delete;
  ~jpeg_decoder() { jpeg_destroy_decompress(&state_); }

  pixel_array decode(const decode_options& options) {
    if (options.channels == 4) throw image_error("is a JPEG, which has no 4 channels");
    if (!read_header()) throw image_error(std::string("is no valid JPEG: ") + errors_.message);
    check_extent(state_.image_height, state_.image_width, options.max_pixels);
    pixel_array out = blank_image(state_.image_height, state_.image_width, options.channels);
    if (options.channels == 1) state_.out_color_space = JCS_GRAYSCALE;
    if (options.fast_dct) state_.dct_method = JDCT_IFAST;
    if (state_.out_color_space == JCS_CMYK) cmyk_row_.resize(std::size_t{4} * state_.image_width);
    if (!read_lines(out.pixels.data())) {
      throw image_error(std::string("is a damaged or truncated JPEG: ") + errors_.message);
    }
    return out;
  }

 private:
  struct error_manager {
    jpeg_error_mgr base{};  // first: libjpeg's pointer to it is a pointer to the whole
    std::jmp_buf jump{};
    char message[JMSG_LENGTH_MAX]{};
  };

  [[noreturn]] static void fail(j_common_ptr state) {
    auto* errors = reinterpret_cast<error_manager*>(state->err);
    state->err->format_message(state, errors->message);
    std::longjmp(errors->jump, 1);
  }

  /// Missing data is a fault; stray bytes and odd markers, which libjpeg skips, are not.
  static void warn(j_common_ptr state, int level) {
    if (level >= 0) return;
    const int code = state->err->msg_code;
    if (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER) fail(state);
  }

  /// A few bytes can claim thousands of progressive scans, each a pass over the whole image.
  static void limit_scans(j_common_ptr state) {
    if (reinterpret_cast<j_decompress_ptr>(state)->input_scan_number <= 200) return;
    auto* errors = reinterpret_cast<error_manager*>(state->err);
    std::snprintf(errors->message, sizeof errors->message, "more than 200 scans");
    std::longjmp(errors->jump, 1);
  }

  bool read_header() noexcept {
    if (setjmp(errors_.jump) != 0) return false;
    jpeg_create_decompress(&state_);
    state_.progress = &progress_;
    jpeg_mem_src(&state_, reinterpret_cast<const unsigned char*>(bytes_.data()),
                 static_cast<unsigned long>(bytes_.size()));
    jpeg_read_header(&state_, TRUE);
    const J_COLOR_SPACE stored = state_.jpeg_color_space;
    state_.out_color_space = stored == JCS_CMYK || stored == JCS_YCCK ? JCS_CMYK : JCS_RGB;
    return true;
  }

  bool read_lines(std::uint8_t* out) noexcept {
    if (setjmp(errors_.jump) != 0) return false;
    decode_lines(out);
    return true;
  }

  void decode_lines(std::uint8_t* out) noexcept {
    jpeg_start_decompress(&state_);
    const std::size_t channels = state_.out_color_space == JCS_GRAYSCALE ? 1 : 3;
    const std::size_t stride = channels * state_.output_width;
    while (state_.output_scanline < state_.output_height) {
      std::uint8_t* const line = out + stride * state_.output_scanline;
      JSAMPROW row = cmyk_row_.empty() ? line : cmyk_row_.data();
      jpeg_read_scanlines(&state_, &row, 1);
      if (!cmyk_row_.empty()) cmyk_to_rgb(line);
    }
    jpeg_finish_decompress(&state_);  // reads up to the end marker, so a missing one is noticed
  }

  /// Adobe's files store ink inverted: 255 is none.
  void cmyk_to_rgb(std::uint8_t* line) const noexcept {
    const int flip = state_.saw_Adobe_marker ? 0 : 255;
    for (std::size_t x = 0; x < cmyk_row_.size() / 4; ++x) {
      const std::uint8_t* ink = &cmyk_row_[4 * x];
      for (std::size_t c = 0; c < 3; ++c) {
        line[3 * x + c] = static_cast<std::uint8_t>((ink[3] ^ flip) * (ink[c] ^ flip) / 255);
      }
    }
  }

  std::span<const std::byte> bytes_;
  jpeg_decompress_struct state_{};
  error_manager errors_{};
  jpeg_progress_mgr progress_{};
  std::vector<std::uint8_t> cmyk_row_{};  // [width, 4], empty unless the file is CMYK
};

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

/// Do the bytes start like this?
template <std::size_t N>
bool starts_with(std::span<const std::byte> bytes, const std::array<unsigned char, N>& magic) {
  return bytes.size() >= N && std::memcmp(bytes.data(), magic.data(), N) == 0;
}

inline std::vector<std::byte> read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw image_error("cannot be opened");
  std::vector<std::byte> bytes;
  std::array<char, 1 << 16> block;
  do {
    in.read(block.data(), block.size());
    const auto* first = reinterpret_cast<const std::byte*>(block.data());
    bytes.insert(bytes.end(), first, first + in.gcount());
  } while (in);
  if (in.bad()) throw image_error("cannot be read");
  return bytes;
}

inline pixel_array decode_any(std::span<const std::byte> bytes, const decode_options& options) {
  constexpr std::array<unsigned char, 3> jpeg{0xFF, 0xD8, 0xFF};
  constexpr std::array<unsigned char, 8> png{0x89, 'P', 'N', 'G', 0x0D, 0x0A, 0x1A, 0x0A};
  constexpr std::array<unsigned char, 4> gif{'G', 'I', 'F', '8'};
  constexpr std::array<unsigned char, 2> bmp{'B', 'M'};
  if (options.channels != 1 && options.channels != 3 && options.channels != 4)
    throw image_error("cannot have " + std::to_string(options.channels) + " channels: 1, 3 or 4");
  if (starts_with(bytes, jpeg)) return jpeg_decoder(bytes).decode(options);
  if (starts_with(bytes, png)) return png_decoder(bytes).decode(options);
  if (starts_with(bytes, gif)) throw image_error("is a GIF; JPEG and PNG are read");
  if (starts_with(bytes, bmp)) throw image_error("is a BMP; JPEG and PNG are read");
  throw image_error(bytes.empty() ? "is empty" : "is neither JPEG nor PNG");
}

inline image decode_rgb(std::span<const std::byte> bytes, std::size_t max_pixels) {
  pixel_array rgb = decode_any(bytes, {.max_pixels = max_pixels});
  return {rgb.height, rgb.width, std::move(rgb.pixels)};
}

}  // namespace detail

/// The RGB image in a JPEG or PNG held in memory.  `name` stands in messages.  Throws image_error
/// if the bytes are no complete image or hold more than max_pixels.
inline image decode_image(std::span<const std::byte> bytes, std::string_view name = "image",
                          std::size_t max_pixels = default_max_pixels) {
  try {
    return detail::decode_rgb(bytes, max_pixels);
  } catch (const image_error& e) {
    throw image_error(std::string(name) + ": " + e.what());
  }
}

/// The image in a JPEG or PNG held in memory, with other channels than RGB if asked.  Throws
/// image_error as decode_image does, and where a JPEG is to have alpha.
inline pixel_array decode_pixels(std::span<const std::byte> bytes, const decode_options& options,
                                 std::string_view name = "image") {
  try {
    return detail::decode_any(bytes, options);
  } catch (const image_error& e) {
    throw image_error(std::string(name) + ": " + e.what());
  }
}

/// The RGB image in a JPEG or PNG file.  Throws image_error, which names the file.
inline image read_image(const std::string& path, std::size_t max_pixels = default_max_pixels) {
  try {
    return detail::decode_rgb(detail::read_bytes(path), max_pixels);
  } catch (const image_error& e) {
    throw image_error(path + ": " + e.what());
  }
}

}  // namespace slim
