// Items out of Examples as TF-Slim's tfexample_decoder makes them, and label files.

#include <catch2/catch.hpp>

#include <slim/data/dataset_info.hpp>
#include <slim/data/tfexample_decoder.hpp>
#include <slim/image_encode.hpp>

#include "files.hpp"

namespace {

using namespace slim;
using namespace slim::data;
using Catch::Contains;
using kind = feature_kind;

std::map<std::string, item> decoded(const example& e, const keys_to_features& features,
                                    std::map<std::string, item_handler> handlers,
                                    const std::vector<std::string>& items = {}) {
  const std::string record = e.serialize();
  return tfexample_decoder(features, std::move(handlers))
      .decode(std::as_bytes(std::span(record)), items);
}

example one(const std::string& name, feature f) {
  example e;
  e.features[name] = std::move(f);
  return e;
}
const fixed_len_feature one_number{{}, kind::int64s};

std::vector<std::uint8_t> gradient_pixels(int count) {
  std::vector<std::uint8_t> p;
  for (int i = 0; i < count; ++i) p.push_back(static_cast<std::uint8_t>(3 * i));
  return p;
}

}  // namespace

TEST_CASE("tensors have the extents of their feature, or those that are given") {
  example e = one("x", float_list{1, 2, 3, 4, 5, 6});
  e.features["rows"] = int64_list{3};
  e.features["columns"] = int64_list{2};
  const keys_to_features features{
      {"x", var_len_feature{kind::floats}}, {"rows", one_number}, {"columns", one_number}};
  const auto items =
      decoded(e, features,
              {{"flat", handlers::tensor{"x"}},
               {"literal", handlers::tensor{"x", {}, std::vector<std::int64_t>{2, -1}}},
               {"keyed", handlers::tensor{"x", {"rows", "columns"}}}});
  CHECK(items.at("flat").dims == std::vector<std::int64_t>{6});
  CHECK(items.at("literal").dims == std::vector<std::int64_t>{2, 3});
  CHECK(items.at("keyed").dims == std::vector<std::int64_t>{3, 2});
  CHECK(items.at("keyed").as<float>() == float_list{1, 2, 3, 4, 5, 6});
  CHECK_THROWS_WITH(
      decoded(e, features, {{"bad", handlers::tensor{"x", {}, std::vector<std::int64_t>{4}}}}),
      "x: 6 values are not of shape [4]");
}

TEST_CASE("an absent feature has its default, is empty, or is an error") {
  const example none;
  const fixed_len_feature with_default{{2}, kind::int64s, int64_list{7, 8}};
  const auto items = decoded(none, {{"a", with_default}, {"b", var_len_feature{kind::floats}}},
                             {{"a", handlers::tensor{"a"}}, {"b", handlers::tensor{"b"}}});
  CHECK(items.at("a").as<std::int64_t>() == int64_list{7, 8});
  CHECK(items.at("b").size() == 0);
  CHECK_THROWS_WITH(decoded(none, {{"c", one_number}}, {{"c", handlers::tensor{"c"}}}),
                    "there is no feature c");
  CHECK_THROWS_WITH(
      decoded(one("c", int64_list{1, 2}), {{"c", one_number}}, {{"c", handlers::tensor{"c"}}}),
      Contains("feature c: 2 values are not of shape []"));
  CHECK_THROWS_WITH(
      decoded(one("c", float_list{1}), {{"c", one_number}}, {{"c", handlers::tensor{"c"}}}),
      "feature c holds floats, not int64s");
}

TEST_CASE("images are told by their first bytes, unless they are raw") {
  const auto rgb = gradient_pixels(4 * 5 * 3), grey = gradient_pixels(4 * 5);
  const keys_to_features features{
      {"image/encoded", var_len_feature{kind::bytes}},
      {"image/format", fixed_len_feature{{}, kind::bytes, bytes_list{"jpeg"}}}};
  const auto image_of = [&](const feature& files, const std::string& format,
                            const handlers::image& handler) {
    example e = one("image/encoded", files);
    if (!format.empty()) e.features["image/format"] = bytes_list{format};
    return decoded(e, features, {{"image", handler}}).at("image");
  };
  const auto png = image_of(bytes_list{encode_png(rgb, 4, 5, 3)}, "jpeg", {});  // which it is not
  CHECK(png.dims == std::vector<std::int64_t>{4, 5, 3});
  CHECK(png.as<std::uint8_t>() == rgb);
  CHECK(image_of(bytes_list{encode_png(grey, 4, 5, 1)}, "", {.channels = 1}).as<std::uint8_t>() ==
        grey);
  const auto raw = image_of(bytes_list{std::string(rgb.begin(), rgb.end())}, "raw",
                            {.shape = std::vector<std::int64_t>{4, 5, 3}});
  CHECK(raw.dims == std::vector<std::int64_t>{4, 5, 3});
  CHECK(image_of(bytes_list{std::string(rgb.begin(), rgb.end())}, "RAW", {}).dims ==
        std::vector<std::int64_t>{60});
  const std::string file = encode_png(rgb, 4, 5, 3);
  CHECK(image_of(bytes_list{file, file}, "", {.repeated = true}).dims ==
        std::vector<std::int64_t>{2, 4, 5, 3});
  CHECK_THROWS_WITH(image_of(bytes_list{file, file}, "", {}), "image/encoded: 2 images");
  CHECK_THROWS_AS(image_of(bytes_list{"no image"}, "png", {}), image_error);
}

