// The fonts of this machine, and their characters as outlines, through FreeType.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include <ft2build.h>
#include FT_FREETYPE_H
#include FT_OUTLINE_H

#include <slim/error.hpp>

namespace glyphs {

/// A font that cannot be read, or none where one is needed; names the file.
struct font_error : slim::error {
  using error::error;
};

/// A font's file, and what it calls itself.
struct font {
  std::string path, family, style;
};

/// x' = xx x + xy y, y' = yx x + yy y.
struct linear_map {
  double xx = 1, xy = 0, yx = 0, yy = 1;
};

/// FreeType, for one thread.
class font_library {
 public:
  font_library() {
    if (FT_Init_FreeType(&library_) != 0) throw font_error("FreeType cannot be started");
  }
  font_library(const font_library&) = delete;
  font_library& operator=(const font_library&) = delete;
  ~font_library() { FT_Done_FreeType(library_); }
  FT_Library get() const { return library_; }

 private:
  FT_Library library_ = nullptr;
};

/// A font whose characters can be drawn. Its library outlives it.
class typeface {
  struct done {
    void operator()(FT_Face face) const { FT_Done_Face(face); }
  };

 public:
  /// Throws font_error if the file is no font of outlines with a Unicode table.
  typeface(const font_library& library, const std::string& path)
      : library_(library.get()), path_(path) {
    FT_Face face = nullptr;
    if (FT_New_Face(library_, path.c_str(), 0, &face) != 0) throw font_error(path + ": no font");
    face_.reset(face);
    if (!FT_IS_SCALABLE(face)) throw font_error(path + ": a font without outlines");
    if (FT_Select_Charmap(face, FT_ENCODING_UNICODE) != 0)
      throw font_error(path + ": a font without a Unicode table");
  }

  std::string family() const { return face_->family_name ? face_->family_name : ""; }
  std::string style() const { return face_->style_name ? face_->style_name : ""; }

  /// Whether it has outlines for all of these.
  bool has(std::string_view characters) {
    return std::all_of(characters.begin(), characters.end(), [&](char c) {
      const FT_UInt glyph = FT_Get_Char_Index(face_.get(), code(c));
      return glyph != 0 && FT_Load_Glyph(face_.get(), glyph, load_flags) == 0 &&
             outline().n_points > 0;
    });
  }

  /// A character's width and height, in the font's own units. Throws font_error.
  struct extent {
    double width, height;
  };
  extent extent_of(char c) {
    const FT_BBox box = load(c);
    return {double(box.xMax - box.xMin), double(box.yMax - box.yMin)};
  }

  /// The height of an H or, in a font without one, of its em; in the font's own units.
  double capital_height() { return has("H") ? extent_of('H').height : face_->units_per_EM; }

  /// Draws a character on an image of size x size pixels, row-major from the top: how much of each
  /// pixel it covers, of 255. The middle of its box, mapped from the font's units to pixels, comes
  /// to (x, y), which is measured in pixels from the lower left. Throws font_error.
  void draw(char c, const linear_map& map, double x, double y, int size,
            std::span<unsigned char> coverage) {
    const FT_BBox box = load(c);
    FT_Outline_Translate(&outline(), -(box.xMin + box.xMax) / 2, -(box.yMin + box.yMax) / 2);
    // FreeType's matrices are in 1/65536, and outlines to be drawn in 1/64 of a pixel.
    const auto fixed = [](double m) { return static_cast<FT_Fixed>(std::lround(m * 64 * 65536)); };
    const FT_Matrix matrix{fixed(map.xx), fixed(map.xy), fixed(map.yx), fixed(map.yy)};
    FT_Outline_Transform(&outline(), &matrix);
    FT_Outline_Translate(&outline(), std::lround(x * 64), std::lround(y * 64));

    std::fill(coverage.begin(), coverage.end(), static_cast<unsigned char>(0));
    FT_Bitmap bitmap{};
    bitmap.rows = bitmap.width = static_cast<unsigned>(size);
    bitmap.pitch = size;
    bitmap.buffer = coverage.data();
    bitmap.num_grays = 256;
    bitmap.pixel_mode = FT_PIXEL_MODE_GRAY;
    if (FT_Outline_Get_Bitmap(library_, &outline(), &bitmap) != 0) fail("cannot draw", c);
  }

 private:
  static constexpr FT_Int32 load_flags = FT_LOAD_NO_SCALE | FT_LOAD_NO_BITMAP;

  static FT_ULong code(char c) { return static_cast<unsigned char>(c); }
  FT_Outline& outline() { return face_->glyph->outline; }
  [[noreturn]] void fail(const std::string& what, char c) const {
    throw font_error(path_ + ": " + what + " '" + c + "'");
  }
  /// Makes it the character that is at work; returns its box.
  FT_BBox load(char c) {
    if (FT_Load_Char(face_.get(), code(c), load_flags) != 0) fail("cannot load", c);
    FT_BBox box;
    FT_Outline_Get_CBox(&outline(), &box);
    return box;
  }

  FT_Library library_;
  std::string path_;
  std::unique_ptr<std::remove_pointer_t<FT_Face>, done> face_;
};

/// The fonts in these folders and those below that have a name and all of these characters, in the
/// order of family, style and path; of fonts that call themselves the same, the first. Throws
/// font_error if a folder is missing or there is no such font.
inline std::vector<font> find_fonts(const std::vector<std::string>& folders,
                                    std::string_view characters) {
  namespace fs = std::filesystem;
  const font_library library;
  std::vector<font> found;
  for (const std::string& folder : folders) {
    if (!fs::is_directory(folder)) throw font_error(folder + ": no folder of fonts");
    const auto options = fs::directory_options::skip_permission_denied;
    for (const fs::directory_entry& file : fs::recursive_directory_iterator(folder, options)) {
      if (!file.is_regular_file()) continue;
      try {
        typeface face(library, file.path().string());
        if (!face.family().empty() && face.has(characters))
          found.push_back({file.path().string(), face.family(), face.style()});
      } catch (const font_error&) {
        // Folders of fonts hold other files, too.
      }
    }
  }
  const auto name = [](const font& f) { return std::tie(f.family, f.style); };
  std::sort(found.begin(), found.end(), [&](const font& a, const font& b) {
    return std::tie(a.family, a.style, a.path) < std::tie(b.family, b.style, b.path);
  });
  found.erase(std::unique(found.begin(), found.end(),
                          [&](const font& a, const font& b) { return name(a) == name(b); }),
              found.end());
  if (found.empty())
    throw font_error(folders.front() + ": no font with all of " + std::string(characters));
  return found;
}

}  // namespace glyphs
