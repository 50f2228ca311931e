// JPEG and PNG files as 8-bit RGB, grey or RGBA.  Link with libjpeg-turbo and libpng.
//
//   slim::image photo = slim::read_image("cat.jpg");  // photo.pixels: [height, width, 3]
//
//   slim::encoded_image file(bytes);                  // decoded where it is looked at:
//   slim::image_view part = file.part({.top = 40, .left = 60, .height = 224, .width = 224});
//
// The kind of a file is told by its first bytes.  Colours come out as TensorFlow's
// tf.io.decode_image(channels=3) gives them: grey is repeated, alpha is dropped, of 16 bits the
// upper 8 are kept, CMYK becomes RGB; JPEG uses the accurate integer DCT (TensorFlow's default is
// the fast one: see tests/oracle/README.md).  Profiles, gamma and EXIF orientation are ignored.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "slim/image/jpeg_decoder.hpp"
#include "slim/image/pixels.hpp"
#include "slim/image/png_decoder.hpp"

namespace slim {

namespace detail {

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

inline bool is_jpeg(std::span<const std::byte> bytes) {
  return starts_with(bytes, std::array<unsigned char, 3>{0xFF, 0xD8, 0xFF});
}

inline pixel_array decode_any(std::span<const std::byte> bytes, const decode_options& options) {
  constexpr std::array<unsigned char, 8> png{0x89, 'P', 'N', 'G', 0x0D, 0x0A, 0x1A, 0x0A};
  constexpr std::array<unsigned char, 4> gif{'G', 'I', 'F', '8'};
  constexpr std::array<unsigned char, 2> bmp{'B', 'M'};
  if (options.channels != 1 && options.channels != 3 && options.channels != 4)
    throw image_error("cannot have " + std::to_string(options.channels) + " channels: 1, 3 or 4");
  if (is_jpeg(bytes)) return jpeg_decoder(bytes).decode(options);
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

/// A JPEG or PNG in memory that outlives it, of which only what is asked for is decoded: a part of
/// a JPEG takes a part of the time and has the same pixels as in the whole.
class encoded_image {
 public:
  /// Reads a JPEG's header, or all of a PNG.  `name` stands in messages.  Throws as decode_image.
  explicit encoded_image(std::span<const std::byte> bytes, std::string_view name = "image",
                         std::size_t max_pixels = default_max_pixels)
      : name_(name) {
    if (detail::is_jpeg(bytes)) {
      named([&] { extent_ = jpeg_.emplace(bytes).open(max_pixels); });
    } else {
      whole_ = decode_image(bytes, name, max_pixels);
      extent_ = {whole_.height, whole_.width};
    }
  }

  image_extent extent() const { return extent_; }

  /// The pixels of a box, in memory of the thread's own: until its next call of any encoded_image.
  /// To be asked once.  Throws image_error if the box is not inside of the image, or the file is
  /// damaged or truncated; faults behind the box's last row are not found.
  image_view part(const image_box& box) {
    named([&] { detail::check_box(box, extent_); });
    if (!jpeg_) return detail::view_of(whole_, box);
    thread_local std::vector<std::uint8_t> memory;  // of many images the next one's, too
    image_view pixels;
    named([&] { pixels = jpeg_->decode_part(box, memory); });
    return pixels;
  }

 private:
  template <class F>
  void named(F f) const try {
    f();
  } catch (const image_error& e) {
    throw image_error(name_ + ": " + e.what());
  }

  std::string name_;
  image_extent extent_{};
  std::optional<detail::jpeg_decoder> jpeg_{};
  image whole_{};  // unless it is a JPEG
};

/// The RGB image in a JPEG or PNG file.  Throws image_error, which names the file.
inline image read_image(const std::string& path, std::size_t max_pixels = default_max_pixels) {
  try {
    return detail::decode_rgb(detail::read_bytes(path), max_pixels);
  } catch (const image_error& e) {
    throw image_error(path + ": " + e.what());
  }
}

}  // namespace slim
