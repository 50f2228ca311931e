// JPEG and PNG reading, and VGG's preprocessing, against TensorFlow and against damaged files.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <jpeglib.h>
#include <png.h>
#include <catch2/catch.hpp>

#include "golden.hpp"
#include "slim/image.hpp"
#include "slim/preprocessing/vgg_preprocessing.hpp"

namespace {

using bytes = std::vector<std::byte>;
using pixels = std::vector<std::uint8_t>;

bytes file_bytes(const std::string& name) {
  return slim::detail::read_bytes(slim_test::data_path(name));
}

/// The message of the image_error that decoding throws, or "" if it gives an image.
std::string fault(std::span<const std::byte> data) {
  try {
    const slim::image out = slim::decode_image(data);
    REQUIRE(out.height > 0);
    REQUIRE(out.width > 0);
    REQUIRE(out.pixels.size() == static_cast<std::size_t>(3 * out.height * out.width));
    return "";
  } catch (const slim::image_error& e) {
    return e.what();
  }
}

/// The largest difference of two equally large sequences; infinite if their sizes differ.
template <class A, class B>
double largest_difference(const A& a, const B& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return worst;
}

pixels noise(const std::string& name, std::size_t count) {
  pixels out(count);
  const std::uint64_t seed = slim_test::fnv1a64(name);
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = static_cast<std::uint8_t>(slim_test::hash_at(seed, i));
  }
  return out;
}

/// A PNG of the given layout; `rows` holds packed rows as libpng stores them.
struct png_layout {
  int type = PNG_COLOR_TYPE_RGB;
  int depth = 8;
  int interlace = PNG_INTERLACE_NONE;
  std::vector<png_color> palette{};
  bytes palette_alpha{};
};

bytes encode_png(int height, int width, pixels rows, png_layout layout) {
  bytes out;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &out,
      [](png_structp p, png_bytep data, std::size_t count) {
        auto* to = static_cast<bytes*>(png_get_io_ptr(p));
        const auto* from = reinterpret_cast<std::byte*>(data);
        to->insert(to->end(), from, from + count);
      },
      nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height),
               layout.depth, layout.type, layout.interlace, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  if (!layout.palette.empty()) {
    png_set_PLTE(png, info, layout.palette.data(), static_cast<int>(layout.palette.size()));
  }
  if (!layout.palette_alpha.empty()) {
    png_set_tRNS(png, info, reinterpret_cast<png_bytep>(layout.palette_alpha.data()),
                 static_cast<int>(layout.palette_alpha.size()), nullptr);
  }
  png_write_info(png, info);
  REQUIRE(rows.size() == png_get_rowbytes(png, info) * static_cast<std::size_t>(height));
  std::vector<png_bytep> lines;
  for (int y = 0; y < height; ++y) {
    lines.push_back(rows.data() + png_get_rowbytes(png, info) * static_cast<std::size_t>(y));
  }
  png_write_image(png, lines.data());
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  return out;
}

/// A JPEG of interleaved 8-bit rows of 1 (grey), 3 (RGB) or 4 (CMYK) channels.
bytes encode_jpeg(int height, int width, int channels, pixels rows, bool progressive = false) {
  jpeg_compress_struct state{};
  jpeg_error_mgr errors{};
  state.err = jpeg_std_error(&errors);
  jpeg_create_compress(&state);
  unsigned char* data = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&state, &data, &size);
  state.image_height = static_cast<JDIMENSION>(height);
  state.image_width = static_cast<JDIMENSION>(width);
  state.input_components = channels;
  state.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&state);
  jpeg_set_quality(&state, 98, TRUE);
  if (progressive) jpeg_simple_progression(&state);
  jpeg_start_compress(&state, TRUE);
  while (state.next_scanline < state.image_height) {
    JSAMPROW row = &rows[std::size_t{state.next_scanline} * static_cast<std::size_t>(width) *
                         static_cast<std::size_t>(channels)];
    jpeg_write_scanlines(&state, &row, 1);
  }
  jpeg_finish_compress(&state);
  jpeg_destroy_compress(&state);
  const auto* first = reinterpret_cast<const std::byte*>(data);
  bytes out(first, first + size);
  std::free(data);
  return out;
}

