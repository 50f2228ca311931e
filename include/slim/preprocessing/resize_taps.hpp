// Which pixels of an axis a resized one is made of, and how much of each.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace slim {

/// TensorFlow's tf.image.ResizeMethod, with its numbers.
enum class resize_method { bilinear, nearest_neighbor, bicubic, area };

namespace detail {

/// Output i of an axis is the sum of weight[k] * input[index[k]] for k in [i * per_output, (i + 1)
/// * per_output).  Only inputs [first, last] occur.
struct axis_taps {
  std::size_t per_output = 0;
  std::vector<int> index{};
  std::vector<float> weight{};
  int first = 0, last = 0;

  void add(int i, float w) { index.push_back(i), weight.push_back(w); }
};

/// What is wanted of an axis that is resized from `in` to `out`: `count` outputs from `begin` on.
struct axis_part {
  int in, out, begin, count;

  float scale() const { return static_cast<float>(in) / static_cast<float>(out); }
  int inside(int i) const { return std::clamp(i, 0, in - 1); }
};

inline void add_bilinear(const axis_part& axis, int i, axis_taps& taps) {
  const float at = static_cast<float>(i) * axis.scale(), below = std::floor(at), lerp = at - below;
  taps.add(axis.inside(static_cast<int>(below)), 1 - lerp);
  taps.add(axis.inside(static_cast<int>(std::ceil(at))), lerp);
}

inline void add_nearest(const axis_part& axis, int i, axis_taps& taps) {
  const float at = static_cast<float>(i) * axis.scale();
  taps.add(axis.inside(static_cast<int>(std::floor(at))), 1);
}

/// Keys, "Cubic convolution interpolation for digital image processing", IEEE ASSP 29(6), 1981,
/// with a = -0.75.  TensorFlow looks weights up for multiples of 1 / 1024.
inline float cubic_weight(double distance) {
  constexpr double a = -0.75;
  const double x = distance;
  return static_cast<float>(x <= 1 ? ((a + 2) * x - (a + 3)) * x * x + 1
                                   : ((a * x - 5 * a) * x + 8 * a) * x - 4 * a);
}

inline void add_bicubic(const axis_part& axis, int i, axis_taps& taps) {
  const float at = static_cast<float>(i) * axis.scale(), below = std::floor(at);
  const double lerp = std::nearbyint((at - below) * 1024.0f) / 1024.0;
  const int nearest = static_cast<int>(below);
  taps.add(axis.inside(nearest - 1), cubic_weight(1 + lerp));
  taps.add(axis.inside(nearest), cubic_weight(lerp));
  taps.add(axis.inside(nearest + 1), cubic_weight(1 - lerp));
  taps.add(axis.inside(nearest + 2), cubic_weight(2 - lerp));
}

/// The average over the input that the output covers.
inline void add_area(const axis_part& axis, int i, axis_taps& taps) {
  const float scale = axis.scale();
  const float from = static_cast<float>(i) * scale, to = static_cast<float>(i + 1) * scale;
  int k = static_cast<int>(std::floor(from));
  for (std::size_t n = 0; n < taps.per_output; ++n, ++k) {
    const float low = std::max(from, static_cast<float>(k));
    const float high = std::min(to, static_cast<float>(k + 1));
    taps.add(axis.inside(k), std::max(high - low, 0.0f) / scale);
  }
}

/// Fills `taps`, whose memory is used again; mirrored: the last output comes first.
inline void find_taps(resize_method method, const axis_part& axis, bool mirrored, axis_taps& taps) {
  const auto add = [method] {
    switch (method) {
      case resize_method::nearest_neighbor:
        return add_nearest;
      case resize_method::bicubic:
        return add_bicubic;
      case resize_method::area:
        return add_area;
      default:
        return add_bilinear;
    }
  }();
  constexpr std::size_t usual[] = {2, 1, 4};
  taps.per_output = method == resize_method::area
                        ? static_cast<std::size_t>(std::ceil(axis.scale())) + 1
                        : usual[static_cast<int>(method)];
  taps.index.clear(), taps.weight.clear();
  for (int i = 0; i < axis.count; ++i)
    add(axis, axis.begin + (mirrored ? axis.count - 1 - i : i), taps);
  const auto [least, most] = std::minmax_element(taps.index.begin(), taps.index.end());
  taps.first = *least, taps.last = *most;
}

}  // namespace detail

}  // namespace slim
