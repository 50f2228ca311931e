// How LeNet sees a picture: TF-Slim models' lenet_preprocessing, the same to train and to evaluate.
#pragma once

#include <span>

#include "slim/image.hpp"
#include "slim/preprocessing/crop.hpp"

namespace slim {

/// Writes (colour - 128) / 128 of the picture, cropped or padded with black about its centre, to
/// out: [height, width, 3] floats, or [height, width, 1] of the first channel.  Throws image_error
/// if out has another size, and as the source does.
template <image_source S>
void lenet_preprocess(S&& in, int height, int width, std::span<float> out) {
  copy_box(in, centred_box(in.extent(), height, width), false, out);
  for (float& v : out) v = (v - 128) / 128;
}
inline void lenet_preprocess(const image& in, int height, int width, std::span<float> out) {
  lenet_preprocess(whole_image(in), height, width, out);
}

}  // namespace slim
