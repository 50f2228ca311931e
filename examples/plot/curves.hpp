// Curves as text for a terminal and as an SVG picture.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <sstream>
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
  bool logarithmic = false;  ///< of y; what is not positive is then drawn as the least that is
};

inline std::string to_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

/// From the least to the largest value, on a linear or logarithmic scale.
class axis {
 public:
  axis(const std::vector<point>& points, double point::*coordinate, bool logarithmic)
      : logarithmic_(logarithmic) {
    low_ = std::numeric_limits<double>::infinity(), high_ = -low_;
    for (const point& p : points) {
      if (logarithmic && p.*coordinate <= 0) continue;
      low_ = std::min(low_, p.*coordinate), high_ = std::max(high_, p.*coordinate);
    }
    if (!(low_ <= high_)) low_ = high_ = 1;
  }
  double low() const { return low_; }
  double high() const { return high_; }

  /// Where a value lies, from 0 to 1.
  double part(double value) const {
    const double v = scaled(std::clamp(value, low_, high_));
    return high_ > low_ ? (v - scaled(low_)) / (scaled(high_) - scaled(low_)) : 0.5;
  }
  /// A few round values on it.
  std::vector<double> ticks() const {
    const std::vector<double> all = logarithmic_ ? round_in_decades({1, 2, 5}) : multiples();
    return logarithmic_ && all.size() > 8 ? round_in_decades({1}) : all;
  }

 private:
  double scaled(double v) const { return logarithmic_ ? std::log(v) : v; }
  std::vector<double> round_in_decades(std::initializer_list<int> digits) const {
    std::vector<double> all;
    for (double decade = std::pow(10, std::floor(std::log10(low_))); decade <= high_; decade *= 10)
      for (const int d : digits)
        if (d * decade >= low_ && d * decade <= high_) all.push_back(d * decade);
    return all;
  }
  std::vector<double> multiples() const {
    if (!(high_ > low_)) return {low_};
    const double rough = (high_ - low_) / 5, decade = std::pow(10, std::floor(std::log10(rough)));
    const double step = decade * (rough < 2 * decade ? 2 : rough < 5 * decade ? 5 : 10);
    std::vector<double> all;
    for (double i = std::ceil(low_ / step); i * step <= high_; ++i) all.push_back(i * step);
    return all;
  }

  double low_, high_;
  bool logarithmic_;
};

/// A curve in braille dots, `columns` x `rows` characters, with round values beside it.
inline std::string to_text(const curve& c, int columns = 64, int rows = 8) {
  if (c.points.empty()) return c.name + ": no points\n";
  const axis xs(c.points, &point::x, false), ys(c.points, &point::y, c.logarithmic);
  const auto row_of = [&](double y) {  // in dots, four a character
    return static_cast<int>(std::lround((1 - ys.part(y)) * (4 * rows - 1)));
  };
  std::vector<unsigned char> cells(static_cast<std::size_t>(columns * rows));
  const auto dot = [&](int i, int j) {
    constexpr unsigned char bits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    cells[static_cast<std::size_t>(j / 4 * columns + i / 2)] |= bits[j % 4][i % 2];
  };
  const auto column_of = [&](double x) { return xs.part(x) * (2 * columns - 1); };
  for (std::size_t k = 0; k < c.points.size(); ++k) {
    const point a = c.points[k], b = c.points[std::min(k + 1, c.points.size() - 1)];
    const double from = column_of(a.x), to = column_of(b.x);
    const int steps =
        std::max({1, static_cast<int>(std::ceil(to - from)), std::abs(row_of(b.y) - row_of(a.y))});
    for (int s = 0; s <= steps; ++s) {
      const double t = static_cast<double>(s) / steps;
      const double j = row_of(a.y) + t * (row_of(b.y) - row_of(a.y));
      dot(static_cast<int>(std::lround(from + t * (to - from))), static_cast<int>(std::lround(j)));
    }
  }

  std::vector<std::string> labels(static_cast<std::size_t>(rows));
  for (const double tick : ys.ticks())
    labels[static_cast<std::size_t>(row_of(tick) / 4)] = to_text(tick);
  std::string text = c.name + "\n";
  for (int row = 0; row < rows; ++row) {
    const std::string& label = labels[static_cast<std::size_t>(row)];
    text += std::string(8 - std::min<std::size_t>(label.size(), 8), ' ') + label;
    text += label.empty() ? " │" : " ┤";
    for (int i = 0; i < columns; ++i) {
      const unsigned cell = cells[static_cast<std::size_t>(row * columns + i)];
      text +=
          {'\xE2', static_cast<char>(0xA0 | cell >> 6), static_cast<char>(0x80 | (cell & 0x3F))};
    }
    text += "\n";
  }
  char below[160];
  std::snprintf(below, sizeof below, "%10s%-8.8g%*.8g\n", "", xs.low(), columns - 8, xs.high());
  return text + below;
}

