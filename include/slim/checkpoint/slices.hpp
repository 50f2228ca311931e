// Tensors stored in slices, as partitioned variables are: each slice is a range of rows of one
// axis.
#pragma once

#include <algorithm>
#include <numeric>

#include "messages.hpp"

namespace slim::detail {

/// Rows [start, start + rows) of an axis, and all of every other axis.
struct row_range {
  std::size_t axis = 0;
  std::int64_t start = 0, rows = 1;

  /// Elements of such a slice of a tensor.
  std::int64_t count(const stored_shape& dims) const {
    std::int64_t product = dims.empty() ? 1 : rows;
    for (std::size_t i = 0; i < dims.size(); ++i)
      if (i != axis) product *= dims[i];
    return product;
  }
};

inline row_range whole_of(const stored_shape& dims) { return {0, 0, dims.empty() ? 1 : dims[0]}; }

/// The rows that each slice is, in the slices' order; none unless together they are the tensor,
/// each element once, cut along one axis. (TensorFlow's partitioners cut no other way.)
inline std::optional<std::vector<row_range>> ranges_of(const stored_shape& dims,
                                                       const std::vector<tensor_slice>& slices) {
  const auto whole = [&](const tensor_slice& s, std::size_t i) {
    return s[i].whole() || s[i] == slice_extent{0, dims[i]};
  };
  std::size_t axis = 0;  // that is cut
  for (const tensor_slice& s : slices)
    if (s.size() != dims.size()) return std::nullopt;
  if (slices.empty()) return std::nullopt;
  while (axis + 1 < dims.size() && whole(slices[0], axis)) ++axis;

  std::vector<row_range> ranges;
  for (const tensor_slice& s : slices) {
    row_range r = whole_of(dims);
    for (std::size_t i = 0; i < dims.size(); ++i) {
      if (i != axis && !whole(s, i)) return std::nullopt;
      if (i == axis) r = {i, s[i].start, s[i].length == -1 ? dims[i] - s[i].start : s[i].length};
    }
    ranges.push_back(r);
  }
  std::vector<std::size_t> order(ranges.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return ranges[a].start < ranges[b].start; });
  const std::int64_t extent = dims.empty() ? 1 : dims[axis];
  std::int64_t next = 0;
  for (std::size_t i : order) {
    if (ranges[i].start != next || ranges[i].rows < 0 || ranges[i].rows > extent - next)
      return std::nullopt;
    next += ranges[i].rows;
  }
  if (next != extent) return std::nullopt;
  return ranges;
}

}  // namespace slim::detail
