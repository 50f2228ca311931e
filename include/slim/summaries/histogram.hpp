// Histograms as TensorFlow counts them.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "../checkpoint/wire_writer.hpp"

namespace slim::summaries {

/// Counts values in TensorFlow's buckets: their limits grow by a tenth from 1e-12 to 1e20 on either
/// side of zero.
class histogram {
 public:
  histogram() : counts_(limits().size()) {}

  /// Values that are not finite are left out and counted by not_finite().
  template <class Values>
  void add_all(const Values& values) {
    for (const auto v : values) add(static_cast<double>(v));
  }
  void add(double value) {
    if (!std::isfinite(value)) {
      ++not_finite_;
      return;
    }
    const auto& all = limits();
    const auto at = std::upper_bound(all.begin(), all.end(), value) - all.begin();
    ++counts_[static_cast<std::size_t>(std::min<std::ptrdiff_t>(at, std::ssize(all) - 1))];
    least_ = std::min(least_, value), largest_ = std::max(largest_, value);
    ++count_, sum_ += value, squares_ += value * value;
  }
  long not_finite() const { return not_finite_; }

  /// The message HistogramProto; a run of empty buckets is written as one.
  std::string serialize() const {
    slim::detail::wire_writer out;
    out.fixed(1, least_), out.fixed(2, largest_), out.fixed(3, count_);
    out.fixed(4, sum_), out.fixed(5, squares_);
    std::vector<double> ends, counts;
    for (std::size_t i = 0; i < counts_.size();) {
      std::size_t last = i;
      if (counts_[i] == 0)
        while (last + 1 < counts_.size() && counts_[last + 1] == 0) ++last;
      ends.push_back(limits()[last]), counts.push_back(counts_[last]);
      i = last + 1;
    }
    out.packed_fixed<double>(6, ends);
    out.packed_fixed<double>(7, counts);
    return out.bytes();
  }

 private:
  static const std::vector<double>& limits() {
    static const std::vector<double> all = [] {
      std::vector<double> up;
      for (double v = 1e-12; v < 1e20; v *= 1.1) up.push_back(v);
      up.push_back(std::numeric_limits<double>::max());
      std::vector<double> both;
      for (auto v = up.rbegin(); v != up.rend(); ++v) both.push_back(-*v);
      both.push_back(0);
      both.insert(both.end(), up.begin(), up.end());
      return both;
    }();
    return all;
  }

  std::vector<double> counts_;
  double least_ = std::numeric_limits<double>::max();
  double largest_ = -std::numeric_limits<double>::max();
  double count_ = 0, sum_ = 0, squares_ = 0;
  long not_finite_ = 0;
};

}  // namespace slim::summaries
