// How CifarNet sees a picture: TF-Slim models' cifarnet_preprocessing.
#pragma once

#include <array>
#include <span>
#include <string>

#include "slim/image.hpp"
#include "slim/preprocessing/adjust.hpp"
#include "slim/preprocessing/crop.hpp"
#include "slim/random.hpp"

namespace slim {

/// Writes a view to train on, by chance, to out, [height, width, 3] floats of mean 0 and variance
/// 1: a crop of the picture with `padding` black pixels around it, mirrored half of the time,
/// brighter or darker by up to 63 of 255, with 0.2 to 1.8 of its contrast.  Throws image_error if
/// the crop is larger than the padded picture or out has another size, and as the source does.
template <image_source S>
void cifarnet_preprocess_for_train(S&& in, int height, int width, random_stream& random,
                                   std::span<float> out, int padding = 4) {
  const image_extent e = in.extent();
  const int rows = e.height + 2 * padding - height, columns = e.width + 2 * padding - width;
  if (rows < 0 || columns < 0 || padding < 0)
    throw image_error("a crop of " + detail::extent_text({height, width}) + " does not fit a " +
                      detail::extent_text(e) + " image with " + std::to_string(padding) +
                      " pixels around it");
  if (out.size() != 3 * static_cast<std::size_t>(height) * static_cast<std::size_t>(width))
    throw image_error("the output holds " + std::to_string(out.size()) + " values, not " +
                      detail::extent_text({height, width}) + "x3");
  const int top = random.below(rows + 1) - padding, left = random.below(columns + 1) - padding;
  const bool mirrored = random.uniform() < 0.5;
  copy_box(in, {top, left, height, width}, mirrored, out);
  const auto delta = static_cast<float>(random.uniform(-63, 63));
  const std::array steps{brightness(delta), contrast(static_cast<float>(random.uniform(0.2, 1.8)))};
  adjust(out, steps);
  per_image_standardization(out);
}
inline void cifarnet_preprocess_for_train(const image& in, int height, int width,
                                          random_stream& random, std::span<float> out,
                                          int padding = 4) {
  cifarnet_preprocess_for_train(whole_image(in), height, width, random, out, padding);
}

/// Writes the network's view of a picture, cropped or padded with black about its centre, of mean 0
/// and variance 1, to out: [height, width, 3] floats.  Throws as lenet_preprocess.
template <image_source S>
void cifarnet_preprocess_for_eval(S&& in, int height, int width, std::span<float> out) {
  copy_box(in, centred_box(in.extent(), height, width), false, out);
  per_image_standardization(out);
}
inline void cifarnet_preprocess_for_eval(const image& in, int height, int width,
                                         std::span<float> out) {
  cifarnet_preprocess_for_eval(whole_image(in), height, width, out);
}

}  // namespace slim
