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

/// A sparse item becomes a dense one of at most so many bytes: a short record can state any
/// extents.
inline constexpr std::int64_t max_dense_bytes = std::int64_t{1} << 27;

inline std::string text_of_dims(const std::vector<std::int64_t>& dims) {
  std::string s = "[";
  for (const std::int64_t d : dims) s += (s.size() > 1 ? ", " : "") + std::to_string(d);
  return s + "]";
}

namespace detail {

/// The product of extents. Throws example_error, which names `what`, if one is negative or there
/// are more than `most` elements.
inline std::int64_t volume(const std::vector<std::int64_t>& dims, const std::string& what,
                           std::int64_t most = std::numeric_limits<std::int64_t>::max()) {
  std::int64_t n = 1;
  bool good = true;
  for (const std::int64_t d : dims) {
    good = good && d >= 0 && (d == 0 || n <= most / d);
    if (good) n *= d;
  }
  if (!good)
    throw example_error(what + ": shape " + text_of_dims(dims) + " is negative or has more than " +
                        std::to_string(most) + " elements");
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

namespace detail {

/// Row-major numbers of the places that a sparse item's indices name. Throws example_error at an
/// index outside of its extents or a place that is there twice.
inline std::vector<std::size_t> places(const item& sparse, std::int64_t total,
                                       const std::string& what) {
  const std::size_t rank = sparse.dims.size();
  std::vector<bool> taken(static_cast<std::size_t>(total));
  std::vector<std::size_t> all(static_cast<std::size_t>(sparse.size()));
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t r = 0; r < rank; ++r) {
      const std::int64_t index = (*sparse.indices)[i * rank + r], extent = sparse.dims[r];
      if (index < 0 || index >= extent)
        throw example_error(what + ": index " + std::to_string(index) + " is not within shape " +
                            text_of_dims(sparse.dims));
      all[i] = all[i] * static_cast<std::size_t>(extent) + static_cast<std::size_t>(index);
    }
    if (taken[all[i]]) throw example_error(what + ": an index is there twice");
    taken[all[i]] = true;
  }
  return all;
}

}  // namespace detail

/// The item with `fill` where it has no value; itself if it is dense. Throws example_error, which
/// names `what`: at an index outside of its extents or one that is there twice, and if it would
/// have more than max_dense_bytes.
inline item densified(item in, const scalar& fill, const std::string& what) {
  if (!in.is_sparse()) return in;
  item dense{{}, in.dims};
  std::visit(
      [&]<class T>(std::vector<T>& values) {
        const std::int64_t most = max_dense_bytes / static_cast<std::int64_t>(sizeof(T));
        const std::int64_t total = detail::volume(in.dims, what, most);
        const std::vector<std::size_t> places = detail::places(in, total, what);
        std::vector<T> all(static_cast<std::size_t>(total), detail::fill_value<T>(fill, what));
        for (std::size_t i = 0; i < places.size(); ++i) all[places[i]] = std::move(values[i]);
        dense.values = std::move(all);
      },
      in.values);
  return dense;
}

}  // namespace slim::data
