// What makes items of an Example's features: TF-Slim's item handlers but for images, which are in
// image_handler.hpp, and sequences, in sequence_handlers.hpp.
#pragma once

#include <concepts>
#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "features.hpp"

namespace slim::data {

/// Makes an item of features: any function object with keys() and operator().
class item_handler {
 public:
  template <class Handler>
  requires requires(const Handler& h, const parsed_features& f) {
    { h(f) } -> std::convertible_to<item>;
    { h.keys() } -> std::convertible_to<std::vector<std::string>>;
  }
  item_handler(Handler h) : keys_(h.keys()), make_(std::move(h)) {}

  const std::vector<std::string>& keys() const { return keys_; }
  item operator()(const parsed_features& f) const { return make_(f); }

 private:
  std::vector<std::string> keys_;
  std::function<item(const parsed_features&)> make_;
};

namespace handlers {

namespace detail {

inline std::vector<std::int64_t> shape_from(const parsed_features& f,
                                            const std::vector<std::string>& keys) {
  std::vector<std::int64_t> dims;
  for (const std::string& k : keys)
    for (const std::int64_t d : densified(f.at(k), {}, k).as<std::int64_t>()) dims.push_back(d);
  return dims;
}

/// The names of coordinates, prefix in front. Throws std::invalid_argument unless there are so
/// many.
inline std::vector<std::string> prefixed(const std::string& prefix,
                                         const std::vector<std::string>& names, std::size_t count,
                                         const char* handler) {
  if (names.size() != count)
    throw std::invalid_argument(std::string(handler) + ": " + std::to_string(names.size()) +
                                " keys, not " + std::to_string(count));
  std::vector<std::string> all;
  for (const std::string& name : names) all.push_back(prefix + name);
  return all;
}

}  // namespace detail

/// A feature as it is, with other extents if they are given: literally, or by features. A sparse
/// one becomes dense, with default_value where it has none.
struct tensor {
  std::string tensor_key;
  std::vector<std::string> shape_keys{};
  std::optional<std::vector<std::int64_t>> shape{};
  scalar default_value{};

  /// Throws std::invalid_argument if shape_keys and shape are both given.
  std::vector<std::string> keys() const {
    if (!shape_keys.empty() && shape)
      throw std::invalid_argument(tensor_key + ": shape_keys and shape are both given");
    std::vector<std::string> all{tensor_key};
    all.insert(all.end(), shape_keys.begin(), shape_keys.end());
    return all;
  }
  item operator()(const parsed_features& f) const {
    item values = densified(f.at(tensor_key), default_value, tensor_key);
    if (!shape_keys.empty())
      return reshaped(std::move(values), detail::shape_from(f, shape_keys), tensor_key);
    if (shape) return reshaped(std::move(values), *shape, tensor_key);
    return values;
  }
};

/// A tensor's elements looked up in a table: strings to numbers, or lookup_tensor<std::int64_t,
/// std::string> the other way. What is not there becomes `unknown`.
template <class Key = std::string, class Value = std::int64_t>
struct lookup_tensor {
  std::string tensor_key;
  std::map<Key, Value> table;
  Value unknown = unknown_value();
  std::vector<std::string> shape_keys{};
  std::optional<std::vector<std::int64_t>> shape{};
  scalar default_value{};  ///< looked up where a sparse feature has no value

  std::vector<std::string> keys() const { return source().keys(); }
  item operator()(const parsed_features& f) const {
    const item names = source()(f);
    std::vector<Value> values;
    for (const Key& key : names.as<Key>()) {
      const auto found = table.find(key);
      values.push_back(found == table.end() ? unknown : found->second);
    }
    return {std::move(values), names.dims};
  }

 private:
  static Value unknown_value() {
    if constexpr (std::is_arithmetic_v<Value>)
      return Value(-1);
    else
      return {};
  }
  tensor source() const { return {tensor_key, shape_keys, shape, default_value}; }
};

/// Boxes [n, 4] of four features of n floats each, in the order of the keys.
struct bounding_box {
  std::vector<std::string> coordinates{"ymin", "xmin", "ymax", "xmax"};
  std::string prefix{};

  /// Throws std::invalid_argument if there are not four coordinates.
  std::vector<std::string> keys() const {
    return detail::prefixed(prefix, coordinates, 4, "bounding_box");
  }
  /// Throws example_error if there are not as many of each.
  item operator()(const parsed_features& f) const {
    const std::vector<std::string> names = keys();
    const std::size_t n = f.at(names[0]).as<float>().size();
    float_list boxes(4 * n);
    for (std::size_t c = 0; c < 4; ++c) {
      const float_list& values = f.at(names[c]).as<float>();
      if (values.size() != n)
        throw example_error(names[c] + ": " + std::to_string(values.size()) + " values, " +
                            names[0] + " has " + std::to_string(n));
      for (std::size_t i = 0; i < n; ++i) boxes[4 * i + c] = values[i];
    }
    return {std::move(boxes), {static_cast<std::int64_t>(n), 4}};
  }
};

/// A sparse item of values at indices, of the extents that a feature, or else `shape`, or else the
/// indices have. In a sequence the indices stand in place of the values' positions in their step.
/// With `densify` it is dense; only then are the indices verified, which need not be in order.
struct sparse_tensor {
  std::string indices_key = "indices", values_key = "values";
  std::string shape_key{};  ///< none if it is empty
  std::vector<std::int64_t> shape{};
  bool densify = false;
  scalar default_value{};

  std::vector<std::string> keys() const {
    std::vector<std::string> all{indices_key, values_key};
    if (!shape_key.empty()) all.push_back(shape_key);
    return all;
  }
  /// Throws example_error if there are not as many indices as values, extents are not of their
  /// rank, or, with densify, an index is outside of them or there twice.
  item operator()(const parsed_features& f) const {
    const item& where = f.at(indices_key);
    const int64_list& ids = where.as<std::int64_t>();
    item made = f.at(values_key);
    if (std::ssize(ids) != made.size())
      throw example_error(indices_key + ": " + std::to_string(ids.size()) + " indices of " +
                          std::to_string(made.size()) + " values");
    made.indices = where.is_sparse() ? *where.indices : ids;
    const std::size_t rank = where.is_sparse() ? where.dims.size() : 1;
    for (std::size_t i = 0; i < ids.size(); ++i) (*made.indices)[(i + 1) * rank - 1] = ids[i];
    if (!shape_key.empty())
      made.dims = detail::shape_from(f, {shape_key});
    else
      made.dims = shape.empty() ? where.dims : shape;
    if (made.dims.size() != rank)
      throw example_error(values_key + ": shape " + text_of_dims(made.dims) +
                          " is not of the indices' rank, " + std::to_string(rank));
    return densify ? densified(std::move(made), default_value, values_key) : made;
  }
};

/// What another handler makes where the first one's item is empty.
struct backup {
  item_handler handler, other;

  std::vector<std::string> keys() const {
    std::vector<std::string> all = handler.keys();
    all.insert(all.end(), other.keys().begin(), other.keys().end());
    return all;
  }
  item operator()(const parsed_features& f) const {
    item made = handler(f);
    return made.size() > 0 ? made : other(f);
  }
};

/// A function of the caller's.
struct callback {
  std::vector<std::string> names;
  std::function<item(const parsed_features&)> function;

  const std::vector<std::string>& keys() const { return names; }
  item operator()(const parsed_features& f) const { return function(f); }
};

}  // namespace handlers

}  // namespace slim::data
