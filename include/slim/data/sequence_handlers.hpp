// TF-Slim's item handlers of sequences: features that have any number of values in every step.
#pragma once

#include <array>

#include "handlers.hpp"

namespace slim::data::handlers {

namespace detail {

/// A feature of a sequence, which is sparse [steps, most values of a step].
inline const item& ragged(const parsed_features& f, const std::string& key) {
  const item& values = f.at(key);
  if (!values.is_sparse() || values.dims.size() != 2)
    throw example_error(key + " is no feature of a sequence with any number of values in a step");
  return values;
}

/// Coordinates beside each other: [steps, most points of a step, keys], sparse or with `fill` where
/// there are none. Throws example_error if the features are not of the same extents.
inline item points(const parsed_features& f, const std::vector<std::string>& keys, bool dense,
                   float fill) {
  using place = std::array<std::int64_t, 3>;
  std::vector<std::pair<place, float>> all;
  const std::vector<std::int64_t>& extents = ragged(f, keys[0]).dims;
  for (std::size_t c = 0; c < keys.size(); ++c) {
    const item& side = ragged(f, keys[c]);
    if (side.dims != extents)
      throw example_error(keys[c] + " is " + text_of_dims(side.dims) + ", " + keys[0] + " is " +
                          text_of_dims(extents));
    const float_list& values = side.as<float>();
    for (std::size_t i = 0; i < values.size(); ++i)
      all.emplace_back(
          place{(*side.indices)[2 * i], (*side.indices)[2 * i + 1], static_cast<std::int64_t>(c)},
          values[i]);
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  float_list values;
  int64_list indices;
  for (const auto& [at, value] : all) {
    values.push_back(value);
    indices.insert(indices.end(), at.begin(), at.end());
  }
  item made{std::move(values), {extents[0], extents[1], std::ssize(keys)}, std::move(indices)};
  return dense ? densified(std::move(made), fill, keys[0]) : made;
}

}  // namespace detail

/// The boxes of every step, [steps, most boxes of a step, 4], in the order of the keys.
struct bounding_box_sequence {
  std::vector<std::string> coordinates{"ymin", "xmin", "ymax", "xmax"};
  std::string prefix{};
  bool return_dense = true;     ///< else a sparse item
  float default_value = -1.0f;  ///< where a step has fewer boxes

  /// Throws std::invalid_argument if there are not four coordinates.
  std::vector<std::string> keys() const {
    return detail::prefixed(prefix, coordinates, 4, "bounding_box_sequence");
  }
  item operator()(const parsed_features& f) const {
    return detail::points(f, keys(), return_dense, default_value);
  }
};

/// The key points of every step, [steps, most points of a step, 2], in the order of the keys.
struct keypoints_sequence {
  std::vector<std::string> coordinates{"y", "x"};
  std::string prefix{};
  bool return_dense = true;
  float default_value = -1.0f;

  /// Throws std::invalid_argument if there are not two coordinates.
  std::vector<std::string> keys() const {
    return detail::prefixed(prefix, coordinates, 2, "keypoints_sequence");
  }
  item operator()(const parsed_features& f) const {
    return detail::points(f, keys(), return_dense, default_value);
  }
};

/// The number of boxes in every step, [steps], by the first of the features.
struct num_boxes_sequence {
  std::vector<std::string> names;
  bool check_consistency = true;

  /// Throws std::invalid_argument if there is none.
  const std::vector<std::string>& keys() const {
    if (names.empty()) throw std::invalid_argument("num_boxes_sequence: there are no keys");
    return names;
  }
  /// Throws example_error if another feature has other numbers and that is checked.
  item operator()(const parsed_features& f) const {
    int64_list counts = counts_of(f, names[0]);
    if (check_consistency)
      for (const std::string& name : names)
        if (counts_of(f, name) != counts)
          throw example_error(name + " has not as many boxes in every step as " + names[0]);
    const std::int64_t steps = std::ssize(counts);
    return {std::move(counts), {steps}};
  }

 private:
  static int64_list counts_of(const parsed_features& f, const std::string& key) {
    const item& values = detail::ragged(f, key);
    int64_list counts(static_cast<std::size_t>(values.dims[0]));
    for (std::size_t i = 0; i < values.indices->size(); i += 2) {
      const auto step = static_cast<std::size_t>((*values.indices)[i]);
      counts[step] = std::max(counts[step], (*values.indices)[i + 1] + 1);
    }
    return counts;
  }
};

}  // namespace slim::data::handlers
