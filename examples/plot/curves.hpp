// Curves as text for a terminal and as an SVG picture.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include <slim/error.hpp>

namespace plot {

struct point {
  double x, y;
};
struct curve {
  std::string name, colour;
  std::vector<point> points;
};

struct range {
  double low = 0, high = 1;
  double part(double v) const { return high > low ? (v - low) / (high - low) : 0.5; }
};

inline range range_of(const std::vector<point>& points, double point::*axis) {
  range r{points.front().*axis, points.front().*axis};
  for (const point& p : points) r = {std::min(r.low, p.*axis), std::max(r.high, p.*axis)};
  return r;
}

/// A curve in braille dots, `columns` x `rows` characters, with its extremes beside it.
inline std::string to_text(const curve& c, int columns = 64, int rows = 8) {
  if (c.points.empty()) return c.name + ": no points\n";
  const range xs = range_of(c.points, &point::x), ys = range_of(c.points, &point::y);
  std::vector<unsigned char> cells(static_cast<std::size_t>(columns * rows));
  const auto dot = [&](double x, double y) {
    const int i = static_cast<int>(std::lround(xs.part(x) * (2 * columns - 1)));
    const int j = static_cast<int>(std::lround((1 - ys.part(y)) * (4 * rows - 1)));
    constexpr unsigned char bits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    cells[static_cast<std::size_t>(j / 4 * columns + i / 2)] |= bits[j % 4][i % 2];
  };
  for (std::size_t k = 0; k + 1 < c.points.size(); ++k) {
    const point a = c.points[k], b = c.points[k + 1];
    for (int s = 0; s <= 64; ++s) dot(a.x + (b.x - a.x) * s / 64, a.y + (b.y - a.y) * s / 64);
  }
  dot(c.points.back().x, c.points.back().y);
  std::string text = c.name + "\n";
  for (int row = 0; row < rows; ++row) {
    char side[16] = "        ";
    if (row == 0) std::snprintf(side, sizeof side, "%8.4g", ys.high);
    if (row == rows - 1) std::snprintf(side, sizeof side, "%8.4g", ys.low);
    text += side + std::string(" ");
    for (int i = 0; i < columns; ++i) {
      const unsigned cell = cells[static_cast<std::size_t>(row * columns + i)];
      text +=
          {'\xE2', static_cast<char>(0xA0 | cell >> 6), static_cast<char>(0x80 | (cell & 0x3F))};
    }
    text += "\n";
  }
  char below[160];
  std::snprintf(below, sizeof below, "%9s%-8.4g%*.4g\n", "", xs.low, columns - 8, xs.high);
  return text + below;
}

/// All curves in one picture, each over its own range. Throws slim::error if it cannot be written.
inline void write_svg(const std::string& path, const std::string& x_name,
                      const std::vector<curve>& curves) {
  constexpr double width = 720, height = 360, margin = 48;
  std::ofstream out(path);
  out << "<svg xmlns='http://www.w3.org/2000/svg' width='" << width << "' height='" << height
      << "' font-family='sans-serif' font-size='12'>\n<rect width='100%' height='100%' "
         "fill='white'/>\n<rect x='"
      << margin << "' y='" << margin << "' width='" << width - 2 * margin << "' height='"
      << height - 2 * margin << "' fill='none' stroke='#999'/>\n<text x='" << width / 2 << "' y='"
      << height - 12 << "' text-anchor='middle'>" << x_name << "</text>\n";
  double left = margin;
  for (const curve& c : curves) {
    if (c.points.empty()) continue;
    const range xs = range_of(c.points, &point::x), ys = range_of(c.points, &point::y);
    out << "<polyline fill='none' stroke-width='1.5' stroke='" << c.colour << "' points='";
    for (const point& p : c.points)
      out << margin + xs.part(p.x) * (width - 2 * margin) << ","
          << height - margin - ys.part(p.y) * (height - 2 * margin) << " ";
    out << "'/>\n<text x='" << left << "' y='28' fill='" << c.colour << "'>" << c.name << ": "
        << ys.low << " to " << ys.high << ", at last " << c.points.back().y << "</text>\n";
    left += (width - 2 * margin) / static_cast<double>(curves.size());
  }
  out << "</svg>\n";
  out.close();
  if (!out) throw slim::error(path + ": cannot be written");
}

}  // namespace plot
