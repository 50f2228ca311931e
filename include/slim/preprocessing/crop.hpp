// Which part of an image is taken: TensorFlow's sample_distorted_bounding_box, central_crop and
// resize_image_with_crop_or_pad.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>

#include "slim/image.hpp"
#include "slim/preprocessing/resize.hpp"
#include "slim/random.hpp"

namespace slim {

/// Where an object is, in parts of the image's height and width, from 0 to 1.
struct bounding_box {
  float ymin = 0, xmin = 0, ymax = 1, xmax = 1;
};

/// What a crop by chance keeps to, with TF-Slim's defaults for Inception.
struct distorted_box_options {
  float min_object_covered = 0.1f;                        ///< of one of the objects at least
  std::array<float, 2> aspect_ratio_range{0.75f, 1.33f};  ///< width by height
  std::array<float, 2> area_range{0.05f, 1.0f};           ///< of the image
  int max_attempts = 100;                                 ///< then it is the whole image
};

namespace detail {

inline int rounded(float x) { return static_cast<int>(std::lrint(x)); }

/// The least and the largest height of a crop with this aspect ratio and its area in range, that
/// rounds to a width of no more than the image's.
inline std::array<int, 2> crop_heights(image_extent image, float aspect, float least_area,
                                       float most_area) {
  int most = rounded(std::sqrt(most_area / aspect));
  if (rounded(static_cast<float>(most) * aspect) > image.width) {
    most = static_cast<int>((static_cast<float>(image.width) + 0.5 - 1e-7) / aspect);
    if (rounded(static_cast<float>(most) * aspect) > image.width) --most;
  }
  most = std::min(most, image.height);
  return {std::min(rounded(std::sqrt(least_area / aspect)), most), most};
}

/// A crop with this aspect ratio: its height is uniform among those that are possible, and so is
/// its place.  None if rounding leaves the range of areas.
inline std::optional<image_box> random_crop(image_extent image, float aspect,
                                            const std::array<float, 2>& area_range,
                                            random_stream& random) {
  const float all = static_cast<float>(image.height) * static_cast<float>(image.width);
  const float least_area = area_range[0] * all, most_area = area_range[1] * all;
  const auto [least, most] = crop_heights(image, aspect, least_area, most_area);
  int height = least + (least < most ? random.below(most - least + 1) : 0), width = 0;
  float area = 0;
  const auto set_height = [&](int h) {
    height = h, width = rounded(static_cast<float>(h) * aspect);
    area = static_cast<float>(height) * static_cast<float>(width);
  };
  set_height(height);
  if (area < least_area) set_height(height + 1);
  if (area > most_area) set_height(height - 1);
  if (area < least_area || area > most_area || width > image.width || height > image.height ||
      width <= 0 || height <= 0) {
    return std::nullopt;
  }
  // As in TensorFlow, the last place is never drawn.
  const int top = height < image.height ? random.below(image.height - height) : 0;
  const int left = width < image.width ? random.below(image.width - width) : 0;
  return image_box{top, left, height, width};
}

/// Whether a crop has enough of one of the objects; those of less than a pixel do not count.
inline bool covers(const image_box& crop, image_extent image, std::span<const bounding_box> objects,
                   float min_covered) {
  const auto length = [](int low, int high, int from, int to) {
    return static_cast<float>(std::max(std::min(high, to) - std::max(low, from), 0));
  };
  return std::any_of(objects.begin(), objects.end(), [&](const bounding_box& o) {
    const auto at = [](float part, int extent) {
      return static_cast<int>(part * static_cast<float>(extent));
    };
    const int top = at(o.ymin, image.height), bottom = at(o.ymax, image.height);
    const int left = at(o.xmin, image.width), right = at(o.xmax, image.width);
    const float area = static_cast<float>(bottom - top) * static_cast<float>(right - left);
    const float shared = length(crop.top, crop.top + crop.height, top, bottom) *
                         length(crop.left, crop.left + crop.width, left, right);
    return area >= 1 && shared / area >= min_covered;
  });
}

inline void check_distorted_box(const distorted_box_options& o,
                                std::span<const bounding_box> objects) {
  const auto in_range = [](float x, float least, float most) { return x >= least && x <= most; };
  const auto refuse = [](const char* what) {
    throw std::invalid_argument(std::string("sample_distorted_bounding_box: ") + what);
  };
  if (!(o.aspect_ratio_range[0] > 0 && o.aspect_ratio_range[1] >= o.aspect_ratio_range[0]))
    refuse("aspect_ratio_range must be positive and rise");
  if (!(o.area_range[0] > 0 && o.area_range[1] >= o.area_range[0] && o.area_range[1] <= 1))
    refuse("area_range must be within (0, 1] and rise");
  if (o.max_attempts < 1 || !(o.min_object_covered >= 0))
    refuse("max_attempts must be positive and min_object_covered not negative");
  for (const bounding_box& b : objects) {
    for (const float x : {b.ymin, b.xmin, b.ymax, b.xmax}) {
      if (!in_range(x, 0, 1)) refuse("coordinates of boxes must be within [0, 1]");
    }
  }
}

}  // namespace detail

/// A part of the image by chance, as tf.image.sample_distorted_bounding_box takes it: of a random
/// aspect ratio and height, with enough of one of the objects; the whole image is the object where
/// none is given.  Throws std::invalid_argument if an option or a box makes no sense.
inline image_box sample_distorted_bounding_box(image_extent image,
                                               std::span<const bounding_box> objects,
                                               random_stream& random,
                                               const distorted_box_options& options = {}) {
  detail::check_distorted_box(options, objects);
  const bounding_box everything{};
  if (objects.empty()) objects = {&everything, 1};
  const auto [low, high] = options.aspect_ratio_range;
  for (int i = 0; i < options.max_attempts; ++i) {
    const auto aspect = static_cast<float>(random.uniform(low, high));
    const auto crop = detail::random_crop(image, aspect, options.area_range, random);
    if (crop && detail::covers(*crop, image, objects, options.min_object_covered)) return *crop;
  }
  return {0, 0, image.height, image.width};
}

/// The middle of an image, a fraction in (0, 1] of its height and width, as tf.image.central_crop.
inline image_box central_crop(image_extent image, double fraction) {
  const auto margin = [fraction](int n) { return static_cast<int>((n - n * fraction) / 2); };
  const int top = margin(image.height), left = margin(image.width);
  return {top, left, image.height - 2 * top, image.width - 2 * left};
}

/// The box of this extent about the image's centre, which reaches over its edges where it is
/// larger: tf.image.resize_image_with_crop_or_pad.
constexpr image_box centred_box(image_extent image, int height, int width) {
  const auto begin = [](int in, int out) { return in > out ? (in - out) / 2 : -((out - in) / 2); };
  return {begin(image.height, height), begin(image.width, width), height, width};
}

/// Copies a box, which may reach over the edges of the image, as floats from 0 to 255, with 0 where
/// there is no image, from right to left if mirrored.  out has [height, width, 3], or [height,
/// width, 1]: then the first channel is taken, which of a grey file is all there is.  Throws
/// image_error if it has another size, and as the source does.
template <image_source S>
void copy_box(S& source, const image_box& box, bool mirrored, std::span<float> out) {
  const auto count = static_cast<std::size_t>(box.height) * static_cast<std::size_t>(box.width);
  if (box.height <= 0 || box.width <= 0 || (out.size() != count && out.size() != 3 * count)) {
    throw image_error("the output holds " + std::to_string(out.size()) + " values, not " +
                      detail::extent_text({box.height, box.width}) + "x3 or x1");
  }
  const std::size_t channels = out.size() / count;
  const image_extent image = source.extent();
  const int top = std::max(box.top, 0), bottom = std::min(box.top + box.height, image.height);
  const int left = std::max(box.left, 0), right = std::min(box.left + box.width, image.width);
  std::fill(out.begin(), out.end(), 0.0f);
  if (top >= bottom || left >= right) return;
  const image_view in = source.part({top, left, bottom - top, right - left});
  for (int y = 0; y < in.height; ++y) {
    const std::uint8_t* from = in.pixels + static_cast<std::size_t>(y) * in.stride;
    for (int x = 0; x < in.width; ++x, from += image::channels) {
      const int column = left - box.left + x, row = top - box.top + y;
      const int to = row * box.width + (mirrored ? box.width - 1 - column : column);
      std::copy_n(from, channels, out.begin() + to * static_cast<std::ptrdiff_t>(channels));
    }
  }
}

}  // namespace slim
