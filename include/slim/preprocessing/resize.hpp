// Images in other sizes, by the rules of TensorFlow 1's tf.image.resize_images: no aligned corners,
// no half-pixel centres.  Only the part that is wanted is computed, and decoded.
//
//   slim::encoded_image file(bytes);
//   slim::resize(file, slim::all_of(file), {.resized = {224, 224}}, out);
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "slim/image.hpp"
#include "slim/preprocessing/resize_taps.hpp"
#include "slim/preprocessing/vectors.hpp"

namespace slim {

/// What pixels are taken from: an encoded_image, or a whole_image.
template <class S>
concept image_source = requires(S& source, const image_box& box) {
  { source.extent() } -> std::same_as<image_extent>;
  { source.part(box) } -> std::same_as<image_view>;
};

/// An image in memory that outlives this.  Throws image_error unless it holds what it says.
class whole_image {
 public:
  explicit whole_image(const image& in) : in_(in) {
    const auto holds = static_cast<std::size_t>(in.height) * static_cast<std::size_t>(in.width) * 3;
    if (in.height > 0 && in.width > 0 && in.pixels.size() == holds) return;
    throw image_error("a " + detail::extent_text({in.height, in.width}) + " image holds " +
                      std::to_string(in.pixels.size()) + " values");
  }
  image_extent extent() const { return {in_.height, in_.width}; }
  image_view part(const image_box& box) const {
    detail::check_box(box, extent());
    return detail::view_of(in_, box);
  }

 private:
  const image& in_;
};

/// The box of all pixels.
template <image_source S>
image_box all_of(S& source) {
  return {0, 0, source.extent().height, source.extent().width};
}

/// What becomes of a box of pixels: it is resized to `resized`, of which the part `wanted` is kept
/// (all of it, where that has no rows), from right to left if mirrored; then each value of channel
/// c, from 0 to 255, is multiplied by `scale`, and offset[c] is added.
struct view_options {
  image_extent resized{};
  image_box wanted{};
  bool mirrored = false;
  float scale = 1;
  std::array<float, 3> offset{};
  resize_method method = resize_method::bilinear;
};

namespace detail {

/// What resizing needs beside its input and output, kept by each thread for its next image.
struct resize_scratch {
  axis_taps rows{}, columns{};
  std::vector<const std::uint8_t*> inputs{};  // the rows of which one is made
  std::vector<float> row{};                   // and that, not yet resized across
};

/// to[i] = a[i] + (b[i] - a[i]) * lerp, by one product as TensorFlow's.
inline void mix_rows(const std::uint8_t* a, const std::uint8_t* b, float lerp, std::size_t count,
                     float* to) {
  std::size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    float16 first, second;
    load_bytes(a + i, first);
    load_bytes(b + i, second);
    const float16 mixed = first + (second - first) * lerp;
    std::memcpy(to + i, &mixed, sizeof mixed);
  }
  for (; i < count; ++i) {
    const float first = a[i], second = b[i];
    to[i] = first + (second - first) * lerp;
  }
}

/// to[i] += a[i] * weight.
inline void add_row(const std::uint8_t* a, float weight, std::size_t count, float* to) {
  std::size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    float16 input, sum;
    load_bytes(a + i, input);
    std::memcpy(&sum, to + i, sizeof sum);
    sum += input * weight;
    std::memcpy(to + i, &sum, sizeof sum);
  }
  for (; i < count; ++i) to[i] += static_cast<float>(a[i]) * weight;
}

/// to[i] = sum over the rows of weight * row[i].
inline void weigh_rows(std::span<const std::uint8_t* const> rows, const float* weights,
                       std::size_t count, float* to) {
  if (rows.size() == 2) return mix_rows(rows[0], rows[1], weights[1], count, to);
  std::fill_n(to, count, 0.0f);
  for (std::size_t r = 0; r < rows.size(); ++r) add_row(rows[r], weights[r], count, to);
}

/// Calls pixel(x, result) for each of `count` pixels, [count, 3] floats in `to`.
template <class F>
void fill_pixels(float* to, std::size_t count, F pixel) {
  float4 v;
  for (std::size_t x = 0; x + 1 < count; ++x, to += 3) {
    pixel(x, v);
    std::memcpy(to, &v, sizeof v);  // the fourth value is replaced by the next pixel's first
  }
  pixel(count - 1, v);
  std::memcpy(to, &v, 3 * sizeof(float));
}

