// The image of an Example. Link with libjpeg-turbo and libpng.
#pragma once

#include <cstring>

#include "../image.hpp"
#include "handlers.hpp"

namespace slim::data {

/// What an image's elements become.
enum class pixel_kind { uint8, int64s, floats };

namespace handlers {

/// An encoded image [height, width, channels]: JPEG and PNG are told by their first bytes. Only the
/// format raw, or RAW, says anything: then the bytes are elements of `kind` as they lie in memory.
/// With `repeated` there may be any number of images, of one size: [n, height, width, channels].
struct image {
  std::string image_key = "image/encoded";
  std::string format_key = "image/format";           ///< empty if Examples have none
  std::optional<std::vector<std::int64_t>> shape{};  ///< else raw images are flat
  int channels = 3;                                  ///< 1, 3, or 4 of PNG
  pixel_kind kind = pixel_kind::uint8;               ///< values are converted, not scaled
  bool repeated = false;
  std::string dct_method{};  ///< of JPEG: INTEGER_ACCURATE, INTEGER_FAST, or empty, which is fast
  std::size_t max_pixels = default_max_pixels;  ///< larger images are refused

  /// Throws std::invalid_argument at another dct_method.
  std::vector<std::string> keys() const {
    if (!dct_method.empty() && dct_method != "INTEGER_FAST" && dct_method != "INTEGER_ACCURATE")
      throw std::invalid_argument(image_key + ": there is no dct_method " + dct_method);
    if (format_key.empty()) return {image_key};
    return {image_key, format_key};
  }
  /// Throws image_error, and example_error where images are missing, or not of one size.
  item operator()(const parsed_features& f) const {
    const bytes_list& files = f.at(image_key).as<std::string>();
    if (!repeated && files.size() != 1)
      throw example_error(image_key + ": " + std::to_string(files.size()) + " images");
    const bool raw = is_raw(f);
    item all{{}, {0}};
    for (std::size_t i = 0; i < files.size(); ++i) {
      item one = raw ? raw_elements(files[i]) : decoded(files[i]);
      if (i == 0)
        all = std::move(one);
      else if (one.dims != all.dims)
        throw example_error(image_key + ": image " + std::to_string(i) + " is " +
                            text_of_dims(one.dims) + ", the first " + text_of_dims(all.dims));
      else
        data::detail::append(all, std::move(one));
    }
    if (repeated && !files.empty()) all.dims.insert(all.dims.begin(), std::ssize(files));
    if (!shape || files.empty()) return all;
    std::vector<std::int64_t> dims = *shape;
    if (repeated) dims.insert(dims.begin(), std::ssize(files));
    return reshaped(std::move(all), dims, image_key);
  }

 private:
  bool is_raw(const parsed_features& f) const {
    if (format_key.empty()) return false;
    const bytes_list& format = f.at(format_key).as<std::string>();
    return !format.empty() && (format[0] == "raw" || format[0] == "RAW");
  }

  template <class F>
  auto with_element_type(F make) const {
    if (kind == pixel_kind::int64s) return make(std::int64_t{});
    if (kind == pixel_kind::floats) return make(float{});
    return make(std::uint8_t{});
  }
  item raw_elements(const std::string& bytes) const {
    return with_element_type([&]<class T>(T) {
      if (bytes.size() % sizeof(T) != 0)
        throw example_error(image_key + ": " + std::to_string(bytes.size()) +
                            " raw bytes are not elements of " + std::to_string(sizeof(T)));
      std::vector<T> elements(bytes.size() / sizeof(T));
      if (!bytes.empty()) std::memcpy(elements.data(), bytes.data(), bytes.size());
      const std::int64_t count = std::ssize(elements);
      return item{std::move(elements), {count}};
    });
  }
  item decoded(const std::string& file) const {
    pixel_array in = decode_pixels(std::as_bytes(std::span(file)),
                                   {.channels = channels,
                                    .fast_dct = dct_method != "INTEGER_ACCURATE",
                                    .max_pixels = max_pixels},
                                   image_key);
    const std::vector<std::int64_t> dims{in.height, in.width, in.channels};
    if (kind == pixel_kind::uint8) return {std::move(in.pixels), dims};
    return with_element_type([&]<class T>(T) {
      return item{std::vector<T>(in.pixels.begin(), in.pixels.end()), dims};
    });
  }
};

}  // namespace handlers
}  // namespace slim::data
