// Preprocessing of images against TensorFlow: what is computed by value, what is drawn by its
// distribution; and parts of encoded images against the whole.

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "golden.hpp"
#include "slim/image.hpp"
#include "slim/image_encode.hpp"
#include "slim/preprocessing/cifarnet_preprocessing.hpp"
#include "slim/preprocessing/inception_preprocessing.hpp"
#include "slim/preprocessing/lenet_preprocessing.hpp"
#include "slim/preprocessing/vgg_preprocessing.hpp"

namespace {

using namespace slim;

const std::vector<slim_test::record>& golden() {
  static const auto records = slim_test::read(slim_test::data_path("preprocessing.bin"));
  return records;
}

template <class F>
void for_each_record(const std::string& kind, F f) {
  int found = 0;
  for (const slim_test::record& r : golden()) {
    if (r.text("kind") != kind) continue;
    INFO(r.title());
    f(r);
    ++found;
  }
  REQUIRE(found > 0);
}

image picture(const std::string& name, int height, int width) {
  image out{height, width, {}};
  const std::uint64_t seed = slim_test::fnv1a64(name);
  for (int i = 0; i < 3 * height * width; ++i)
    out.pixels.push_back(
        static_cast<std::uint8_t>(slim_test::hash_at(seed, static_cast<std::uint64_t>(i))));
  return out;
}

template <class A, class B>
double worst(const A& got, const B& want) {
  if (got.size() != want.size()) return HUGE_VAL;
  double most = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double d = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    most = d <= most ? most : d;  // keeps a NaN
  }
  return most;
}

std::vector<float> floats(image_extent e, int channels = 3) {
  return std::vector<float>(static_cast<std::size_t>(e.height * e.width * channels));
}
image_extent extent_of(const slim_test::record& r, const std::string& name) {
  const auto e = r.extents(name);
  return {e.at(0), e.at(1)};
}

/// A JPEG whose colours are sampled horizontally and vertically every so many pixels.
std::vector<std::byte> jpeg(const image& in, J_COLOR_SPACE space, int across, int down,
                            bool progressive) {
  jpeg_compress_struct state{};
  jpeg_error_mgr errors{};
  state.err = jpeg_std_error(&errors);
  jpeg_create_compress(&state);
  unsigned char* data = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&state, &data, &size);
  state.input_components = space == JCS_CMYK ? 4 : 3;
  state.in_color_space = space == JCS_CMYK ? JCS_CMYK : JCS_RGB;
  state.image_height = static_cast<JDIMENSION>(in.height);
  state.image_width = static_cast<JDIMENSION>(in.width);
  jpeg_set_defaults(&state);
  if (space == JCS_GRAYSCALE) jpeg_set_colorspace(&state, space);
  state.comp_info[0].h_samp_factor = across, state.comp_info[0].v_samp_factor = down;
  if (progressive) jpeg_simple_progression(&state);
  jpeg_start_compress(&state, TRUE);
  while (state.next_scanline < state.image_height) {
    // Of CMYK the four bytes are any.
    auto* row = const_cast<JSAMPROW>(&in.pixels[state.next_scanline * 3 * state.image_width / 2]);
    if (space != JCS_CMYK) row += state.next_scanline * 3 * state.image_width / 2;
    std::vector<std::uint8_t> line(4 * state.image_width, 90);
    std::copy_n(row, 3 * state.image_width / 2, line.begin());
    JSAMPROW from = space == JCS_CMYK ? line.data() : row;
    jpeg_write_scanlines(&state, &from, 1);
  }
  jpeg_finish_compress(&state);
  const auto* first = reinterpret_cast<const std::byte*>(data);
  std::vector<std::byte> out(first, first + size);
  jpeg_destroy_compress(&state);
  std::free(data);
  return out;
}

/// The steps that a record names, such as hue:0.2,contrast:0.3.
std::vector<adjustment> steps_of(const slim_test::record& r) {
  const std::map<std::string, adjustment (*)(float)> by_name{
      {"brightness", brightness}, {"saturation", saturation}, {"hue", hue}, {"contrast", contrast}};
  std::vector<adjustment> steps;
  std::istringstream all(r.text("steps"));
  for (std::string step; std::getline(all, step, ',');) {
    const std::size_t colon = step.find(':');
    steps.push_back(by_name.at(step.substr(0, colon))(std::stof(step.substr(colon + 1))));
  }
  return steps;
}

}  // namespace

