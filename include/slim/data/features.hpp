// Features of an Example as tensors: what TensorFlow's parse_single_example makes of them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "example.hpp"

namespace slim::data {

/// Numbers or strings with extents, row-major: what a handler makes of features.
struct item {
  using storage = std::variant<std::vector<std::uint8_t>, int64_list, float_list, bytes_list>;
  storage values{};
  std::vector<std::int64_t> dims{};

  std::int64_t size() const {
    return std::visit([](const auto& v) { return std::ssize(v); }, values);
  }
  /// The values if they are of this kind. Throws example_error if they are not.
  template <class T>
  const std::vector<T>& as() const {
    if (const auto* v = std::get_if<std::vector<T>>(&values)) return *v;
    throw example_error("the item holds values of another kind than is asked for");
  }
};

inline std::string text_of_dims(const std::vector<std::int64_t>& dims) {
  std::string s = "[";
  for (const std::int64_t d : dims) s += (s.size() > 1 ? ", " : "") + std::to_string(d);
  return s + "]";
}

/// The same values with other extents, of which one may be -1. Throws example_error, which names
/// `what`, if they are not as many.
inline item reshaped(item in, std::vector<std::int64_t> dims, const std::string& what) {
  std::int64_t known = 1, *open = nullptr;
  for (std::int64_t& d : dims) {
    if (d < 0 && open == nullptr)
      open = &d;
    else
      known *= d;
  }
  const std::int64_t size = in.size();
  if (open != nullptr && known != 0 && size % known == 0) *open = size / known, known = size;
  if (known != size)
    throw example_error(what + ": " + std::to_string(size) + " values are not of shape " +
                        text_of_dims(dims));
  in.dims = std::move(dims);
  return in;
}

/// A feature with so many values in every Example. One that is absent has the default or is an
/// error.
struct fixed_len_feature {
  std::vector<std::int64_t> shape{};
  feature_kind kind = feature_kind::int64s;
  feature default_value{};
};
/// A feature with any number of values; one that is absent has none.
struct var_len_feature {
  feature_kind kind = feature_kind::int64s;
};
using feature_spec = std::variant<fixed_len_feature, var_len_feature>;
using keys_to_features = std::map<std::string, feature_spec>;
/// What handlers are given.
using parsed_features = std::map<std::string, item>;

namespace detail {

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

}  // namespace slim::data
