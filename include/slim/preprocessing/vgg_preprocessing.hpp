// How VGG networks see a photograph: TF-Slim models' vgg_preprocessing.
//
// Resize so that the smaller side has a given length, crop, subtract the mean colour.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "slim/image.hpp"
#include "slim/preprocessing/resize.hpp"
#include "slim/random.hpp"

namespace slim {

/// The mean R, G and B of the images VGG was trained on.
inline constexpr std::array<float, 3> vgg_means{123.68f, 116.78f, 103.94f};

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

inline view_options vgg_view(image_extent resized, const image_box& wanted, bool mirrored,
                             const std::array<float, 3>& means) {
  return {.resized = resized,
          .wanted = wanted,
          .mirrored = mirrored,
          .offset = {-means[0], -means[1], -means[2]}};
}

}  // namespace detail

/// Writes the network's view of an image to out: [output_height, output_width, 3] floats, colour
/// minus means.  Only the cropped part is decoded and resized.  Throws image_error if the crop does
/// not fit the resized image or out has another size, and as the source does; out is then
/// untouched.
template <image_source S>
void vgg_preprocess_for_eval(S&& in, int output_height, int output_width, int resize_side,
                             std::span<float> out, const std::array<float, 3>& means = vgg_means) {
  const image_extent e = in.extent(), to = vgg_resized_extent(e.height, e.width, resize_side);
  const image_box centre{(to.height - output_height) / 2, (to.width - output_width) / 2,
                         output_height, output_width};
  resize(in, all_of(in), detail::vgg_view(to, centre, false, means), out);
}
inline void vgg_preprocess_for_eval(const image& in, int output_height, int output_width,
                                    int resize_side, std::span<float> out,
                                    const std::array<float, 3>& means = vgg_means) {
  vgg_preprocess_for_eval(whole_image(in), output_height, output_width, resize_side, out, means);
}

/// Writes a view to train on, by chance: the smaller side is resized to a number from
/// [resize_side_min, resize_side_max], a crop of the output's size is taken anywhere, and mirrored
/// half of the time (Simonyan and Zisserman, ICLR 2015).  Throws as vgg_preprocess_for_eval.
template <image_source S>
void vgg_preprocess_for_train(S&& in, int output_height, int output_width, random_stream& random,
                              std::span<float> out, int resize_side_min = 256,
                              int resize_side_max = 512,
                              const std::array<float, 3>& means = vgg_means) {
  const int side = resize_side_min + random.below(resize_side_max - resize_side_min + 1);
  const image_extent e = in.extent(), to = vgg_resized_extent(e.height, e.width, side);
  const auto anywhere = [&](int room) { return room > 0 ? random.below(room + 1) : 0; };
  const int top = anywhere(to.height - output_height), left = anywhere(to.width - output_width);
  const bool mirrored = random.uniform() < 0.5;
  const image_box crop{top, left, output_height, output_width};
  resize(in, all_of(in), detail::vgg_view(to, crop, mirrored, means), out);
}
inline void vgg_preprocess_for_train(const image& in, int output_height, int output_width,
                                     random_stream& random, std::span<float> out,
                                     int resize_side_min = 256, int resize_side_max = 512,
                                     const std::array<float, 3>& means = vgg_means) {
  vgg_preprocess_for_train(whole_image(in), output_height, output_width, random, out,
                           resize_side_min, resize_side_max, means);
}

/// The evaluation's view as a new vector.
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