TEST_CASE("a part of an encoded image has the pixels of the whole") {
  const image noise = picture("preprocessing/part", 83, 101);
  image smooth = noise;  // colours that change slowly: then chroma is interpolated to odd values
  for (std::size_t i = 0; i < smooth.pixels.size(); ++i)
    smooth.pixels[i] =
        static_cast<std::uint8_t>(i / 3 % 101 * (1 + i % 3) + i / 303 + noise.pixels[i] % 8);
  struct layout {
    J_COLOR_SPACE space;
    int across, down;
  };
  random_stream random(5);
  for (const layout l : {layout{JCS_YCbCr, 1, 1},
                         {JCS_YCbCr, 2, 1},
                         {JCS_YCbCr, 2, 2},
                         {JCS_YCbCr, 1, 2},
                         {JCS_YCbCr, 4, 1},
                         {JCS_GRAYSCALE, 1, 1},
                         {JCS_CMYK, 1, 1}}) {
    for (const bool progressive : {false, true}) {
      const auto file = jpeg(smooth, l.space, l.across, l.down, progressive);
      const image whole = decode_image(file);
      for (int i = 0; i < 60; ++i) {
        const int height = 1 + random.below(83), width = 1 + random.below(101);
        const image_box box{random.below(83 - height + 1), random.below(101 - width + 1), height,
                            width};
        INFO(l.space << ' ' << l.across << 'x' << l.down << (progressive ? " progressive" : "")
                     << ": " << box.top << ' ' << box.left << ' ' << height << ' ' << width);
        encoded_image part_of(file);
        REQUIRE(part_of.extent() == image_extent{83, 101});
        const image_view part = part_of.part(box), same = whole_image(whole).part(box);
        REQUIRE(part.height == height);
        REQUIRE(part.width == width);
        for (int y = 0; y < height; ++y) {
          const auto* a = part.pixels + static_cast<std::size_t>(y) * part.stride;
          const auto* b = same.pixels + static_cast<std::size_t>(y) * same.stride;
          REQUIRE(std::equal(a, a + 3 * width, b));
        }
      }
    }
  }
}

TEST_CASE("parts that are not there, and damaged ones, are refused") {
  const image in = picture("preprocessing/refused", 64, 40);
  const std::string file = encode_jpeg(in.pixels, 64, 40, 3);
  const auto bytes = std::as_bytes(std::span(file));
  for (const image_box box : {image_box{-1, 0, 5, 5}, {0, 0, 65, 5}, {0, 36, 5, 5}, {3, 3, 0, 5}})
    CHECK_THROWS_WITH(encoded_image(bytes, "a.jpg").part(box),
                      Catch::StartsWith("a.jpg: is 64x40: it has no part"));
  // Half of the file has the upper rows, and not the lower ones.
  encoded_image half(bytes.first(bytes.size() / 2));
  CHECK(half.part({0, 0, 8, 40}).height == 8);
  CHECK_THROWS_AS(encoded_image(bytes.first(bytes.size() / 2)).part({56, 0, 8, 40}), image_error);
  CHECK_THROWS_AS(encoded_image(bytes.first(20)), image_error);
  CHECK_THROWS_AS(encoded_image(bytes, "a.jpg", 64 * 40 - 1), image_error);
  const std::string png = encode_png(in.pixels, 64, 40, 3);
  encoded_image drawn(std::as_bytes(std::span(png)));
  const image_view part = drawn.part({60, 38, 4, 2});
  CHECK(part.pixels[part.stride * 3 + 5] == in.pixels.back());
}

TEST_CASE("resized images are TensorFlow's") {
  for_each_record("resize", [](const slim_test::record& r) {
    const image_extent before = extent_of(r, "in"), after = extent_of(r, "out");
    const image in = picture(r.text("id"), before.height, before.width);
    std::vector<float> out = floats(after);
    whole_image source(in);
    view_options view{.resized = after};
    view.method = static_cast<resize_method>(r.integer("method"));
    resize(source, all_of(source), view, out);
    CHECK(worst(out, r.at("y").values) < 5e-4);  // of 255
    // A part is what it is in the whole, and mirrored it runs the other way.
    const image_box wanted{1, 1, after.height - 2, after.width - 1};
    std::vector<float> part = floats({wanted.height, wanted.width}), mirrored = part;
    view.wanted = wanted;
    resize(source, all_of(source), view, part);
    view.mirrored = true, view.scale = 0.5f, view.offset = {1, 2, 3};
    resize(source, all_of(source), view, mirrored);
    for (int y = 0; y < wanted.height; ++y)
      for (int x = 0; x < wanted.width; ++x)
        for (int c = 0; c < 3; ++c) {
          const auto at = [&](int row, int column, int width) {
            return static_cast<std::size_t>((row * width + column) * 3 + c);
          };
          const float p = part[at(y, x, wanted.width)];
          REQUIRE(p == out[at(y + 1, x + 1, after.width)]);
          REQUIRE(mirrored[at(y, wanted.width - 1 - x, wanted.width)] ==
                  Approx(p * 0.5f + static_cast<float>(c + 1)).margin(1e-4));
        }
  });
}