/// `count` pixels of one colour.
pixels flat(std::size_t count, const pixels& colour) {
  pixels out;
  for (std::size_t i = 0; i < count; ++i) out.insert(out.end(), colour.begin(), colour.end());
  return out;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

/// Every file made from `data` by cutting it short must be refused; flipped bits must be survived.
void survive_damage(const bytes& data, const std::string& name, int flips) {
  REQUIRE(fault(data) == "");
  for (std::size_t n = 0; n < data.size(); ++n) {
    // A copy of exactly n bytes, so that a sanitizer sees a read past the end.
    const bytes cut(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(n));
    INFO(name << " cut to " << n << " bytes");
    REQUIRE(fault(cut) != "");
  }
  const std::uint64_t seed = slim_test::fnv1a64(name);
  int refused = 0;
  for (int i = 0; i < flips; ++i) {
    bytes flipped = data;
    for (int k = 0; k <= i % 3; ++k) {  // one to three bits
      const std::uint64_t z = slim_test::hash_at(seed, static_cast<std::uint64_t>(3 * i + k));
      flipped[(z >> 3) % data.size()] ^= std::byte{1} << (z & 7);
    }
    if (fault(flipped) != "") ++refused;
  }
  REQUIRE(refused > 0);
}

/// Repairs the checksums of a PNG's chunks, so that damage reaches the decoder behind them.
void repair_checksums(bytes& data) {
  const auto word = [&](std::size_t at) {
    std::uint32_t v = 0;
    for (std::size_t i = 0; i < 4; ++i) v = v << 8 | std::to_integer<std::uint32_t>(data[at + i]);
    return v;
  };
  for (std::size_t at = 8; at + 12 <= data.size();) {
    const std::size_t length = word(at);
    if (length > data.size() - at - 12) return;
    std::uint32_t crc = 0xFFFFFFFFu;
    for (std::size_t i = at + 4; i < at + 8 + length; ++i) {
      crc ^= std::to_integer<std::uint32_t>(data[i]);
      for (int k = 0; k < 8; ++k) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0u);
    }
    for (std::size_t i = 0; i < 4; ++i) {
      data[at + 8 + length + i] = static_cast<std::byte>(~crc >> (24 - 8 * i));
    }
    at += 12 + length;
  }
}

const std::vector<slim_test::record>& golden() {
  static const auto records = slim_test::read(slim_test::data_path("images.bin"));
  return records;
}

}  // namespace

TEST_CASE("files decode as TensorFlow decodes them", "[image]") {
  int compared = 0;
  for (const slim_test::record& r : golden()) {
    if (r.text("kind") != "decode") continue;
    INFO(r.title());
    const slim::image got = slim::read_image(slim_test::data_path(r.text("image")));
    const slim_test::array& want = r.at("pixels");
    REQUIRE(want.dims == std::vector<int>{got.height, got.width, 3});
    REQUIRE(largest_difference(got.pixels, want.values) <= 1);
    ++compared;
  }
  REQUIRE(compared == 2);
}

TEST_CASE("TensorFlow's fast JPEG transform stays close", "[image]") {
  const auto& r = slim_test::find(golden(), {{"kind", "decode"}, {"image", "small.jpg"}});
  const slim::image got = slim::read_image(slim_test::data_path("small.jpg"));
  REQUIRE(largest_difference(got.pixels, r.at("pixels_fast").values) <= 12);
}