TEST_CASE("boxes, sparse tensors, tables, backups and functions") {
  example e;
  for (const char* k : {"ymin", "xmin", "ymax", "xmax"})
    e.features[std::string("box/") + k] = float_list{float(k[0]), float(k[1])};
  e.features["indices"] = int64_list{2, 0};
  e.features["values"] = float_list{5, 6};
  e.features["word"] = bytes_list{"b", "?"};
  keys_to_features features{{"indices", var_len_feature{kind::int64s}},
                            {"values", var_len_feature{kind::floats}},
                            {"word", var_len_feature{kind::bytes}},
                            {"missing", var_len_feature{kind::floats}}};
  for (const char* k : {"ymin", "xmin", "ymax", "xmax"})
    features[std::string("box/") + k] = var_len_feature{kind::floats};
  const auto items = decoded(
      e, features,
      {{"boxes", handlers::bounding_box{.prefix = "box/"}},
       {"sparse", handlers::sparse_tensor{.size = 4, .default_value = -1}},
       {"number", handlers::lookup_tensor{"word", {{"a", 0}, {"b", 1}}}},
       {"backup", handlers::backup{handlers::tensor{"missing"}, handlers::tensor{"values"}}},
       {"count", handlers::callback{{"values"}, [](const parsed_features& f) {
                                      return item{int64_list{f.at("values").size()}, {}};
                                    }}}});
  CHECK(items.at("boxes").dims == std::vector<std::int64_t>{2, 4});
  CHECK(items.at("boxes").as<float>() == float_list{'y', 'x', 'y', 'x', 'm', 'm', 'm', 'm'});
  CHECK(items.at("sparse").as<float>() == float_list{6, -1, 5, -1});
  CHECK(items.at("number").as<std::int64_t>() == int64_list{1, -1});
  CHECK(items.at("backup").as<float>() == float_list{5, 6});
  CHECK(items.at("count").as<std::int64_t>() == int64_list{2});
  CHECK_THROWS_WITH(decoded(e, features, {{"sparse", handlers::sparse_tensor{.size = 2}}}),
                    "indices: index 2 is not within 2");
  CHECK_THROWS_WITH(decoded(e, features, {{"boxes", handlers::bounding_box{{"ymin"}, "box/"}}}),
                    "bounding_box: 1 keys, not 4");
}

TEST_CASE("items are made by name, and what cannot be is refused") {
  const example e = one("x", int64_list{1});
  const keys_to_features features{{"x", one_number}};
  CHECK(tfexample_decoder(features, {{"b", handlers::tensor{"x"}}, {"a", handlers::tensor{"x"}}})
            .list_items() == std::vector<std::string>{"a", "b"});
  CHECK(decoded(e, features, {{"a", handlers::tensor{"x"}}, {"b", handlers::tensor{"x"}}}, {"b"})
            .size() == 1);
  CHECK_THROWS_WITH(decoded(e, features, {{"a", handlers::tensor{"x"}}}, {"c"}),
                    "there is no item c");
  CHECK_THROWS_WITH(tfexample_decoder(features, {{"a", handlers::tensor{"y"}}}),
                    "item a reads feature y, which is not listed");
}

TEST_CASE("label files are written and read, and a bad line is named") {
  slim_test::temporary_folder tmp;
  CHECK_FALSE(has_labels(tmp.path()));
  const label_map labels{{0, "daisy"}, {1, "a: colon"}, {12, ""}};
  write_label_file(labels, tmp.path());
  CHECK(has_labels(tmp.path()));
  CHECK(read_label_file(tmp.path()) == labels);
  for (const char* bad : {"x:name", "1 name", ":name", "1x:name"}) {
    std::ofstream(tmp / "labels.txt") << "0:good\n" << bad << "\n";
    CHECK_THROWS_WITH(read_label_file(tmp.path()), Contains("line 2"));
  }
  CHECK_THROWS_AS(write_label_file(labels, "/no-such-folder"), record_error);
}
