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
#include <utility>

#include "slim/preprocessing/vectors.hpp"

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

/// 16 pixels, each channel by itself.
struct pixel_block {
  static constexpr std::size_t size = 16, values = 3 * size;
  float16 r, g, b;
};

// By reference: how vectors are passed by value depends on the machine.
inline void at_least(float16& x, const float16& least) { x = x > least ? x : least; }
inline void at_most(float16& x, const float16& most) { x = x < most ? x : most; }

/// The largest channel, and how far the smallest is below it.
inline void find_range(const pixel_block& p, float16& most, float16& range) {
  float16 least = p.r;
  most = p.r;
  at_least(most, p.g), at_least(most, p.b);
  at_most(least, p.g), at_most(least, p.b);
  range = most - least;
}

/// Channel C of 48 values in their order, x to z.
template <int C, std::size_t... J>
void take_channel(const float16& x, const float16& y, const float16& z, float16& channel,
                  std::index_sequence<J...>) {
  const float16 xy = __builtin_shufflevector(x, y, (3 * J + C < 32 ? int(3 * J + C) : -1)...);
  channel = __builtin_shufflevector(xy, z, (3 * J + C < 32 ? int(J) : int(3 * J + C) - 16)...);
}
/// Values [16 * P, 16 * (P + 1)) of 16 pixels in their order.
template <int P, std::size_t... J>
void join_channels(const pixel_block& p, float16& part, std::index_sequence<J...>) {
  constexpr auto pixel = [](std::size_t j) { return static_cast<int>(16 * P + j) / 3; };
  constexpr auto channel = [](std::size_t j) { return static_cast<int>(16 * P + j) % 3; };
  const float16 rg =
      __builtin_shufflevector(p.r, p.g, (channel(J) == 0 ? pixel(J) : 16 + pixel(J))...);
  part = __builtin_shufflevector(rg, p.b, (channel(J) == 2 ? 16 + pixel(J) : int(J))...);
}

inline void load(const float* from, pixel_block& p) {
  constexpr std::make_index_sequence<pixel_block::size> each{};
  float16 x, y, z;
  std::memcpy(&x, from, sizeof x);
  std::memcpy(&y, from + 16, sizeof y);
  std::memcpy(&z, from + 32, sizeof z);
  take_channel<0>(x, y, z, p.r, each);
  take_channel<1>(x, y, z, p.g, each);
  take_channel<2>(x, y, z, p.b, each);
}
inline void store(const pixel_block& p, float* to) {
  constexpr std::make_index_sequence<pixel_block::size> each{};
  float16 x, y, z;
  join_channels<0>(p, x, each);
  join_channels<1>(p, y, each);
  join_channels<2>(p, z, each);
  std::memcpy(to, &x, sizeof x);
  std::memcpy(to + 16, &y, sizeof y);
  std::memcpy(to + 32, &z, sizeof z);
}

/// In HSV with hue and value V kept, a channel is V minus a distance in proportion to saturation.
inline void scale_saturation(pixel_block& p, float factor) {
  const float16 zero{}, one = zero + 1;
  float16 most, range;
  find_range(p, most, range);
  // Saturation is range / V: at most 1 afterwards, and 0 where V is not positive.
  const float16 all = most / (range > 0 ? range : one);
  float16 by = zero + factor;
  at_most(by, all), at_least(by, zero);
  by = most > 0 ? by : zero;
  p.r = most - (most - p.r) * by;
  p.g = most - (most - p.g) * by;
  p.b = most - (most - p.b) * by;
}

/// A channel of HSV is V minus its range times a trapezoid of the hue, which channels see a third
/// of a turn apart.
inline void turn_hue(pixel_block& p, float delta) {
  const float sixths = 6 * (delta - std::floor(delta));
  const float16 zero{}, one = zero + 1;
  float16 most, range;
  find_range(p, most, range);
  const float16 by = one / (range > 0 ? range : one);
  const float16 in_r = 6 + (p.g - p.b) * by, in_g = 2 + (p.b - p.r) * by;
  const float16 in_b = 4 + (p.r - p.g) * by;
  const float16 h = (p.r == most ? in_r : p.g == most ? in_g : in_b) + sixths;
  const auto turned = [&](float thirds, float16& channel) {
    float16 k = h + thirds;  // within [0, 18)
    k = k >= 12 ? k - 12 : k;
    k = k >= 6 ? k - 6 : k;
    at_most(k, 4 - k), at_most(k, one), at_least(k, zero);
    channel = most - range * k;
  };
  turned(5, p.r), turned(3, p.g), turned(1, p.b);
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
  const float16 zero{}, one = zero + 1;
  switch (a.kind) {
    case adjustment_kind::brightness:
      p.r += value, p.g += value, p.b += value;
      break;
    case adjustment_kind::saturation:
      scale_saturation(p, value);
      break;
    case adjustment_kind::hue:
      turn_hue(p, value);
      break;
    case adjustment_kind::contrast:
      p.r = (p.r - means[0]) * value + means[0];
      p.g = (p.g - means[1]) * value + means[1];
      p.b = (p.b - means[2]) * value + means[2];
      break;
    case adjustment_kind::clip:
      for (float16* channel : {&p.r, &p.g, &p.b}) at_least(*channel, zero), at_most(*channel, one);
      break;
    case adjustment_kind::rescale:
      p.r = p.r * value + second, p.g = p.g * value + second, p.b = p.b * value + second;
      break;
  }
}

/// Steps of which none but the first is a contrast, in one pass.
inline void adjust_at_once(std::span<float> pixels, std::span<const adjustment> steps) {
  std::array<float, 3> means{};
  if (steps[0].kind == adjustment_kind::contrast) means = channel_means(pixels);
  const auto change = [&](float* block) {
    pixel_block p;
    load(block, p);
    for (const adjustment& step : steps) apply(step, means, p);
    store(p, block);
  };
  std::size_t i = 0;
  for (; i + pixel_block::values <= pixels.size(); i += pixel_block::values) change(&pixels[i]);
  if (i == pixels.size()) return;
  std::array<float, pixel_block::values> rest{};
  std::copy(pixels.begin() + static_cast<std::ptrdiff_t>(i), pixels.end(), rest.begin());
  change(rest.data());
  std::copy_n(rest.begin(), pixels.size() - i, pixels.begin() + static_cast<std::ptrdiff_t>(i));
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