TEST_CASE("a resize that makes no sense leaves its output as it is") {
  const image in = picture("preprocessing/nonsense", 4, 6);
  whole_image source(in);
  std::vector<float> out(3 * 5 * 5, 7.0f);
  const image_box all = all_of(source);
  CHECK_THROWS_AS(resize(source, all, {.resized = {5, 6}}, out), image_error);
  CHECK_THROWS_AS(resize(source, all, {.resized = {0, 5}}, out), image_error);
  CHECK_THROWS_AS(resize(source, all, {.resized = {9, 9}, .wanted = {5, 0, 5, 5}}, out),
                  image_error);
  CHECK_THROWS_AS(resize(source, {0, 0, 5, 5}, {.resized = {5, 5}}, out), image_error);
  CHECK(out == std::vector<float>(3 * 5 * 5, 7.0f));
  CHECK_THROWS_AS(whole_image(image{2, 2, std::vector<std::uint8_t>(11)}), image_error);
}

TEST_CASE("changed colours are TensorFlow's") {
  for_each_record("adjust", [](const slim_test::record& r) {
    INFO(r.text("steps"));
    std::vector<float> x = slim_test::uniform(r.text("id"), 5 * 7 * 3);
    for (float& v : x) v = static_cast<float>(0.6 * static_cast<double>(v) + 0.45);
    adjust(x, steps_of(r));
    CHECK(worst(x, r.at("y").values) < 2e-6);
  });
  std::vector<float> x{-0.5f, 0.25f, 1.5f};
  adjust(x, std::array{clip(), rescale(2, -1)});
  CHECK(x == std::vector<float>{-1, -0.5f, 1});
  std::vector<float> grey{0.5f, 0.5f, 0.5f, 0, 0, 0};
  adjust(grey, std::array{saturation(3), hue(0.3f)});  // which grey has none of
  CHECK(grey == std::vector<float>{0.5f, 0.5f, 0.5f, 0, 0, 0});
  x.push_back(1);
  CHECK_THROWS_AS(adjust(x, std::array{clip()}), std::invalid_argument);
}

TEST_CASE("standardized images are TensorFlow's") {
  for_each_record("standardize", [](const slim_test::record& r) {
    const auto& x = r.at("x").values;
    std::vector<float> values(x.begin(), x.end());
    per_image_standardization(values);
    CHECK(worst(values, r.at("y").values) < 2e-6);
  });
}

TEST_CASE("views to evaluate on are TensorFlow's") {
  for_each_record("view", [](const slim_test::record& r) {
    const image_extent before = extent_of(r, "in"), after = extent_of(r, "out");
    const image in = picture(r.text("id"), before.height, before.width);
    std::vector<float> out = floats(after);
    if (r.text("net") == "inception")
      inception_preprocess_for_eval(in, after.height, after.width, out);
    else if (r.text("net") == "lenet")
      lenet_preprocess(in, after.height, after.width, out);
    else
      cifarnet_preprocess_for_eval(in, after.height, after.width, out);
    CHECK(worst(out, r.at("y").values) < 3e-6);
  });
  const image in = picture("preprocessing/grey", 6, 5);
  std::vector<float> grey = floats({6, 5}, 1);
  lenet_preprocess(in, 6, 5, grey);
  CHECK(grey[7] == (static_cast<float>(in.pixels[21]) - 128) / 128);
  std::vector<float> other(59);
  CHECK_THROWS_AS(lenet_preprocess(in, 6, 5, other), image_error);
  CHECK_THROWS_AS(inception_preprocess_for_eval(in, 2, 2, other, 0.0), std::invalid_argument);
}

