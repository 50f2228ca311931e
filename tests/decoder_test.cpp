// Items out of Examples as TF-Slim's tfexample_decoder makes them (tests/oracle/make_decoder.py),
// and what it refuses.

#include <set>

#include <catch2/catch.hpp>

#include <slim/data/record_set.hpp>
#include <slim/data/tfexample_decoder.hpp>
#include <slim/image_encode.hpp>

#include "decoders.hpp"
#include "golden.hpp"

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
  CHECK_THROWS_WITH(image_of(bytes_list{file, encode_png(rgb, 5, 4, 3)}, "", {.repeated = true}),
                    "image/encoded: image 1 is [5, 4, 3], the first [4, 5, 3]");
  CHECK(image_of(bytes_list{}, "", {.repeated = true}).size() == 0);
  CHECK_THROWS_WITH(image_of(bytes_list{"GIF89a"}, "", {}),
                    "image/encoded: is a GIF; JPEG and PNG are read");
  CHECK_THROWS_WITH(image_of(bytes_list{"12345"}, "raw", {.kind = pixel_kind::floats}),
                    "image/encoded: 5 raw bytes are not elements of 4");
  CHECK_THROWS_WITH(image_of(bytes_list{file}, "", {.dct_method = "SLOW"}),
                    "image/encoded: there is no dct_method SLOW");
  CHECK_THROWS_WITH(image_of(bytes_list{file}, "", {.channels = 2}), Contains("2 channels"));
  CHECK_THROWS_AS(image_of(bytes_list{"no image"}, "png", {}), image_error);
}

TEST_CASE("boxes, sparse tensors, tables, backups and functions") {
  example e;
  for (const char* k : {"ymin", "xmin", "ymax", "xmax"})
    e.features[std::string("box/") + k] = float_list{float(k[0]), float(k[1])};
  e.features["indices"] = int64_list{2, 0};
  e.features["values"] = float_list{5, 6};
  e.features["word"] = bytes_list{"b", "?"};
  e.features["number"] = int64_list{1, 7};
  keys_to_features features{{"indices", var_len_feature{kind::int64s}},
                            {"number", var_len_feature{kind::int64s}},
                            {"values", var_len_feature{kind::floats}},
                            {"word", var_len_feature{kind::bytes}},
                            {"missing", var_len_feature{kind::floats}}};
  for (const char* k : {"ymin", "xmin", "ymax", "xmax"})
    features[std::string("box/") + k] = var_len_feature{kind::floats};
  const auto items = decoded(
      e, features,
      {{"boxes", handlers::bounding_box{.prefix = "box/"}},
       {"sparse", handlers::sparse_tensor{.shape = {4}, .densify = true, .default_value = -1}},
       {"number", handlers::lookup_tensor<>{"word", {{"a", 0}, {"b", 1}}}},
       {"name", handlers::lookup_tensor<std::int64_t, std::string>{"number", {{1, "b"}}, "UNK"}},
       {"backup", handlers::backup{handlers::tensor{"missing"}, handlers::tensor{"values"}}},
       {"count", handlers::callback{{"values"}, [](const parsed_features& f) {
                                      return item{int64_list{f.at("values").size()}, {}};
                                    }}}});
  CHECK(items.at("boxes").dims == std::vector<std::int64_t>{2, 4});
  CHECK(items.at("boxes").as<float>() == float_list{'y', 'x', 'y', 'x', 'm', 'm', 'm', 'm'});
  CHECK(items.at("sparse").as<float>() == float_list{6, -1, 5, -1});
  CHECK(items.at("number").as<std::int64_t>() == int64_list{1, -1});
  CHECK(items.at("name").as<std::string>() == bytes_list{"b", "UNK"});
  CHECK(items.at("backup").as<float>() == float_list{5, 6});
  CHECK(items.at("count").as<std::int64_t>() == int64_list{2});
  CHECK_THROWS_WITH(
      decoded(e, features, {{"s", handlers::sparse_tensor{.shape = {2}, .densify = true}}}),
      "values: index 2 is not within shape [2]");
  CHECK_THROWS_WITH(decoded(e, features, {{"s", handlers::sparse_tensor{.shape = {2, 2}}}}),
                    "values: shape [2, 2] is not of the indices' rank, 1");
  CHECK_THROWS_WITH(decoded(e, features, {{"s", handlers::sparse_tensor{"indices", "missing"}}}),
                    "indices: 2 indices of 0 values");
  CHECK_THROWS_WITH(decoded(e, features, {{"boxes", handlers::bounding_box{{"ymin"}, "box/"}}}),
                    "bounding_box: 1 keys, not 4");
  e.features["box/xmax"] = float_list{1};
  CHECK_THROWS_WITH(decoded(e, features, {{"boxes", handlers::bounding_box{.prefix = "box/"}}}),
                    "box/xmax: 1 values, box/ymin has 2");
}

