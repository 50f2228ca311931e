// How Inception networks see a photograph: TF-Slim models' inception_preprocessing.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>

#include "slim/image.hpp"
#include "slim/preprocessing/adjust.hpp"
#include "slim/preprocessing/crop.hpp"
#include "slim/preprocessing/resize.hpp"
#include "slim/random.hpp"

namespace slim {

/// What of Inception's training views may be chosen.
struct inception_train_options {
  std::span<const bounding_box> objects{};  ///< of which the crop keeps enough; none: the image
  bool fast_mode = true;    ///< bilinear resizing alone, and neither hue nor contrast changes
  bool random_crop = true;  ///< else the whole image is resized
  distorted_box_options crop{};
};

namespace detail {

/// What 8-bit colours become for Inception: from [0, 255] to [-1, 1].
inline view_options inception_view(int height, int width) {
  return {.resized = {height, width}, .scale = 2 / 255.0f, .offset = {-1, -1, -1}};
}

/// The steps of distort_color, and one more.
struct color_distortion {
  std::array<adjustment, 6> steps{};
  std::size_t count = 0;

  color_distortion(random_stream& random, int ordering, bool fast_mode) {
    const auto between = [&](double from, double to) {
      return static_cast<float>(random.uniform(from, to));
    };
    const adjustment b = brightness(between(-32.0 / 255, 32.0 / 255));
    const adjustment s = saturation(between(0.5, 1.5));
    if (fast_mode) {
      ordering == 0 ? add(b, s) : add(s, b);
    } else {
      const adjustment h = hue(between(-0.2, 0.2)), c = contrast(between(0.5, 1.5));
      switch (ordering) {
        case 0:
          add(b, s, h, c);
          break;
        case 1:
          add(s, b, c, h);
          break;
        case 2:
          add(c, h, b, s);
          break;
        default:
          add(h, s, c, b);
      }
    }
    add(clip());
  }
  template <class... A>
  void add(A... more) {
    ((steps[count++] = more), ...);
  }
  std::span<const adjustment> all() const { return {steps.data(), count}; }
};

}  // namespace detail

/// Changes colours within [0, 1] by chance, in one of four orders: brightness by up to 32 / 255,
/// saturation to 0.5 to 1.5 of it and, unless in fast mode, hue by up to a fifth of a turn and
/// contrast to 0.5 to 1.5 of it; then what lies outside of [0, 1] is clipped.  pixels: [n, 3].
/// Throws std::invalid_argument if color_ordering is not from 0 to 3.
inline void distort_color(std::span<float> pixels, random_stream& random, int color_ordering = 0,
                          bool fast_mode = true) {
  if (color_ordering < 0 || color_ordering > 3)
    throw std::invalid_argument("distort_color: color_ordering is " +
                                std::to_string(color_ordering) + ", not 0 to 3");
  adjust(pixels, detail::color_distortion(random, color_ordering, fast_mode).all());
}

/// Writes a view to train on, by chance, to out, [height, width, 3] floats in [-1, 1]: a part of
/// random extent and shape (Szegedy et al., "Going deeper with convolutions", 2014), resized,
/// mirrored half of the time, and with other colours (Howard, "Some improvements on deep
/// convolutional neural network based image classification", 2013).  Only that part is decoded.
/// Throws image_error if out has another size, std::invalid_argument, and as the source does.
template <image_source S>
void inception_preprocess_for_train(S&& in, int height, int width, random_stream& random,
                                    std::span<float> out,
                                    const inception_train_options& options = {}) {
  const image_box box =
      options.random_crop
          ? sample_distorted_bounding_box(in.extent(), options.objects, random, options.crop)
          : all_of(in);
  view_options view{.resized = {height, width}, .scale = 1 / 255.0f};
  view.method = static_cast<resize_method>(options.fast_mode ? 0 : random.below(4));
  view.mirrored = random.uniform() < 0.5;
  resize(in, box, view, out);
  const int ordering = random.below(4);
  detail::color_distortion colours(random, ordering, options.fast_mode);
  colours.add(rescale(2, -1));
  adjust(out, colours.all());
}
inline void inception_preprocess_for_train(const image& in, int height, int width,
                                           random_stream& random, std::span<float> out,
                                           const inception_train_options& options = {}) {
  inception_preprocess_for_train(whole_image(in), height, width, random, out, options);
}

/// Writes the network's view of an image to out, [height, width, 3] floats in [-1, 1]: its middle,
/// resized without regard to its shape.  Throws image_error if out has another size, and as the
/// source does; std::invalid_argument if central_fraction is not in (0, 1].
template <image_source S>
void inception_preprocess_for_eval(S&& in, int height, int width, std::span<float> out,
                                   double central_fraction = 0.875) {
  if (!(central_fraction > 0 && central_fraction <= 1))
    throw std::invalid_argument("inception_preprocess_for_eval: central_fraction is " +
                                std::to_string(central_fraction) + ", not in (0, 1]");
  resize(in, central_crop(in.extent(), central_fraction), detail::inception_view(height, width),
         out);
}
inline void inception_preprocess_for_eval(const image& in, int height, int width,
                                          std::span<float> out, double central_fraction = 0.875) {
  inception_preprocess_for_eval(whole_image(in), height, width, out, central_fraction);
}

}  // namespace slim