/// One row across: [pixels, 3] floats and one more behind them, to [outputs, 3].  The taps' indices
/// are those of floats.
inline void resize_row(const float* row, const axis_taps& columns, const view_options& o,
                       float* to) {
  const float4 scale{o.scale, o.scale, o.scale, 0};
  const float4 offset{o.offset[0], o.offset[1], o.offset[2], 0};
  const std::size_t n = columns.per_output, outputs = columns.index.size() / n;
  const int* const index = columns.index.data();
  const float* const weight = columns.weight.data();
  if (n == 2) {
    fill_pixels(to, outputs, [=](std::size_t x, float4& v) {
      float4 left, right;
      std::memcpy(&left, row + index[2 * x], sizeof left);
      std::memcpy(&right, row + index[2 * x + 1], sizeof right);
      v = (left + (right - left) * weight[2 * x + 1]) * scale + offset;
    });
    return;
  }
  fill_pixels(to, outputs, [=](std::size_t x, float4& v) {
    float4 sum{}, input;
    for (std::size_t k = n * x; k < n * (x + 1); ++k) {
      std::memcpy(&input, row + index[k], sizeof input);
      sum += input * weight[k];
    }
    v = sum * scale + offset;
  });
}

/// What the taps make of a view that begins with the first row and column that they need.
inline void resize_view(const image_view& in, resize_scratch& s, const view_options& o, float* to) {
  const std::size_t values = 3 * static_cast<std::size_t>(in.width), n = s.rows.per_output;
  s.row.resize(values + 1);
  s.inputs.resize(n);
  for (int& i : s.columns.index) i = 3 * (i - s.columns.first);
  for (std::size_t k = 0; k < s.rows.index.size(); k += n) {
    for (std::size_t i = 0; i < n; ++i) {
      const int row = s.rows.index[k + i] - s.rows.first;
      s.inputs[i] = in.pixels + static_cast<std::size_t>(row) * in.stride;
    }
    weigh_rows(s.inputs, &s.rows.weight[k], values, s.row.data());
    resize_row(s.row.data(), s.columns, o, to);
    to += 3 * (s.columns.index.size() / s.columns.per_output);
  }
}

/// Throws image_error unless the view lies in the resized image and fills the output.
inline void check_view(const image_box& box, const view_options& o, std::size_t out_size) {
  const image_extent to = o.resized;
  if (box.height <= 0 || box.width <= 0 || to.height <= 0 || to.width <= 0) {
    throw image_error("a " + extent_text({box.height, box.width}) + " image cannot be resized to " +
                      extent_text(to));
  }
  const image_box& w = o.wanted;
  if (w.top < 0 || w.left < 0 || w.height <= 0 || w.width <= 0 || w.height > to.height - w.top ||
      w.width > to.width - w.left) {
    throw image_error("a crop of " + extent_text({w.height, w.width}) +
                      " does not fit the resized image, which is " + extent_text(to));
  }
  const auto values = 3 * static_cast<std::size_t>(w.height) * static_cast<std::size_t>(w.width);
  if (out_size != values) {
    throw image_error("the output holds " + std::to_string(out_size) + " values, not " +
                      extent_text({w.height, w.width}) + "x3");
  }
}

}  // namespace detail

/// Writes a view of the box to out: [height, width, 3] floats of what is wanted.  Only pixels that
/// it needs are asked of the source, once.  Throws image_error if the box is not inside of the
/// image or the wanted part not inside of the resized one, if out has another size, and as the
/// source does; out is then untouched.
template <image_source S>
void resize(S& source, const image_box& box, view_options options, std::span<float> out) {
  if (options.wanted.height == 0) {
    options.wanted = {0, 0, options.resized.height, options.resized.width};
  }
  detail::check_box(box, source.extent());
  detail::check_view(box, options, out.size());
  thread_local detail::resize_scratch scratch;
  const image_box& w = options.wanted;
  auto& [rows, columns, inputs, row] = scratch;
  detail::find_taps(options.method, {box.height, options.resized.height, w.top, w.height}, false,
                    rows);
  detail::find_taps(options.method, {box.width, options.resized.width, w.left, w.width},
                    options.mirrored, columns);
  const image_view needed =
      source.part({box.top + rows.first, box.left + columns.first, rows.last - rows.first + 1,
                   columns.last - columns.first + 1});
  detail::resize_view(needed, scratch, options, out.data());
}

}  // namespace slim
