// The decoders of tests/oracle/make_decoder.py: every handler.
#pragma once

#include <slim/data/tfexample_decoder.hpp>

namespace slim_test {

inline const std::vector<std::string> sides{"ymin", "xmin", "ymax", "xmax"};

inline slim::data::tfexample_decoder example_decoder(std::size_t max_pixels = 1'000'000) {
  using namespace slim::data;
  using kind = feature_kind;
  const fixed_len_feature text{{}, kind::bytes};
  keys_to_features features{
      {"image/encoded", text},
      {"image/format", fixed_len_feature{{}, kind::bytes, bytes_list{"jpeg"}}},
      {"raw/encoded", text},
      {"raw/format", text},
      {"several", fixed_len_feature{{2}, kind::bytes}},
      {"fixed", fixed_len_feature{{2, 3}, kind::floats}},
      {"numbers", var_len_feature{kind::int64s}},
      {"rows", var_len_feature{kind::int64s}},
      {"columns", var_len_feature{kind::int64s}},
      {"word", var_len_feature{kind::bytes}},
      {"defaulted", fixed_len_feature{{2}, kind::int64s, int64_list{8, 9}}},
      {"first", var_len_feature{kind::floats}},
      {"ids", var_len_feature{kind::int64s}},
      {"values", var_len_feature{kind::floats}},
      {"extents", fixed_len_feature{{1}, kind::int64s, int64_list{9}}}};
  for (const std::string& s : sides) features["box/" + s] = var_len_feature{kind::floats};
  using namespace handlers;
  using dims = std::vector<std::int64_t>;
  return {
      features,
      {{"image", handlers::image{.max_pixels = max_pixels}},
       {"grey", handlers::image{.channels = 1, .max_pixels = max_pixels}},
       {"real", handlers::image{.kind = pixel_kind::floats, .max_pixels = max_pixels}},
       {"accurate", handlers::image{.dct_method = "INTEGER_ACCURATE", .max_pixels = max_pixels}},
       {"raw", handlers::image{"raw/encoded", "raw/format", dims{1, 2, 3}, 3, pixel_kind::floats}},
       {"several",
        handlers::image{.image_key = "several", .repeated = true, .max_pixels = max_pixels}},
       {"fixed", tensor{"fixed"}},
       {"flat", tensor{"fixed", {}, dims{-1}}},
       {"numbers", tensor{"numbers"}},
       {"defaulted", tensor{"defaulted"}},
       {"shaped", tensor{"numbers", {"rows", "columns"}}},
       {"word", lookup_tensor<>{"word", {{"a", 3}, {"b", 4}}}},
       {"boxes", bounding_box{.prefix = "box/"}},
       {"backup", backup{tensor{"first"}, tensor{"fixed", {}, dims{6}}}},
       {"sparse", sparse_tensor{"ids", "values", "extents"}},
       {"unshaped", sparse_tensor{"ids", "values"}},
       {"dense", sparse_tensor{"ids", "values", "", {5}, true, -1}}}};
}

inline slim::data::tfsequence_example_decoder sequence_decoder() {
  using namespace slim::data;
  using kind = feature_kind;
  keys_to_sequence_features steps{{"ids", var_len_feature{kind::int64s}},
                                  {"pairs", fixed_len_sequence_feature{{2}, kind::int64s}},
                                  {"absent", fixed_len_sequence_feature{{3}, kind::floats, true}}};
  for (const char* name : {"point/y", "point/x", "values"})
    steps[name] = var_len_feature{kind::floats};
  std::vector<std::string> all_sides;
  for (const std::string& s : sides) all_sides.push_back("box/" + s);
  for (const std::string& s : all_sides) steps[s] = var_len_feature{kind::floats};
  using namespace handlers;
  return {{{"name", fixed_len_feature{{}, kind::int64s}}},
          steps,
          {{"boxes", bounding_box_sequence{.prefix = "box/"}},
           {"sparse_boxes", bounding_box_sequence{.prefix = "box/", .return_dense = false}},
           {"count", num_boxes_sequence{all_sides}},
           {"points", keypoints_sequence{.prefix = "point/", .default_value = -2.0f}},
           {"name", tensor{"name"}},
           {"pairs", tensor{"pairs"}},
           {"absent", tensor{"absent"}},
           {"padded", tensor{"values", {}, {}, 0.5f}},
           {"sparse", sparse_tensor{"ids", "values", "", {3, 9}}},
           {"dense", sparse_tensor{"ids", "values", "", {3, 9}, true}}}};
}

}  // namespace slim_test
