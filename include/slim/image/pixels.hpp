// Pixels: images in memory, parts of them, and what is wrong with a file that holds none.
#pragma once

#include <climits>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

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

struct image_extent {
  int height = 0;
  int width = 0;
  friend bool operator==(const image_extent&, const image_extent&) = default;
};

/// A rectangle of an image's pixels.
struct image_box {
  int top = 0, left = 0, height = 0, width = 0;
  friend bool operator==(const image_box&, const image_box&) = default;
};

/// Pixels in memory that outlives it: element [y, x, c] is pixels[y * stride + x * 3 + c].
struct image_view {
  const std::uint8_t* pixels = nullptr;
  int height = 0;
  int width = 0;
  std::size_t stride = 0;  // bytes from row to row
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

inline std::string extent_text(image_extent e) {
  return std::to_string(e.height) + "x" + std::to_string(e.width);
}

/// Throws image_error unless the box has pixels and lies within the image.
inline void check_box(const image_box& box, image_extent image) {
  const bool inside = box.top >= 0 && box.left >= 0 && box.height > 0 && box.width > 0 &&
                      box.height <= image.height - box.top && box.width <= image.width - box.left;
  if (inside) return;
  throw image_error("is " + extent_text(image) + ": it has no part of " +
                    extent_text({box.height, box.width}) + " from row " + std::to_string(box.top) +
                    " and column " + std::to_string(box.left));
}

/// Part of an image in memory.
inline image_view view_of(const image& in, const image_box& box) {
  const std::size_t stride = static_cast<std::size_t>(in.width) * image::channels;
  return {in.pixels.data() + static_cast<std::size_t>(box.top) * stride +
              static_cast<std::size_t>(box.left) * image::channels,
          box.height, box.width, stride};
}

}  // namespace detail

}  // namespace slim