TEST_CASE("PNG layouts become RGB", "[image]") {
  const int h = 5, w = 7;
  const std::size_t n = std::size_t{5} * 7;
  const int interlace = GENERATE(PNG_INTERLACE_NONE, PNG_INTERLACE_ADAM7);

  SECTION("RGB is kept") {
    const pixels rgb = noise("rgb", 3 * n);
    const slim::image got =
        slim::decode_image(encode_png(h, w, rgb, {PNG_COLOR_TYPE_RGB, 8, interlace}));
    REQUIRE(got.height == h);
    REQUIRE(got.width == w);
    REQUIRE(got.pixels == rgb);
  }
  SECTION("alpha is dropped, not blended") {
    const pixels rgba = noise("rgba", 4 * n);
    const slim::image got =
        slim::decode_image(encode_png(h, w, rgba, {PNG_COLOR_TYPE_RGBA, 8, interlace}));
    for (std::size_t i = 0; i < 3 * n; ++i) REQUIRE(got.pixels[i] == rgba[i / 3 * 4 + i % 3]);
  }
  SECTION("grey is repeated") {
    const pixels grey = noise("grey", n);
    const slim::image got =
        slim::decode_image(encode_png(h, w, grey, {PNG_COLOR_TYPE_GRAY, 8, interlace}));
    for (std::size_t i = 0; i < 3 * n; ++i) REQUIRE(got.pixels[i] == grey[i / 3]);
  }
  SECTION("grey with alpha") {
    const pixels both = noise("grey alpha", 2 * n);
    const slim::image got =
        slim::decode_image(encode_png(h, w, both, {PNG_COLOR_TYPE_GRAY_ALPHA, 8, interlace}));
    for (std::size_t i = 0; i < 3 * n; ++i) REQUIRE(got.pixels[i] == both[i / 3 * 2]);
  }
  SECTION("one bit of grey is black or white") {
    const pixels bits = noise("bits", h);  // 7 of the 8 bits of a row's one byte are pixels
    const slim::image got =
        slim::decode_image(encode_png(h, w, bits, {PNG_COLOR_TYPE_GRAY, 1, interlace}));
    for (std::size_t i = 0; i < 3 * n; ++i) {
      const int bit = bits[i / 21] >> (7 - i / 3 % 7) & 1;
      REQUIRE(got.pixels[i] == 255 * bit);
    }
  }
  SECTION("16 bits keep the upper 8") {
    const pixels wide = noise("wide", 6 * n);
    const slim::image got =
        slim::decode_image(encode_png(h, w, wide, {PNG_COLOR_TYPE_RGB, 16, interlace}));
    for (std::size_t i = 0; i < 3 * n; ++i) REQUIRE(got.pixels[i] == wide[2 * i]);
  }
  SECTION("a palette is looked up, its transparency dropped") {
    const std::vector<png_color> colours{{1, 2, 3}, {40, 50, 60}, {255, 0, 128}};
    pixels index = noise("index", n);
    for (auto& i : index) i = static_cast<std::uint8_t>(i % 3);
    const slim::image got = slim::decode_image(encode_png(
        h, w, index,
        {PNG_COLOR_TYPE_PALETTE, 8, interlace, colours, {std::byte{0}, std::byte{128}}}));
    for (std::size_t i = 0; i < n; ++i) {
      REQUIRE(got.pixels[3 * i] == colours[index[i]].red);
      REQUIRE(got.pixels[3 * i + 1] == colours[index[i]].green);
      REQUIRE(got.pixels[3 * i + 2] == colours[index[i]].blue);
    }
  }
}

TEST_CASE("JPEG layouts become RGB", "[image]") {
  const bool progressive = GENERATE(false, true);
  const std::size_t n = std::size_t{20} * 13;
  SECTION("grey") {
    const auto got = slim::decode_image(encode_jpeg(20, 13, 1, flat(n, {77}), progressive));
    REQUIRE(got.height == 20);
    REQUIRE(got.width == 13);
    REQUIRE(largest_difference(got.pixels, flat(n, {77, 77, 77})) <= 1);
  }
  SECTION("colour") {
    const auto got =
        slim::decode_image(encode_jpeg(20, 13, 3, flat(n, {200, 30, 90}), progressive));
    REQUIRE(largest_difference(got.pixels, flat(n, {200, 30, 90})) <= 2);
  }
  SECTION("inverted CMYK, as Adobe writes it") {
    const auto got =
        slim::decode_image(encode_jpeg(20, 13, 4, flat(n, {255, 128, 0, 200}), progressive));
    REQUIRE(largest_difference(got.pixels, flat(n, {200, 100, 0})) <= 2);
  }
}

TEST_CASE("cut and flipped files are refused or read", "[image]") {
  survive_damage(file_bytes("small.png"), "small.png", 2000);
  survive_damage(file_bytes("small.jpg"), "small.jpg", 2000);
  survive_damage(
      encode_png(9, 11, noise("adam7", 3 * 99), {PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_ADAM7}),
      "adam7", 500);
  survive_damage(encode_jpeg(17, 19, 3, noise("progressive", 3 * 323), true), "progressive", 1000);
  survive_damage(encode_jpeg(9, 8, 4, noise("cmyk", 4 * 72)), "cmyk", 500);
}