namespace detail {

/// A curve in a frame of its own, with round values on both axes.
inline std::string svg_panel(const curve& c, double left, double top, double width, double height) {
  std::ostringstream out;
  const axis xs(c.points, &point::x, false), ys(c.points, &point::y, c.logarithmic);
  const auto x_of = [&](double x) { return left + xs.part(x) * width; };
  const auto y_of = [&](double y) { return top + (1 - ys.part(y)) * height; };
  const auto line = [&](double x1, double y1, double x2, double y2) {
    out << "<path d='M" << x1 << " " << y1 << "L" << x2 << " " << y2 << "' stroke='#ddd'/>\n";
  };
  const auto label = [&](double x, double y, const char* anchor, const std::string& text) {
    out << "<text x='" << x << "' y='" << y << "' text-anchor='" << anchor << "'>" << text
        << "</text>\n";
  };
  for (const double tick : ys.ticks()) {
    line(left, y_of(tick), left + width, y_of(tick));
    label(left - 6, y_of(tick) + 4, "end", to_text(tick));
  }
  for (const double tick : xs.ticks()) {
    line(x_of(tick), top, x_of(tick), top + height);
    label(x_of(tick), top + height + 16, "middle", to_text(tick));
  }
  out << "<polyline fill='none' stroke-width='1.5' stroke='" << c.colour << "' points='";
  for (const point& p : c.points) out << x_of(p.x) << "," << y_of(p.y) << " ";
  const point last = c.points.back();
  out << "'/>\n<circle r='3' cx='" << x_of(last.x) << "' cy='" << y_of(last.y) << "' fill='"
      << c.colour << "'/>\n";
  label(left + width, top - 8, "end", "at last " + to_text(last.y));
  out << "<text x='" << left << "' y='" << top - 8 << "' font-weight='bold' fill='" << c.colour
      << "'>" << c.name << "</text>\n";
  return out.str();
}

}  // namespace detail

/// All curves in one picture, one below the other. Throws slim::error if it cannot be written.
inline void write_svg(const std::string& path, const std::vector<curve>& curves) {
  constexpr double width = 720, panel = 180, left = 64, right = 24, above = 40, below = 30;
  const double height = static_cast<double>(curves.size()) * (above + panel + below);
  std::ofstream out(path);
  out << "<svg xmlns='http://www.w3.org/2000/svg' width='" << width << "' height='" << height
      << "' font-family='sans-serif' font-size='12' fill='#333'>\n"
      << "<rect width='100%' height='100%' fill='white'/>\n";
  double top = above;
  for (const curve& c : curves) {
    if (!c.points.empty()) out << detail::svg_panel(c, left, top, width - left - right, panel);
    top += above + panel + below;
  }
  out << "</svg>\n";
  out.close();
  if (!out) throw slim::error(path + ": cannot be written");
}

}  // namespace plot
