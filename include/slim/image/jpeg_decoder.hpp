// JPEG by libjpeg-turbo, in whole or in part.
#pragma once

#include <algorithm>
#include <csetjmp>
#include <cstdio>  // jpeglib.h needs FILE and size_t
#include <cstring>
#include <span>

#include <jerror.h>
#include <jpeglib.h>

#include "pixels.hpp"

namespace slim::detail {

// libjpeg reports errors by longjmp.  Every function that calls setjmp, and every one of ours
// between it and the library, holds trivial locals only, so no destructor is skipped; what needs a
// destructor lives in the decoder object or in the caller.

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

  /// What the header says; to be asked before anything is decoded.
  image_extent open(std::size_t max_pixels) {
    if (!read_header()) throw image_error(std::string("is no valid JPEG: ") + errors_.message);
    check_extent(state_.image_height, state_.image_width, max_pixels);
    return {static_cast<int>(state_.image_height), static_cast<int>(state_.image_width)};
  }

  pixel_array decode(const decode_options& options) {
    if (options.channels == 4) throw image_error("is a JPEG, which has no 4 channels");
    const image_extent extent = open(options.max_pixels);
    if (options.channels == 1) state_.out_color_space = JCS_GRAYSCALE;
    if (options.fast_dct) state_.dct_method = JDCT_IFAST;
    pixel_array out{extent.height, extent.width, options.channels, {}};
    decode_part({0, 0, extent.height, extent.width}, out.pixels);
    return out;
  }

  /// The pixels of a box inside of the image, the same as in the whole, somewhere in `memory`;
  /// once, after open().  Rows below the box are not read, so that their faults are not found.
  image_view decode_part(const image_box& box, std::vector<std::uint8_t>& memory) {
    const margins wide = columns_around(box);
    const std::size_t width = wide.right - wide.left + largest_block;
    memory.resize(channels() * static_cast<std::size_t>(box.height) *
                  std::min(width, std::size_t{state_.image_width}));
    if (state_.out_color_space == JCS_CMYK) cmyk_row_.resize(std::size_t{4} * state_.image_width);
    JDIMENSION first = wide.left;
    if (!read_lines(box, wide, memory.data(), &first)) {
      throw image_error(std::string("is a damaged or truncated JPEG: ") + errors_.message);
    }
    const std::size_t before = static_cast<JDIMENSION>(box.left) - first;
    return {memory.data() + channels() * before, box.height, box.width, stride_};
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

  std::size_t channels() const { return state_.out_color_space == JCS_GRAYSCALE ? 1 : 3; }

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

  /// Columns [left, right).
  struct margins {
    JDIMENSION left, right;
  };
  /// libjpeg shortens rows at its blocks, of 8 to 32 pixels, to the left.
  static constexpr std::size_t largest_block = 32;

  /// Colours are interpolated from those of neighbours: a margin of pixels keeps the box's as they
  /// are in the whole.
  margins columns_around(const image_box& box) const {
    constexpr int margin = 4;
    const int left = std::max(box.left - margin, 0), right = box.left + box.width + margin;
    return {static_cast<JDIMENSION>(left),
            std::min(static_cast<JDIMENSION>(right), state_.image_width)};
  }

  bool read_lines(const image_box& box, margins wide, std::uint8_t* out,
                  JDIMENSION* first) noexcept {
    if (setjmp(errors_.jump) != 0) return false;
    decode_lines(box, wide, out, first);
    return true;
  }

  /// Writes rows of which pixel `first` of the image is the first.
  void decode_lines(const image_box& box, margins wide, std::uint8_t* out,
                    JDIMENSION* first) noexcept {
    jpeg_start_decompress(&state_);
    JDIMENSION width = wide.right - wide.left;
    if (width < state_.output_width) jpeg_crop_scanline(&state_, first, &width);
    stride_ = channels() * state_.output_width;
    const JDIMENSION top = static_cast<JDIMENSION>(box.top);
    const JDIMENSION bottom = top + static_cast<JDIMENSION>(box.height);
    if (top > 0) jpeg_skip_scanlines(&state_, top);
    for (; state_.output_scanline < bottom; out += stride_) {
      JSAMPROW row = cmyk_row_.empty() ? out : cmyk_row_.data();
      jpeg_read_scanlines(&state_, &row, 1);
      if (!cmyk_row_.empty()) cmyk_to_rgb(out);
    }
    if (bottom == state_.output_height) {
      jpeg_finish_decompress(&state_);  // reads up to the end marker, so a missing one is noticed
    } else {
      jpeg_abort_decompress(&state_);
    }
  }

  /// Adobe's files store ink inverted: 255 is none.
  void cmyk_to_rgb(std::uint8_t* line) const noexcept {
    const int flip = state_.saw_Adobe_marker ? 0 : 255;
    for (std::size_t x = 0; x < state_.output_width; ++x) {
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
  std::size_t stride_ = 0;                // bytes of a row that is written
};

}  // namespace slim::detail
