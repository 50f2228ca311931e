// The data set of glyphs: its files are what the options say whatever the threads, its test fonts
// are none that are trained on, and its pictures are read as they were drawn.

#include <catch2/catch.hpp>

#include <set>

#include "../examples/glyphs/dataset.hpp"
#include "../examples/glyphs/input.hpp"
#include "files.hpp"

namespace {

using namespace slim_test;
using Catch::Contains;

const std::vector<glyphs::font>& fonts() {
  static const auto all = glyphs::find_fonts({"/usr/share/fonts"}, glyphs::digits);
  return all;
}

glyphs::dataset_options small(const std::string& folder) {
  return {.folder = folder, .train = 61, .test = 20, .train_shards = 3, .threads = 2};
}

std::vector<std::byte> shard(const glyphs::dataset_options& o, int i) {
  return read_file(glyphs::shard_path(o, "train", i, o.train_shards));
}

/// The fonts of a split's pictures.
std::set<std::string> used_fonts(const std::string& folder, const std::string& split) {
  const slim::data::record_set records = glyphs::read_split(folder, split);
  std::set<std::string> used;
  for (std::int64_t i = 0; i < records.size(); ++i) {
    const slim::data::example_view e(records.record(i));
    used.emplace(e.at("image/font").bytes().at(0));
  }
  return used;
}

}  // namespace

TEST_CASE("families are on one side alone, with those that only extend their names") {
  const std::vector<glyphs::font> all{{"1", "A", "Bold"},       {"2", "A", "Regular"},
                                      {"3", "A Condensed", ""}, {"4", "B C", ""},
                                      {"5", "B C Light", ""},   {"6", "Bx", ""}};
  std::set<std::string> tested;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const glyphs::font_split split = glyphs::split_fonts(all, 0.3, seed);
    CHECK(split.train.size() + split.test.size() == all.size());
    const std::string& first = split.test.front().family;
    tested.insert(first);
    const std::size_t members = first == "A" ? 3 : first == "B C" ? 2 : 1;
    CHECK(split.test.size() == members);
    for (const glyphs::font& f : split.test) CHECK(f.family.starts_with(first));
  }
  CHECK(tested == std::set<std::string>{"A", "B C", "Bx"});
  CHECK_THROWS_WITH(glyphs::split_fonts({all[0], all[2]}, 0.3, 1), Contains("of the family A"));
}

TEST_CASE("a data set is the same for any number of threads, and another for another seed") {
  const temporary_folder folder;
  auto one = small(folder / "one"), three = small(folder / "three"),
       other = small(folder / "other");
  one.threads = 1, three.threads = 3, other.seed = 2;
  for (const auto& o : {one, three, other}) glyphs::write_dataset(o, fonts());
  for (int i = 0; i < one.train_shards; ++i) {
    CHECK(shard(one, i) == shard(three, i));
    CHECK(shard(one, i) != shard(other, i));
  }
}

TEST_CASE("a data set holds what its options say, and tests with fonts of its own") {
  const temporary_folder folder;
  auto o = small(folder.path());
  o.characters = "AB7", o.size = 32, o.channels = 3, o.jpeg = 0.5;
  const glyphs::font_split split = glyphs::write_dataset(o, fonts());
  const auto text = read_file(folder / "labels.txt");
  CHECK(std::string(reinterpret_cast<const char*>(text.data()), text.size()) == "0:A\n1:B\n2:7\n");

  const slim::data::record_set records = glyphs::read_split(folder.path(), "train");
  CHECK(records.size() == o.train);
  CHECK(records.files().size() == 3);
  std::set<std::string> formats;
  std::map<int, int> labels;
  for (std::int64_t i = 0; i < records.size(); ++i) {
    const slim::data::example_view e(records.record(i));
    int label = -1;
    const slim::image picture = glyphs::read_example(records.record(i), {&label, 1});
    CHECK(picture.height == 32);
    CHECK(picture.width == 32);
    CHECK(e.at("image/height").int64s().at(0) == 32);
    CHECK(e.at("image/width").int64s().at(0) == 32);
    const std::string format(e.at("image/format").bytes().at(0));
    const bool png = e.at("image/encoded").bytes().at(0).substr(1, 3) == "PNG";
    CHECK(png == (format == "png"));
    formats.insert(format);
    ++labels[label];
    const auto [least, most] = std::minmax_element(picture.pixels.begin(), picture.pixels.end());
    CHECK(*most - *least > 60);  // something is drawn
  }
  CHECK(formats == std::set<std::string>{"jpeg", "png"});
  CHECK(labels == std::map<int, int>{{0, 21}, {1, 20}, {2, 20}});

  std::set<std::string> tested;
  for (const glyphs::font& f : split.test) tested.insert(f.family + " " + f.style);
  for (const std::string& f : used_fonts(folder.path(), "train")) CHECK_FALSE(tested.contains(f));
  for (const std::string& f : used_fonts(folder.path(), "test")) CHECK(tested.contains(f));
}

