// Colours that are changed: TensorFlow's tf.image.adjust_brightness, adjust_saturation, adjust_hue,
// adjust_contrast and per_image_standardization, of [pixels, 3] floats where they lie.
//
//   const slim::adjustment steps[] = {slim::brightness(0.1f), slim::hue(-0.05f)};
//   slim::adjust(pixels, steps);
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>

namespace slim {

enum class adjustment_kind { brightness, saturation, hue, contrast, clip, rescale };

/// One change of all pixels.
struct adjustment {
  adjustment_kind kind;
  float value = 0;   // added, multiplied or turned by
  float second = 0;  // what rescale adds
};

/// Adds delta.
constexpr adjustment brightness(float delta) { return {adjustment_kind::brightness, delta}; }
/// Multiplies the saturation of HSV, which stays within [0, 1].
constexpr adjustment saturation(float factor) { return {adjustment_kind::saturation, factor}; }
/// Turns the hue of HSV, of which a turn is 1.
constexpr adjustment hue(float delta) { return {adjustment_kind::hue, delta}; }
/// Multiplies each channel's distance from its mean.
constexpr adjustment contrast(float factor) { return {adjustment_kind::contrast, factor}; }
/// To within [0, 1].
constexpr adjustment clip() { return {adjustment_kind::clip}; }
/// value * factor + offset.
constexpr adjustment rescale(float factor, float offset) {
  return {adjustment_kind::rescale, factor, offset};
}

namespace detail {

/// 16 pixels, each channel by itself: what compilers vectorise.
struct pixel_block {
  static constexpr std::size_t size = 16;
  using channel = std::array<float, size>;
  channel r, g, b;

