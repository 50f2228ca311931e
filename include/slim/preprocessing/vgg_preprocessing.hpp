// How VGG networks see a photograph: TF-Slim models' vgg_preprocessing, evaluation.
//
// Resize so that the smaller side is resize_side, crop the centre, subtract the mean colour.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "slim/image.hpp"
#include "slim/random.hpp"

namespace slim {

/// The mean R, G and B of the images VGG was trained on.
inline constexpr std::array<float, 3> vgg_means{123.68f, 116.78f, 103.94f};

struct image_extent {
  int height = 0;
  int width = 0;
  friend bool operator==(const image_extent&, const image_extent&) = default;
};

/// The extent with the smaller side equal to resize_side and the same aspect ratio, in float32 and
/// with halves rounded to even, as TF-Slim's models do.  Throws image_error if anything is not
/// positive or the result is past 2^30.
inline image_extent vgg_resized_extent(int height, int width, int resize_side) {
  if (height <= 0 || width <= 0 || resize_side <= 0) {
    throw image_error("vgg_resized_extent: extents must be positive");
  }
  const auto h = static_cast<float>(height), w = static_cast<float>(width);
  const float scale = static_cast<float>(resize_side) / (h > w ? w : h);
  const float new_height = std::nearbyint(h * scale), new_width = std::nearbyint(w * scale);
  if (std::max(new_height, new_width) > 0x1p30f) {
    throw image_error("vgg_resized_extent: the resized image is too large");
  }
  return {static_cast<int>(new_height), static_cast<int>(new_width)};
}

namespace detail {

/// Where one output coordinate lies between two input coordinates.
struct bilinear_tap {
  std::size_t lower = 0;
  std::size_t upper = 0;
  float lerp = 0;  // weight of upper
};

/// The taps of output coordinates [first, first + count) of an axis resized from `in` to `out`, by
/// tf.compat.v1.image.resize_bilinear's rule: no aligned corners, no half-pixel centres.
inline std::vector<bilinear_tap> bilinear_taps(int in, int out, int first, int count) {
  const float scale = static_cast<float>(in) / static_cast<float>(out);
  std::vector<bilinear_tap> taps;
  taps.reserve(static_cast<std::size_t>(count));
  for (int i = first; i < first + count; ++i) {
    const float at = static_cast<float>(i) * scale;
    const float below = std::floor(at);
    const int lower = std::min(static_cast<int>(below), in - 1);
    const int upper = std::min(static_cast<int>(std::ceil(at)), in - 1);
    taps.push_back({static_cast<std::size_t>(lower), static_cast<std::size_t>(upper), at - below});
  }
  return taps;
}

inline std::string extent_text(int height, int width) {
  return std::to_string(height) + "x" + std::to_string(width);
}

/// Throws unless the image holds what it says and the crop fits the resized image.
inline void check_vgg_crop(const image& in, image_extent resized, int height, int width,
                           std::size_t out_size) {
  const auto values = [](int h, int w) {
    return static_cast<std::size_t>(h) * static_cast<std::size_t>(w) * 3;
  };
  const std::string who = "vgg_preprocess_for_eval: ";
  if (in.pixels.size() != values(in.height, in.width)) {
    throw image_error(who + "a " + extent_text(in.height, in.width) + " image holds " +
                      std::to_string(in.pixels.size()) + " values");
  }
  if (height <= 0 || width <= 0 || height > resized.height || width > resized.width) {
    throw image_error(who + "crop " + extent_text(height, width) +
                      " does not fit the resized image " +
                      extent_text(resized.height, resized.width));
  }
  if (out_size != values(height, width)) {
    throw image_error(who + "output holds " + std::to_string(out_size) + " values, not " +
                      extent_text(height, width) + "x3");
  }
}

}  // namespace detail

namespace detail {

/// The part [top, left, height, width] of an image resized to `resized`, mirrored if asked, minus
/// means; only that part is resized.
inline void write_vgg_view(const image& in, image_extent resized, int top, int left, int height,
                           int width, bool mirrored, std::span<float> out,
                           const std::array<float, 3>& means) {
  const auto rows = bilinear_taps(in.height, resized.height, top, height);
  auto columns = bilinear_taps(in.width, resized.width, left, width);
  if (mirrored) std::reverse(columns.begin(), columns.end());
  const std::size_t stride = static_cast<std::size_t>(in.width) * 3;
  float* next = out.data();
  for (const bilinear_tap& y : rows) {
    const std::uint8_t* first_row = &in.pixels[y.lower * stride];
    const std::uint8_t* second_row = &in.pixels[y.upper * stride];
    for (const bilinear_tap& x : columns) {
      for (std::size_t c = 0; c < 3; ++c) {
        const auto mix = [&](const std::uint8_t* row) {
          const float first = row[x.lower * 3 + c], second = row[x.upper * 3 + c];
          return first + (second - first) * x.lerp;
        };
        const float upper = mix(first_row), lower = mix(second_row);
        *next++ = upper + (lower - upper) * y.lerp - means[c];
      }
    }
  }
}

}  // namespace detail

/// Writes the network's view of an image to out: [output_height, output_width, 3] floats, colour
/// minus means.  Only the cropped part is resized.  Throws image_error if the crop does not fit the
/// resized image or out has another size; out is then untouched.
inline void vgg_preprocess_for_eval(const image& in, int output_height, int output_width,
                                    int resize_side, std::span<float> out,
                                    const std::array<float, 3>& means = vgg_means) {
  const image_extent resized = vgg_resized_extent(in.height, in.width, resize_side);
  detail::check_vgg_crop(in, resized, output_height, output_width, out.size());
  detail::write_vgg_view(in, resized, (resized.height - output_height) / 2,
                         (resized.width - output_width) / 2, output_height, output_width, false,
                         out, means);
}

/// Writes a view to train on, by chance: the smaller side is resized to a number from
/// [resize_side_min, resize_side_max], a crop of the output's size is taken anywhere, and mirrored
/// half of the time (Simonyan and Zisserman, ICLR 2015).  Throws as vgg_preprocess_for_eval.
inline void vgg_preprocess_for_train(const image& in, int output_height, int output_width,
                                     random_stream& random, std::span<float> out,
                                     int resize_side_min = 256, int resize_side_max = 512,
                                     const std::array<float, 3>& means = vgg_means) {
  const auto up_to = [&](int last) {  // a number from [0, last]
    return static_cast<int>(random.uniform() * (last + 1));
  };
  const int side = resize_side_min + up_to(resize_side_max - resize_side_min);
  const image_extent resized = vgg_resized_extent(in.height, in.width, side);
  detail::check_vgg_crop(in, resized, output_height, output_width, out.size());
  const int top = up_to(resized.height - output_height), left = up_to(resized.width - output_width);
  const bool mirrored = random.uniform() < 0.5;
  detail::write_vgg_view(in, resized, top, left, output_height, output_width, mirrored, out, means);
}

/// The same as a new vector.
inline std::vector<float> vgg_preprocess_for_eval(const image& in, int output_height,
                                                  int output_width, int resize_side = 256,
                                                  const std::array<float, 3>& means = vgg_means) {
  // Sizes are checked before this allocates.
  const image_extent resized = vgg_resized_extent(in.height, in.width, resize_side);
  const bool fits = output_height > 0 && output_width > 0 && output_height <= resized.height &&
                    output_width <= resized.width;
  std::vector<float> out(fits ? std::size_t{3} * static_cast<std::size_t>(output_height) *
                                    static_cast<std::size_t>(output_width)
                              : 0);
  vgg_preprocess_for_eval(in, output_height, output_width, resize_side, out, means);
  return out;
}

}  // namespace slim