TEST_CASE("flipped PNGs with good checksums are refused or read", "[image]") {
  const bytes data = file_bytes("small.png");
  const std::uint64_t seed = slim_test::fnv1a64("repaired");
  int read = 0;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    bytes flipped = data;
    const std::uint64_t z = slim_test::hash_at(seed, i);
    flipped[(z >> 3) % data.size()] ^= std::byte{1} << (z & 7);
    repair_checksums(flipped);
    if (fault(flipped) == "") ++read;
  }
  REQUIRE(read < 2000);
}

TEST_CASE("errors name the file and the fault", "[image]") {
  const auto message = [](const std::function<void()>& f) {
    try {
      f();
    } catch (const slim::error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const std::string missing = slim_test::data_path("no_such.png");
  REQUIRE(message([&] { slim::read_image(missing); }) == missing + ": cannot be opened");
  const std::string other = slim_test::data_path("images.bin");
  REQUIRE(message([&] { slim::read_image(other); }) == other + ": is neither JPEG nor PNG");
  const std::string folder = slim_test::data_path("");
  REQUIRE(contains(message([&] { slim::read_image(folder); }), folder));
  REQUIRE(fault({}) == "image: is empty");
  bytes cut = file_bytes("small.jpg");
  cut.resize(cut.size() - 100);
  REQUIRE(contains(fault(cut), "image: is a damaged or truncated JPEG: "));
  REQUIRE(contains(message([&] { slim::decode_image(cut, "cut.jpg"); }), "cut.jpg: "));
}

TEST_CASE("absurd extents are refused before pixels are allocated", "[image]") {
  bytes png = file_bytes("small.png");
  png[16] = png[20] = std::byte{0};
  png[17] = png[21] = std::byte{0x0F};  // about 983,000 in both directions
  repair_checksums(png);
  REQUIRE(contains(fault(png), "the limit is 100000000"));
  bytes jpeg = file_bytes("small.jpg");
  for (std::size_t i = 0; i + 8 < jpeg.size(); ++i) {  // the extents stand in the SOF0 segment
    if (jpeg[i] != std::byte{0xFF} || jpeg[i + 1] != std::byte{0xC0}) continue;
    jpeg[i + 5] = jpeg[i + 7] = std::byte{0xFD};
    break;
  }
  REQUIRE(contains(fault(jpeg), "the limit is 100000000"));
  REQUIRE_THROWS_AS(slim::read_image(slim_test::data_path("small.png"), 29 * 41 - 1),
                    slim::image_error);
  REQUIRE_NOTHROW(slim::read_image(slim_test::data_path("small.png"), 29 * 41));
}

TEST_CASE("resized extents are TensorFlow's", "[image][preprocessing]") {
  const slim_test::array& rows = slim_test::find(golden(), {{"kind", "resized_size"}}).at("rows");
  REQUIRE(rows.dims.size() == 2);
  REQUIRE(rows.dims[1] == 5);
  for (std::size_t i = 0; i < rows.values.size(); i += 5) {
    const auto at = [&](std::size_t k) { return static_cast<int>(rows.values[i + k]); };
    INFO(at(0) << "x" << at(1) << " to side " << at(2));
    REQUIRE(slim::vgg_resized_extent(at(0), at(1), at(2)) == slim::image_extent{at(3), at(4)});
  }
}

TEST_CASE("VGG preprocessing gives TensorFlow's values", "[image][preprocessing]") {
  int compared = 0;
  for (const slim_test::record& r : golden()) {
    if (r.text("kind") != "preprocess") continue;
    INFO(r.title());
    const slim::image in = slim::read_image(slim_test::data_path(r.text("image")));
    std::array<float, 3> means{};
    std::copy_n(r.at("means").values.begin(), 3, means.begin());
    const auto got = slim::vgg_preprocess_for_eval(in, r.integer("height"), r.integer("width"),
                                                   r.integer("resize_side"), means);
    // TensorFlow's JPEG decoder may differ by a step; its arithmetic only by float32 rounding.
    const double allowed = r.text("image") == "small.png" ? 1e-4 : 1.001;
    REQUIRE(largest_difference(got, r.at("y").values) <= allowed);
    ++compared;
  }
  REQUIRE(compared == 8);
}

TEST_CASE("VGG preprocessing subtracts the usual means and checks sizes", "[preprocessing]") {
  const slim::image grey{4, 6, pixels(72, 100)};
  const auto got = slim::vgg_preprocess_for_eval(grey, 8, 8, 8);
  REQUIRE(got.size() == 192);
  for (std::size_t i = 0; i < got.size(); ++i) REQUIRE(got[i] == 100.0f - slim::vgg_means[i % 3]);

  std::vector<float> small(191, 5.0f);
  REQUIRE_THROWS_AS(slim::vgg_preprocess_for_eval(grey, 8, 8, 8, small), slim::image_error);
  REQUIRE(small == std::vector<float>(191, 5.0f));
  REQUIRE_THROWS_AS(slim::vgg_preprocess_for_eval(grey, 9, 8, 8), slim::image_error);
  REQUIRE_THROWS_AS(slim::vgg_preprocess_for_eval(grey, 0, 8, 8), slim::image_error);
  REQUIRE_THROWS_AS(slim::vgg_preprocess_for_eval(grey, 8, 8, 0), slim::image_error);
  REQUIRE_THROWS_AS(slim::vgg_preprocess_for_eval(slim::image{}, 8, 8, 8), slim::image_error);
  REQUIRE_THROWS_AS(slim::vgg_preprocess_for_eval(slim::image{4, 6, pixels(71)}, 8, 8, 8),
                    slim::image_error);
  REQUIRE_THROWS_AS(slim::vgg_resized_extent(1, 2'000'000'000, 256), slim::image_error);
}

TEST_CASE("what VGG is trained on is a crop from anywhere, mirrored half of the time") {
  slim::image in{12, 20, std::vector<std::uint8_t>(12 * 20 * 3)};
  for (int y = 0; y < 12; ++y)
    for (int x = 0; x < 20; ++x) {
      in.pixels[std::size_t(y * 20 + x) * 3] = static_cast<std::uint8_t>(x);
      in.pixels[std::size_t(y * 20 + x) * 3 + 1] = static_cast<std::uint8_t>(y);
    }
  std::array<int, 2> mirrored{};
  std::array<int, 13> tops{};
  std::array<int, 21> lefts{};
  std::vector<float> out(6 * 8 * 3);
  for (std::uint64_t key = 0; key < 2000; ++key) {
    slim::random_stream random(key);
    slim::vgg_preprocess_for_train(in, 6, 8, random, out, 12, 12, {0, 0, 0});  // not resized
    const bool mirror = out[0] > out[3];
    const int left = static_cast<int>(mirror ? out[7 * 3] : out[0]), top = static_cast<int>(out[1]);
    ++mirrored[mirror], ++tops[std::size_t(top)], ++lefts[std::size_t(left)];
    for (int y = 0; y < 6; ++y)
      for (int x = 0; x < 8; ++x) {
        const float* pixel = &out[std::size_t(y * 8 + x) * 3];
        REQUIRE(pixel[0] == float(left + (mirror ? 7 - x : x)));
        REQUIRE(pixel[1] == float(top + y));
      }
  }
  CHECK(std::abs(mirrored[0] - 1000) < 150);
  for (int t = 0; t <= 6; ++t) CHECK(std::abs(tops[std::size_t(t)] - 2000 / 7) < 90);
  for (int l = 0; l <= 12; ++l) CHECK(std::abs(lefts[std::size_t(l)] - 2000 / 13) < 70);

  // Resized to its own smaller side alone, uncropped, it is what evaluation sees.
  std::vector<float> square(12 * 20 * 3);
  slim::random_stream random(1);
  slim::vgg_preprocess_for_train(in, 24, 24, random, out = std::vector<float>(24 * 24 * 3), 24, 24);
  CHECK_THROWS_AS(slim::vgg_preprocess_for_train(in, 24, 24, random, square, 12, 12),
                  slim::image_error);
}
