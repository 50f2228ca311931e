// Features of Examples as tensors: what TensorFlow's parse_single_example and
// parse_single_sequence_example make of them.
#pragma once

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "item.hpp"

namespace slim::data {

/// A feature with so many values in every Example. One that is absent has the default or is an
/// error.
struct fixed_len_feature {
  std::vector<std::int64_t> shape{};
  feature_kind kind = feature_kind::int64s;
  feature default_value{};
};
/// A feature with any number of values; one that is absent has none. In an Example it is a dense
/// item [n], in a sequence a sparse one [steps, most values of a step].
struct var_len_feature {
  feature_kind kind = feature_kind::int64s;
};
/// A feature of a sequence with so many values in every step: [steps, shape...]. One that is absent
/// has no steps, or is an error.
struct fixed_len_sequence_feature {
  std::vector<std::int64_t> shape{};
  feature_kind kind = feature_kind::int64s;
  bool allow_missing = false;
};

using feature_spec = std::variant<fixed_len_feature, var_len_feature>;
using sequence_feature_spec = std::variant<fixed_len_sequence_feature, var_len_feature>;
using keys_to_features = std::map<std::string, feature_spec>;
using keys_to_sequence_features = std::map<std::string, sequence_feature_spec>;
/// What handlers are given.
using parsed_features = std::map<std::string, item>;

namespace detail {

/// A dense item [n] of a feature's values; a feature without a kind has none. Throws example_error
/// if it is of another kind.
inline item item_of(const feature_view& f, feature_kind kind) {
  item made;
  if (kind == feature_kind::int64s) made.values = f.int64s();
  if (kind == feature_kind::floats) made.values = f.floats();
  if (kind == feature_kind::bytes) {
    bytes_list all;
    for (const std::string_view s : f.bytes()) all.emplace_back(s);
    made.values = std::move(all);
  }
  made.dims = {made.size()};
  return made;
}
inline item item_of(const feature& f) {
  item made;
  std::visit(
      [&]<class V>(const V& v) {
        if constexpr (!std::is_same_v<V, std::monostate>) made.values = v;
      },
      f);
  made.dims = {made.size()};
  return made;
}

/// Adds the values of an item of the same kind.
inline void append(item& to, item&& more) {
  std::visit(
      [&]<class T>(std::vector<T>& values) {
        auto& from = std::get<std::vector<T>>(more.values);
        values.insert(values.end(), std::make_move_iterator(from.begin()),
                      std::make_move_iterator(from.end()));
      },
      to.values);
}

inline std::span<const feature_view> steps_of(const feature_list_view* list) {
  return list == nullptr ? std::span<const feature_view>() : list->steps();
}

inline item parsed_list(const std::string&, const feature_list_view* list,
                        const var_len_feature& spec) {
  item all = item_of(feature_view(), spec.kind);
  int64_list indices;
  std::int64_t step = 0, most = 0;
  for (const feature_view& f : steps_of(list)) {
    item values = item_of(f, spec.kind);
    for (std::int64_t i = 0; i < values.size(); ++i) indices.insert(indices.end(), {step, i});
    most = std::max(most, values.size());
    append(all, std::move(values));
    ++step;
  }
  all.dims = {step, most};
  all.indices = std::move(indices);
  return all;
}

inline item parsed_list(const std::string& name, const feature_list_view* list,
                        const fixed_len_sequence_feature& spec) {
  if (list == nullptr && !spec.allow_missing)
    throw example_error("there is no feature list " + name);
  item all = item_of(feature_view(), spec.kind);
  const std::string what = "feature list " + name;
  const std::int64_t each = volume(spec.shape, what);
  std::int64_t step = 0;
  for (const feature_view& f : steps_of(list)) {
    item values = item_of(f, spec.kind);
    if (values.size() != each)
      throw example_error(what + ", step " + std::to_string(step) + ": " +
                          std::to_string(values.size()) + " values are not of shape " +
                          text_of_dims(spec.shape));
    append(all, std::move(values));
    ++step;
  }
  all.dims = spec.shape;
  all.dims.insert(all.dims.begin(), step);
  return all;
}

}  // namespace detail

/// The features that are asked for, as tensors. Throws example_error, which names the feature:
/// absent without a default, of another kind, or with another number of values.
inline parsed_features parse(const features_view& example, const keys_to_features& wanted) {
  parsed_features all;
  for (const auto& [name, spec] : wanted) {
    const feature_view* const found = example.find(name);
    const bool there = found != nullptr && found->kind() != feature_kind::none;
    if (const auto* any = std::get_if<var_len_feature>(&spec)) {
      all[name] = detail::item_of(there ? *found : feature_view(), any->kind);
      continue;
    }
    const auto& fixed = std::get<fixed_len_feature>(spec);
    const bool has_default = fixed.default_value.index() != 0;
    if (!there && !has_default) throw example_error("there is no feature " + name);
    item values =
        there ? detail::item_of(*found, fixed.kind) : detail::item_of(fixed.default_value);
    all[name] = reshaped(std::move(values), fixed.shape, "feature " + name);
  }
  return all;
}

/// The features of a sequence's context and steps that are asked for, under names that are not in
/// both. Throws example_error, which names the feature.
inline parsed_features parse(const sequence_example_view& sequence, const keys_to_features& context,
                             const keys_to_sequence_features& wanted) {
  parsed_features all = parse(sequence.context(), context);
  for (const auto& [name, spec] : wanted)
    all[name] = std::visit(
        [&](const auto& s) { return detail::parsed_list(name, sequence.find_list(name), s); },
        spec);
  return all;
}

}  // namespace slim::data