TEST_CASE("central crops are TensorFlow's") {
  for_each_record("central_crop", [](const slim_test::record& r) {
    const auto& rows = r.at("rows").values;
    for (std::size_t i = 0; i < rows.size(); i += 7) {
      const auto at = [&](std::size_t k) { return static_cast<int>(rows[i + k]); };
      INFO(at(0) << "x" << at(1) << " by " << rows[i + 2]);
      CHECK(central_crop({at(0), at(1)}, rows[i + 2]) == image_box{at(3), at(4), at(5), at(6)});
    }
  });
}

TEST_CASE("distorted bounding boxes have TensorFlow's distribution") {
  for_each_record("distorted_box", [](const slim_test::record& r) {
    std::vector<bounding_box> objects;
    const auto& boxes = r.at("boxes").values;
    for (std::size_t i = 0; i < boxes.size(); i += 4) {
      const auto at = [&](std::size_t k) { return static_cast<float>(boxes[i + k]); };
      objects.push_back({at(0), at(1), at(2), at(3)});
    }
    const auto number = [&](const char* name) { return static_cast<float>(r.number(name)); };
    const distorted_box_options options{
        .min_object_covered = number("min_object_covered"),
        .aspect_ratio_range = {number("aspect_low"), number("aspect_high")},
        .area_range = {number("area_low"), number("area_high")}};
    const image_extent e = extent_of(r, "in");
    constexpr std::size_t samples = 20'000, steps = 20;
    std::array<std::vector<int>, 5> drawn;
    random_stream random(11);
    for (std::size_t i = 0; i < samples; ++i) {
      const image_box b = sample_distorted_bounding_box(e, objects, random, options);
      const int values[] = {b.top, b.left, b.height, b.width, b.height * b.width};
      for (std::size_t k = 0; k < 5; ++k) drawn[k].push_back(values[k]);
    }
    // Kolmogorov and Smirnov's distance of two samples of this size is above 0.0195 once in a
    // thousand times; the least of values that repeat counts as all that are no greater.
    const auto& quantiles = r.at("quantiles").values;
    for (std::size_t k = 0; k < 5; ++k) {
      std::sort(drawn[k].begin(), drawn[k].end());
      for (std::size_t q = 1; q < steps; ++q) {
        const double value = quantiles[q * 5 + k], part = static_cast<double>(q) / steps;
        const auto below = std::lower_bound(drawn[k].begin(), drawn[k].end(), value);
        const auto upto = std::upper_bound(drawn[k].begin(), drawn[k].end(), value);
        INFO("quantile " << part << " of value " << k << ", " << value);
        CHECK(static_cast<double>(below - drawn[k].begin()) / samples < part + 0.0195);
        CHECK(static_cast<double>(upto - drawn[k].begin()) / samples > part - 0.0195);
      }
    }
  });
  random_stream random(1);
  const bounding_box outside{0, 0, 1.5f, 1};
  CHECK_THROWS_AS(sample_distorted_bounding_box({9, 9}, {&outside, 1}, random),
                  std::invalid_argument);
  CHECK_THROWS_AS(sample_distorted_bounding_box({9, 9}, {}, random, {.area_range = {0.0f, 1.0f}}),
                  std::invalid_argument);
  // What cannot be kept to gives the whole image.
  const bounding_box corner{0, 0, 1, 1};
  CHECK(sample_distorted_bounding_box({9, 9}, {&corner, 1}, random,
                                      {.min_object_covered = 1, .area_range = {0.1f, 0.2f}}) ==
        image_box{0, 0, 9, 9});
}

TEST_CASE("colours are distorted by the draws of the stream, in the order that is asked for") {
  const std::vector<float> x = [] {
    std::vector<float> v = slim_test::uniform("preprocessing/distort", 5 * 7 * 3);
    for (float& f : v) f = 0.5f * f + 0.5f;
    return v;
  }();
  for (const bool fast : {true, false})
    for (int order = 0; order < 4; ++order) {
      std::vector<float> got = x, want = x;
      random_stream random(77), same(77);
      distort_color(got, random, order, fast);
      const auto between = [&](double from, double to) {
        return static_cast<float>(same.uniform(from, to));
      };
      const adjustment b = brightness(between(-32.0 / 255, 32.0 / 255));
      const adjustment s = saturation(between(0.5, 1.5));
      std::vector<adjustment> steps = order == 0 ? std::vector{b, s} : std::vector{s, b};
      if (!fast) {
        const adjustment h = hue(between(-0.2, 0.2)), c = contrast(between(0.5, 1.5));
        if (order < 2) steps.insert(steps.end(), {order == 0 ? h : c, order == 0 ? c : h});
        if (order == 2) steps = {c, h, b, s};
        if (order == 3) steps = {h, s, c, b};
      }
      steps.push_back(clip());
      for (const adjustment& step : steps) adjust(want, {&step, 1});
      CHECK(worst(got, want) < 1e-6);
      CHECK(worst(got, x) > 0.01);
    }
  random_stream random(1);
  std::vector<float> some = x;
  CHECK_THROWS_AS(distort_color(some, random, 4), std::invalid_argument);
}