TEST_CASE("extents that a record states cost no memory") {
  example e = one("indices", int64_list{0, 0});
  e.features["values"] = float_list{5, 6};
  e.features["shape"] = int64_list{std::int64_t{1} << 40};
  const keys_to_features features{{"indices", var_len_feature{kind::int64s}},
                                  {"shape", var_len_feature{kind::int64s}},
                                  {"values", var_len_feature{kind::floats}}};
  const auto sparse = [&](std::vector<std::int64_t> shape, const std::string& key) {
    return decoded(e, features,
                   {{"s", handlers::sparse_tensor{"indices", "values", key, shape, true}}});
  };
  CHECK_THROWS_WITH(sparse({}, "shape"), Contains("has more than 33554432 elements"));
  CHECK_THROWS_WITH(sparse({3}, ""), "values: an index is there twice");
  for (const std::int64_t wrong : {std::int64_t{-2}, std::numeric_limits<std::int64_t>::max()}) {
    e.features["shape"] = int64_list{wrong, 3};
    CHECK_THROWS_AS(decoded(e, features, {{"t", handlers::tensor{"values", {"shape"}}}}),
                    example_error);
  }
  sequence_example s;
  s.lists["x"].resize(1 << 15);
  s.lists["x"][0] = int64_list(1 << 13);
  const std::string record = s.serialize();
  const tfsequence_example_decoder decoder({}, {{"x", var_len_feature{kind::int64s}}},
                                           {{"x", handlers::tensor{"x"}}});
  CHECK_THROWS_WITH(decoder.decode(std::as_bytes(std::span(record))),
                    Contains("x: shape [32768, 8192]"));
}

namespace {

std::vector<double> numbers(const item& i) {
  return std::visit(
      []<class T>(const std::vector<T>& values) {
        if constexpr (std::is_arithmetic_v<T>)
          return std::vector<double>(values.begin(), values.end());
        else
          return std::vector<double>{};
      },
      i.values);
}

void check_item(const item& got, const slim_test::record& want) {
  CAPTURE(want.title());
  CHECK(numbers(got) == want.at("values").values);
  REQUIRE(got.is_sparse() == want.arrays.contains("indices"));
  if (!got.is_sparse()) {
    CHECK(got.dims ==
          std::vector<std::int64_t>(want.at("values").dims.begin(), want.at("values").dims.end()));
    return;
  }
  const auto& dims = want.at("dims").values;
  CHECK(got.dims == std::vector<std::int64_t>(dims.begin(), dims.end()));
  CHECK(std::vector<double>(got.indices->begin(), got.indices->end()) == want.at("indices").values);
}

}  // namespace

TEST_CASE("every handler's items are the real TF-Slim's, to the bit") {
  const record_set records({slim_test::data_path("records/decoder.tfrecord")});
  const auto wanted = slim_test::read(slim_test::data_path("records/decoder.bin"));
  const tfexample_decoder examples = slim_test::example_decoder();
  const tfsequence_example_decoder sequences = slim_test::sequence_decoder();
  std::set<std::string> seen;
  for (const slim_test::record& want : wanted) {
    const std::string id = want.text("id"), name = id.substr(2);
    const int number = id[0] - '0';
    const auto record = records.record(number);
    const auto items =
        number < 2 ? examples.decode(record, {name}) : sequences.decode(record, {name});
    check_item(items.at(name), want);
    seen.insert(name);
  }
  CHECK(wanted.size() == 53);
  for (const std::string& name : examples.list_items()) CHECK(seen.contains(name));
  for (const std::string& name : sequences.list_items()) CHECK(seen.contains(name));
}

TEST_CASE("a sequence that does not hold what is asked for is refused") {
  sequence_example s;
  s.lists["y"] = {float_list{1, 2}, float_list{3}};
  s.lists["x"] = {float_list{1}, float_list{3}};
  s.lists["z"] = {float_list{1}, float_list{3, 4}};
  const std::string record = s.serialize();
  const var_len_feature any{kind::floats};
  const auto decoded_by = [&](const item_handler& h, keys_to_sequence_features steps) {
    return tfsequence_example_decoder({}, std::move(steps), {{"i", h}})
        .decode(std::as_bytes(std::span(record)))
        .at("i");
  };
  const keys_to_sequence_features both{{"y", any}, {"x", any}, {"z", any}};
  CHECK_THROWS_WITH(decoded_by(handlers::keypoints_sequence{}, both), "x is [2, 1], y is [2, 2]");
  CHECK_THROWS_WITH(decoded_by(handlers::num_boxes_sequence{{"y", "z"}}, both),
                    Contains("z has not as many boxes in every step as y"));
  CHECK(decoded_by(handlers::num_boxes_sequence{{"y", "z"}, false}, both).as<std::int64_t>() ==
        int64_list{2, 1});
  const fixed_len_sequence_feature one_each{{1}, kind::floats};
  CHECK_THROWS_WITH(decoded_by(handlers::tensor{"y"}, {{"y", one_each}}),
                    "feature list y, step 0: 2 values are not of shape [1]");
  CHECK_THROWS_WITH(decoded_by(handlers::tensor{"w"}, {{"w", one_each}}),
                    "there is no feature list w");
  CHECK_THROWS_WITH(decoded_by(handlers::num_boxes_sequence{{"x"}}, {{"x", one_each}}),
                    Contains("x is no feature of a sequence"));
  CHECK_THROWS_WITH(
      tfsequence_example_decoder({{"x", one_number}}, {{"x", any}}, {{"i", handlers::tensor{"x"}}}),
      "feature x is listed for the context and for steps");
  CHECK_THROWS_WITH(decoded_by(handlers::keypoints_sequence{{"y"}}, both),
                    "keypoints_sequence: 1 keys, not 2");
  CHECK_THROWS_WITH(decoded_by(handlers::num_boxes_sequence{}, both), Contains("no keys"));
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
  CHECK_THROWS_WITH(
      tfexample_decoder(features,
                        {{"a", handlers::tensor{"x", {"x"}, std::vector<std::int64_t>{1}}}}),
      "x: shape_keys and shape are both given");
}