TEST_CASE("a character is turned, moved and scaled as asked") {
  const glyphs::font_library library;
  glyphs::typeface face(library, fonts().front().path);
  constexpr int size = 64;
  std::vector<unsigned char> coverage(size * size);
  const auto extent = face.extent_of('1');
  const double scale = 40 / extent.height;
  // The box of what is covered: [left, right) x [top, bottom).
  const auto box = [&] {
    std::array<int, 4> b{size, 0, size, 0};
    for (int y = 0; y < size; ++y)
      for (int x = 0; x < size; ++x)
        if (coverage[static_cast<std::size_t>(y * size + x)] > 127)
          b = {std::min(b[0], x), std::max(b[1], x + 1), std::min(b[2], y), std::max(b[3], y + 1)};
    return b;
  };
  face.draw('1', {scale, 0, 0, scale}, 32, 40, size, coverage);
  const auto [left, right, top, bottom] = box();
  CHECK(bottom - top == Approx(40).margin(1.5));
  CHECK(right - left == Approx(scale * extent.width).margin(1.5));
  CHECK((left + right) / 2.0 == Approx(32).margin(1));
  CHECK((top + bottom) / 2.0 == Approx(64 - 40).margin(1));
  face.draw('1', {0, -scale, scale, 0}, 32, 32, size, coverage);  // a quarter turn
  CHECK(box()[1] - box()[0] == Approx(40).margin(1.5));
}

TEST_CASE("nets take pictures of their own size, and smaller ones in the middle of black") {
  slim::data::example e;
  const std::vector<std::uint8_t> white(4 * 2, 255);  // 4 rows of 2
  e.features["image/encoded"] = slim::data::bytes_list{slim::encode_png(white, 4, 2, 1)};
  e.features["image/class/label"] = slim::data::int64_list{7};
  const std::string record = e.serialize();
  const auto bytes = std::as_bytes(std::span(record));
  slim::random_stream random(1);
  int label = 0;
  std::vector<float> pixels(6 * 6);
  glyphs::decode_glyph<6, 1, glyphs::centred>{}(bytes, random, pixels, {&label, 1});
  CHECK(label == 7);
  for (std::size_t y = 0; y < 6; ++y)
    for (std::size_t x = 0; x < 6; ++x) {
      const bool inside = y >= 1 && y < 5 && x >= 2 && x < 4;
      CHECK(pixels[y * 6 + x] == (inside ? 127.0f / 128.0f : -1.0f));
    }
  glyphs::decode_glyph<6, 1, glyphs::standardized>{}(bytes, random, pixels, {&label, 1});
  double sum = 0, squares = 0;
  for (const float p : pixels) sum += p, squares += double(p) * p;
  CHECK(sum == Approx(0).margin(1e-5));
  CHECK(squares == Approx(36).epsilon(1e-5));
  CHECK_THROWS_WITH((glyphs::decode_glyph<3, 1, glyphs::centred>{}(
                        bytes, random, std::span(pixels).first(9), {&label, 1})),
                    Contains("is 4x2, the net takes 3x3"));
  e.features["image/class/label"] = slim::data::int64_list{};
  const std::string none = e.serialize();
  CHECK_THROWS_WITH(glyphs::read_example(std::as_bytes(std::span(none)), {&label, 1}),
                    Contains("one label"));
}

TEST_CASE("what is no folder of fonts is refused") {
  const temporary_folder folder;
  CHECK_THROWS_WITH(glyphs::find_fonts({folder / "none"}, "1"), Contains("no folder of fonts"));
  CHECK_THROWS_WITH(glyphs::find_fonts({folder.path()}, "1"), Contains("no font with all of 1"));
  std::ofstream(folder / "false.ttf") << "not a font";
  CHECK_THROWS_AS(glyphs::typeface(glyphs::font_library(), folder / "false.ttf"),
                  glyphs::font_error);
}
