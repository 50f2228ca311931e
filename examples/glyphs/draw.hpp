// Pictures of characters: turned, slanted, scaled and shifted by chance, in chance colours, with
// noise.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <vector>

#include <slim/random.hpp>

#include "fonts.hpp"

namespace glyphs {

/// Of 8 bits; element [y, x, c] is pixels[(y * size + x) * channels + c].
struct picture {
  int size = 0;
  int channels = 1;  ///< 1: grey, 3: RGB
  std::vector<std::uint8_t> pixels{};
};

/// How far chance may go. Lengths are fractions of the picture's side.
struct distortions {
  double degrees = 15;                   ///< turned by up to this, either way
  double slant = 0.15;                   ///< sheared by up to this, either way
  double shift = 0.1;                    ///< off the middle by up to this, either way
  double smallest = 0.5, largest = 0.8;  ///< the height of a capital
  double noise = 0.1;                    ///< its deviation is up to this, of the range of values
  double contrast = 0.4;                 ///< of ink and paper: at least this, of the range
};

namespace detail {

inline double between(slim::random_stream& random, double a, double b) {
  return a + (b - a) * random.uniform();
}

/// A colour's brightness, in [0, 1], by ITU-R BT.601.
inline double brightness(const std::array<double, 3>& c) {
  return 0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2];
}

inline std::array<double, 3> draw_colour(slim::random_stream& random, int channels) {
  std::array<double, 3> c{};
  for (double& x : c) x = random.uniform();
  if (channels == 1) c.fill(c[0]);
  return c;
}

/// A map from a font's units to pixels, which leaves a character inside of the picture.
inline linear_map draw_map(typeface& face, char c, int size, const distortions& d,
                           slim::random_stream& random) {
  const double angle = between(random, -d.degrees, d.degrees) * std::numbers::pi / 180;
  const double slant = between(random, -d.slant, d.slant);
  const double height = between(random, d.smallest, d.largest) * size;
  const typeface::extent box = face.extent_of(c);
  const double fits = (1 - 2 * d.shift) * size / std::max(box.width, box.height);
  const double scale = std::min(height / face.capital_height(), fits);
  const double cosine = scale * std::cos(angle), sine = scale * std::sin(angle);
  return {cosine, slant * cosine - sine, sine, slant * sine + cosine};
}

}  // namespace detail

/// Draws a character. It is the same for the same font, character and random numbers. Throws
/// font_error.
inline picture draw(typeface& face, char c, int size, int channels, const distortions& d,
                    slim::random_stream& random) {
  using namespace detail;
  const auto side = static_cast<std::size_t>(size), depth = static_cast<std::size_t>(channels);
  const linear_map map = draw_map(face, c, size, d, random);
  const double x = (0.5 + between(random, -d.shift, d.shift)) * size;
  const double y = (0.5 + between(random, -d.shift, d.shift)) * size;
  std::vector<unsigned char> coverage(side * side);
  face.draw(c, map, x, y, size, coverage);

  const std::array<double, 3> paper = draw_colour(random, channels);
  std::array<double, 3> ink;
  do ink = draw_colour(random, channels);
  while (std::abs(brightness(ink) - brightness(paper)) < d.contrast);
  const double noise = between(random, 0, d.noise);
  picture p{size, channels, std::vector<std::uint8_t>(side * side * depth)};
  for (std::size_t i = 0; i < coverage.size(); ++i)
    for (std::size_t k = 0; k < depth; ++k) {
      const double clean = paper[k] + (ink[k] - paper[k]) * coverage[i] / 255;
      const double value = 255 * (clean + noise * random.normal());
      p.pixels[i * depth + k] = static_cast<std::uint8_t>(std::clamp(value, 0.0, 255.0) + 0.5);
    }
  return p;
}

}  // namespace glyphs
