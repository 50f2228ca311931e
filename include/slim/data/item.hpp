// Tensors whose kind and extents are known only when the program runs: what Examples hold.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "example.hpp"

namespace slim::data {

/// Numbers or strings with extents, row-major: what a handler makes of features. A sparse item says
/// where its values are, in a tensor of those extents.
struct item {
  using storage = std::variant<std::vector<std::uint8_t>, int64_list, float_list, bytes_list>;
  storage values{};
  std::vector<std::int64_t> dims{};
  std::optional<int64_list> indices{};  ///< of a sparse item: [values, rank]

  /// The number of values.
  std::int64_t size() const {
    return std::visit([](const auto& v) { return std::ssize(v); }, values);
  }
  bool is_sparse() const { return indices.has_value(); }
  /// The values if they are of this kind. Throws example_error if they are not.
  template <class T>
  const std::vector<T>& as() const& {
    if (const auto* v = std::get_if<std::vector<T>>(&values)) return *v;
    throw example_error("the item holds values of another kind than is asked for");
  }
  template <class T>
  std::vector<T> as() && {
    return std::move(const_cast<std::vector<T>&>(std::as_const(*this).template as<T>()));
  }
};

/// What stands where a sparse item has no value: a whole number goes with values of any kind, zero
/// with strings, too, as the empty one.
using scalar = std::variant<std::int64_t, float, std::string>;

/// Extents that a record states are believed up to so many elements: a few bytes can claim any.
inline constexpr std::int64_t max_item_elements = 100'000'000;

inline std::string text_of_dims(const std::vector<std::int64_t>& dims) {
  std::string s = "[";
  for (const std::int64_t d : dims) s += (s.size() > 1 ? ", " : "") + std::to_string(d);
  return s + "]";
}

namespace detail {

/// The product of extents. Throws example_error, which names `what`, if one is negative or there
/// are more than max_item_elements.
inline std::int64_t volume(const std::vector<std::int64_t>& dims, const std::string& what) {
  std::int64_t n = 1;
  bool good = true;
  for (const std::int64_t d : dims) {
    good = good && d >= 0 && (d == 0 || n <= max_item_elements / d);
    if (good) n *= d;
  }
  if (!good)
    throw example_error(what + ": shape " + text_of_dims(dims) + " is negative or has more than " +
                        std::to_string(max_item_elements) + " elements");
  return n;
}

/// The scalar as a T. Throws example_error, which names `what`.
template <class T>
T fill_value(const scalar& fill, const std::string& what) {
  if constexpr (std::is_same_v<T, std::string>) {
    if (const auto* text = std::get_if<std::string>(&fill)) return *text;
    if (fill == scalar(std::int64_t{0})) return {};
  } else {
    if (const auto* whole = std::get_if<std::int64_t>(&fill)) return static_cast<T>(*whole);
    if constexpr (std::is_same_v<T, float>)
      if (const auto* real = std::get_if<float>(&fill)) return *real;
  }
  throw example_error(what + ": the default value is of another kind than the values");
}

}  // namespace detail

/// The same values with other extents, of which one may be -1. Throws example_error, which names
/// `what`, if they are not as many.
inline item reshaped(item in, std::vector<std::int64_t> dims, const std::string& what) {
  const std::int64_t size = in.size();
  const std::string wanted = text_of_dims(dims);
  const auto open = std::find(dims.begin(), dims.end(), -1);
  if (open != dims.end()) {
    *open = 1;
    const std::int64_t known = detail::volume(dims, what);
    *open = known == 0 ? 0 : size / known;
  }
  if (detail::volume(dims, what) != size)
    throw example_error(what + ": " + std::to_string(size) + " values are not of shape " + wanted);
  in.dims = std::move(dims);
  return in;
}

/// The item with `fill` where it has no value; itself if it is dense. Throws example_error, which
/// names `what`, at an index outside of its extents or one that is there twice.
inline item densified(item in, const scalar& fill, const std::string& what) {
  if (!in.is_sparse()) return in;
  const auto total = static_cast<std::size_t>(detail::volume(in.dims, what));
  const std::size_t rank = in.dims.size();
  std::vector<bool> taken(total);
  const auto place = [&](std::size_t i) {
    std::size_t at = 0;
    for (std::size_t r = 0; r < rank; ++r) {
      const std::int64_t index = (*in.indices)[i * rank + r];
      if (index < 0 || index >= in.dims[r])
        throw example_error(what + ": index " + std::to_string(index) + " is not within shape " +
                            text_of_dims(in.dims));
      at = at * static_cast<std::size_t>(in.dims[r]) + static_cast<std::size_t>(index);
    }
    if (taken[at]) throw example_error(what + ": an index is there twice");
    taken[at] = true;
    return at;
  };
  item dense{{}, in.dims};
  std::visit(
      [&]<class T>(std::vector<T>& values) {
        std::vector<T> all(total, detail::fill_value<T>(fill, what));
        for (std::size_t i = 0; i < values.size(); ++i) all[place(i)] = std::move(values[i]);
        dense.values = std::move(all);
      },
      in.values);
  return dense;
}

}  // namespace slim::data