  template <class F>
  void each_channel(F f) {
    for (channel* c : {&r, &g, &b}) {
      for (float& v : *c) v = f(v);
    }
  }
  /// f(r, g, b) changes one pixel.
  template <class F>
  void each_pixel(F f) {
    for (std::size_t i = 0; i < size; ++i) f(r[i], g[i], b[i]);
  }
};

inline void load(const float* from, std::size_t count, pixel_block& p) {
  for (std::size_t i = 0; i < count; ++i, from += 3)
    p.r[i] = from[0], p.g[i] = from[1], p.b[i] = from[2];
}
inline void store(const pixel_block& p, std::size_t count, float* to) {
  for (std::size_t i = 0; i < count; ++i, to += 3) to[0] = p.r[i], to[1] = p.g[i], to[2] = p.b[i];
}

/// In HSV with hue and value V kept, a channel is V minus a distance in proportion to saturation.
inline void scale_saturation(pixel_block& p, float factor) {
  p.each_pixel([factor](float& r, float& g, float& b) {
    const float most = std::max(r, std::max(g, b)), least = std::min(r, std::min(g, b));
    const float range = most - least;
    // Saturation is range / V: at most 1 afterwards, and 0 where V is not positive.
    const float all = most / (range > 0 ? range : 1);
    const float by = most > 0 ? std::max(std::min(factor, all), 0.0f) : 0.0f;
    r = most - (most - r) * by, g = most - (most - g) * by, b = most - (most - b) * by;
  });
}

/// A channel of HSV is V minus its range times a trapezoid of the hue, which channels see a third
/// of a turn apart.
inline void turn_hue(pixel_block& p, float delta) {
  const float sixths = 6 * (delta - std::floor(delta));
  p.each_pixel([sixths](float& r, float& g, float& b) {
    const float most = std::max(r, std::max(g, b)), least = std::min(r, std::min(g, b));
    const float range = most - least, by = 1 / (range > 0 ? range : 1);
    const float in_g = 2 + (b - r) * by, in_b = 4 + (r - g) * by, in_r = 6 + (g - b) * by;
    const float h = (r == most ? in_r : g == most ? in_g : in_b) + sixths;
    const auto channel = [&](float third) {
      float k = h + third;  // within [0, 18)
      k = k >= 12 ? k - 12 : k;
      k = k >= 6 ? k - 6 : k;
      return most - range * std::max(std::min(std::min(k, 4 - k), 1.0f), 0.0f);
    };
    r = channel(5), g = channel(3), b = channel(1);
  });
}

inline std::array<float, 3> channel_means(std::span<const float> pixels) {
  std::array<double, 3> sums{};
  for (std::size_t i = 0; i < pixels.size();) {
    constexpr std::size_t run = 3 * 256;  // short enough to be summed as floats
    std::array<float, 3> some{};
    for (const std::size_t end = std::min(i + run, pixels.size()); i < end; i += 3) {
      for (std::size_t c = 0; c < 3; ++c) some[c] += pixels[i + c];
    }
    for (std::size_t c = 0; c < 3; ++c) sums[c] += static_cast<double>(some[c]);
  }
  std::array<float, 3> means{};
  for (std::size_t c = 0; c < 3; ++c)
    means[c] = static_cast<float>(sums[c] / static_cast<double>(pixels.size() / 3));
  return means;
}

inline void apply(const adjustment& a, const std::array<float, 3>& means, pixel_block& p) {
  const float value = a.value, second = a.second;
  switch (a.kind) {
    case adjustment_kind::brightness:
      return p.each_channel([=](float v) { return v + value; });
    case adjustment_kind::saturation:
      return scale_saturation(p, value);
    case adjustment_kind::hue:
      return turn_hue(p, value);
    case adjustment_kind::contrast:
      return p.each_pixel([&means, value](float& r, float& g, float& b) {
        r = (r - means[0]) * value + means[0];
        g = (g - means[1]) * value + means[1];
        b = (b - means[2]) * value + means[2];
      });
    case adjustment_kind::clip:
      return p.each_channel([](float v) { return std::min(std::max(v, 0.0f), 1.0f); });
    case adjustment_kind::rescale:
      return p.each_channel([=](float v) { return v * value + second; });
  }
}

/// Steps of which none but the first is a contrast, in one pass.
inline void adjust_at_once(std::span<float> pixels, std::span<const adjustment> steps) {
  std::array<float, 3> means{};
  if (steps[0].kind == adjustment_kind::contrast) means = channel_means(pixels);
  pixel_block block{};
  for (std::size_t i = 0; i < pixels.size(); i += 3 * pixel_block::size) {
    const bool full = pixels.size() - i >= 3 * pixel_block::size;
    const std::size_t count = full ? pixel_block::size : (pixels.size() - i) / 3;
    full ? load(&pixels[i], pixel_block::size, block) : load(&pixels[i], count, block);
    for (const adjustment& step : steps) apply(step, means, block);
    full ? store(block, pixel_block::size, &pixels[i]) : store(block, count, &pixels[i]);
  }
}

}  // namespace detail

/// Applies the steps in their order to [pixels, 3] floats.  Throws std::invalid_argument if they
/// are no pixels of three.
inline void adjust(std::span<float> pixels, std::span<const adjustment> steps) {
  if (pixels.size() % 3 != 0)
    throw std::invalid_argument("adjust: " + std::to_string(pixels.size()) +
                                " values are no pixels of three channels");
  while (!steps.empty() && !pixels.empty()) {
    // A contrast's means are those of all pixels after the steps before it.
    const auto next = std::find_if(steps.begin() + 1, steps.end(), [](const adjustment& a) {
      return a.kind == adjustment_kind::contrast;
    });
    const auto count = static_cast<std::size_t>(next - steps.begin());
    detail::adjust_at_once(pixels, steps.first(count));
    steps = steps.subspan(count);
  }
}

/// Shifts and scales all values to mean 0 and variance 1; the standard deviation counts as at least
/// 1 / sqrt(values), so that a plain image gives zeros.
inline void per_image_standardization(std::span<float> values) {
  const auto count = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const float v : values) sum += static_cast<double>(v);
  const double mean = sum / count;
  for (const float v : values) {
    const double d = static_cast<double>(v) - mean;
    squares += d * d;
  }
  const double deviation = std::max(std::sqrt(squares / count), 1 / std::sqrt(count));
  for (float& v : values) v = static_cast<float>((static_cast<double>(v) - mean) / deviation);
}

}  // namespace slim