TEST_CASE("Inception trains on parts of random extent, in all of [-1, 1]") {
  image in{40, 60, std::vector<std::uint8_t>(40 * 60 * 3)};  // colours tell the place
  for (int i = 0; i < 40 * 60; ++i) {
    in.pixels[static_cast<std::size_t>(3 * i)] = static_cast<std::uint8_t>(4 * (i % 60));
    in.pixels[static_cast<std::size_t>(3 * i + 1)] = static_cast<std::uint8_t>(6 * (i / 60));
  }
  int mirrored = 0;
  std::vector<float> out = floats({16, 16}), again = out;
  for (std::uint64_t key = 0; key < 400; ++key) {
    const bool fast = key % 2 == 0;
    random_stream random(key), same(key);
    inception_preprocess_for_train(in, 16, 16, random, out, {.fast_mode = fast});
    inception_preprocess_for_train(in, 16, 16, same, again, {.fast_mode = fast});
    REQUIRE(out == again);
    for (const float v : out) REQUIRE((v >= -1 && v <= 1));
    if (fast) mirrored += out[3 * (8 * 16 + 1)] > out[3 * (8 * 16 + 14)];
  }
  CHECK(std::abs(mirrored - 100) < 40);
  const std::string file = encode_jpeg(in.pixels, 40, 60, 3);
  const auto bytes = std::as_bytes(std::span(file));
  const image decoded = decode_image(bytes);
  for (std::uint64_t key = 0; key < 50; ++key) {  // as decoded in part
    random_stream random(key), same(key);
    inception_preprocess_for_train(decoded, 16, 16, random, out, {.fast_mode = false});
    inception_preprocess_for_train(encoded_image(bytes), 16, 16, same, again, {.fast_mode = false});
    REQUIRE(out == again);
    random_stream vgg_random(key), vgg_same(key);
    vgg_preprocess_for_train(decoded, 16, 16, vgg_random, out, 20, 50);
    vgg_preprocess_for_train(encoded_image(bytes), 16, 16, vgg_same, again, 20, 50);
    REQUIRE(out == again);
  }
}

TEST_CASE("CifarNet trains on crops of the padded picture, standardized") {
  image in{8, 8, std::vector<std::uint8_t>(8 * 8 * 3, 10)};
  in.pixels[3 * (3 * 8 + 2)] = in.pixels[3 * (3 * 8 + 2) + 1] = in.pixels[3 * (3 * 8 + 2) + 2] =
      255;
  std::array<int, 9> rows{}, columns{};
  std::vector<float> out = floats({8, 8});
  for (std::uint64_t key = 0; key < 3000; ++key) {
    random_stream random(key);
    cifarnet_preprocess_for_train(in, 8, 8, random, out);
    double sum = 0, squares = 0;
    for (const float v : out) sum += double(v), squares += double(v) * double(v);
    REQUIRE(std::abs(sum / 192) < 1e-5);
    REQUIRE(squares / 192 == Approx(1).epsilon(1e-4));
    const auto most = std::max_element(out.begin(), out.end()) - out.begin();
    if (*std::max_element(out.begin(), out.end()) < 4) continue;  // the bright pixel is outside
    ++rows[static_cast<std::size_t>(most / 3 / 8)],
        ++columns[static_cast<std::size_t>(most / 3 % 8)];
  }
  // Row 3 comes to rows 3 - 4 to 3 + 4, of which -1 is outside; column 2 or, mirrored, 5.
  for (std::size_t r = 0; r < 8; ++r) CHECK(std::abs(rows[r] - 3000 * 7 / 81) < 70);
  for (std::size_t c = 1; c < 7; ++c) CHECK(columns[c] > 150);
  random_stream random(1);
  std::vector<float> large = floats({17, 8});
  CHECK_THROWS_AS(cifarnet_preprocess_for_train(in, 17, 8, random, large), image_error);
  CHECK_THROWS_AS(cifarnet_preprocess_for_train(in, 8, 8, random, large), image_error);
}
