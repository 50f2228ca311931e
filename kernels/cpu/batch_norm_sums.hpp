// Sums over the rows of [rows, channels] for batch normalisation: in blocks that stay in the cache,
// joined in double (Chan, Golub and LeVeque, The American Statistician, 1983). Shards are fixed, so
// that bits do not depend on threads.
#pragma once

#include <algorithm>

#include <slim/graph/program.hpp>

#include "../eigen/support.hpp"
#include "simd.hpp"

namespace slim::cpu {

inline constexpr int norm_shards = 16;

/// Rows [first, last) of one of the fixed shards.
struct row_range {
  long first, last;
  constexpr long count() const { return last - first; }
};
constexpr row_range shard_of(long rows, int shard) {
  return {rows * shard / norm_shards, rows * (shard + 1) / norm_shards};
}
/// Rows whose elements stay in the first cache or, where that is too few to be worth joining, in
/// the second.
constexpr long rows_a_block(long c) { return std::max(8192 / c, 32L); }

/// What a shard knows: two numbers a channel in double, and two in T for the block at hand.
template <class T>
struct channel_workspace {
  static constexpr std::size_t elements(int c) {
    const std::size_t doubles = round_up_size(std::size_t(2 * c) * sizeof(double), 64);
    const std::size_t blocks = round_up_size(std::size_t(2 * c) * sizeof(T), 64);
    return norm_shards * (doubles + blocks) / sizeof(T);
  }
  channel_workspace(const kernel_call& call, int c, int shard) {
    std::byte* at = call.workspace<std::byte>() +
                    std::size_t(shard) * (elements(c) / norm_shards * sizeof(T));
    first = reinterpret_cast<double*>(at), second = first + c;
    block_first = reinterpret_cast<T*>(at + round_up_size(std::size_t(2 * c) * sizeof(double), 64));
    block_second = block_first + c;
  }
  double *first, *second;
  T *block_first, *block_second;
};

/// Rows that share one look at what is known of their channels.
inline constexpr int rows_at_once = 4;

/// f(integral_constant of rows, first element, channel, count) for each register's worth of
/// channels of every few rows, first to last.
template <class T, class F>
[[gnu::always_inline]] inline void for_each_rows_vec(int c, row_range range, F f) {
  long r = range.first;
  for (; r + rows_at_once <= range.last; r += rows_at_once)
    for_each_vec<T>(c, [=](int i, int n) __attribute__((always_inline)) {
      f(std::integral_constant<int, rows_at_once>(), r * c + i, i, n);
    });
  for (; r < range.last; ++r)
    for_each_vec<T>(c, [=](int i, int n) __attribute__((always_inline)) {
      f(std::integral_constant<int, 1>(), r * c + i, i, n);
    });
}

/// How far ahead of use elements are fetched: whole groups of rows, and a page or more. Machines do
/// it by themselves only for rows one after another.
constexpr long elements_ahead(int c) {
  const long group = long{rows_at_once} * c;
  return (1023 / group + 1) * group;
}
template <class T>
vec<T> load_and_fetch(const T* p, int count, long ahead) {
  __builtin_prefetch(p + ahead);
  return load_some(p, count);
}
template <class T>
void store_and_fetch(vec<T> x, T* p, int count, long ahead) {
  __builtin_prefetch(p + ahead, 1);
  store_some(x, p, count);
}

/// The mean and the sum of squared distances from it of each channel, over a range of rows.
template <class T>
void range_statistics(const T* x, int c, row_range range, const channel_workspace<T>& w) {
  std::fill_n(w.first, 2 * c, 0.0);
  const long step = rows_a_block(c), ahead = elements_ahead(c);
  T *const mean = w.block_first, *const squares = w.block_second;
  for (long first = range.first; first < range.last; first += step) {
    const row_range block{first, std::min(first + step, range.last)};
    const T share = T(1) / T(block.count());
    std::fill_n(mean, 2 * c, T(0));
    for_each_rows_vec<T>(c, block, [=](auto rows, long at, int i, int n)
                                       __attribute__((always_inline)) {
      vec<T> sum = load_some(mean + i, n);
      unroll<rows>([&](auto k) { sum += load_and_fetch(x + at + long{k} * c, n, ahead); });
      store_some(sum, mean + i, n);
    });
    for (int i = 0; i < c; ++i) mean[i] *= share;
    for_each_rows_vec<T>(c, block, [=](auto rows, long at, int i, int n)
                                       __attribute__((always_inline)) {
      const vec<T> from = load_some(mean + i, n);
      vec<T> sum = load_some(squares + i, n);
      unroll<rows>([&](auto k) {
        const vec<T> apart = load_some(x + at + long{k} * c, n) - from;
        sum = multiply_add(apart, apart, sum);
      });
      store_some(sum, squares + i, n);
    });
    const double before = double(first - range.first), count = double(block.count());
    const double part = count / (before + count), weight = before * part;
    for (int i = 0; i < c; ++i) {
      const double apart = double(mean[i]) - w.first[i];
      w.first[i] += apart * part;
      w.second[i] += double(squares[i]) + apart * apart * weight;
    }
  }
}

/// f(first channel, last) over parts of the channels, shared by threads: what joins the shards.
template <class F>
void for_each_channels(const kernel_call& call, int c, F f) {
  reference::in_ranges(call.device(), c, 256, [&](long first, long last) {
    f(static_cast<int>(first), static_cast<int>(last));
  });
}

/// The mean and the biased variance of each channel of x [rows, c].
template <class T>
void batch_statistics(const kernel_call& call, T* mean, T* variance) {
  const tensor x = call.in(0);
  const int c = x.dims.back();
  const long rows = x.dims.leading();
  call.device().parallel(norm_shards, [&](int shard, int) {
    range_statistics(x.as<const T>(), c, shard_of(rows, shard),
                     channel_workspace<T>(call, c, shard));
  });
  for_each_channels(call, c, [&](int first, int last) {
    const channel_workspace<T> joined(call, c, 0);
    double before = double(shard_of(rows, 0).count());
    for (int shard = 1; shard < norm_shards; ++shard) {
      const channel_workspace<T> w(call, c, shard);
      const double count = double(shard_of(rows, shard).count());
      if (count == 0) continue;
      const double part = count / (before + count), weight = before * part;
      for (int i = first; i < last; ++i) {
        const double apart = w.first[i] - joined.first[i];
        joined.first[i] += apart * part;
        joined.second[i] += w.second[i] + apart * apart * weight;
      }
      before += count;
    }
    for (int i = first; i < last; ++i) {
      mean[i] = static_cast<T>(joined.first[i]);
      variance[i] = static_cast<T>(joined.second[i] / double(rows));
    }
  });
}

/// sum(dy) and sum(dy * (x - mean)) of each channel, over a range of rows.
template <class T>
void range_gradients(const kernel_call& call, int c, row_range range,
                     const channel_workspace<T>& w) {
  const T *x = call.in(0).as<const T>(), *dy = call.in(1).as<const T>();
  const T* mean = call.in(2).as<const T>();
  std::fill_n(w.first, 2 * c, 0.0);
  const long step = rows_a_block(c), ahead = elements_ahead(c);
  T *const slopes = w.block_first, *const products = w.block_second;
  for (long first = range.first; first < range.last; first += step) {
    std::fill_n(slopes, 2 * c, T(0));
    const row_range block{first, std::min(first + step, range.last)};
    for_each_rows_vec<T>(c, block, [=](auto rows, long at, int i, int n)
                                       __attribute__((always_inline)) {
      const vec<T> from = load_some(mean + i, n);
      vec<T> sum = load_some(slopes + i, n), along = load_some(products + i, n);
      unroll<rows>([&](auto k) {
        const vec<T> slope = load_and_fetch(dy + at + long{k} * c, n, ahead);
        sum += slope;
        along = multiply_add(slope, load_and_fetch(x + at + long{k} * c, n, ahead) - from, along);
      });
      store_some(sum, slopes + i, n);
      store_some(along, products + i, n);
    });
    for (int i = 0; i < 2 * c; ++i) w.first[i] += double(w.block_first[i]);
  }
}

/// Writes dgamma and dbeta.
template <class T>
void parameter_gradients(const kernel_call& call, T* dgamma, T* dbeta) {
  const int c = call.in(0).dims.back();
  const long rows = call.in(0).dims.leading();
  const T* variance = call.in(3).as<const T>();
  call.device().parallel(norm_shards, [&](int shard, int) {
    range_gradients(call, c, shard_of(rows, shard), channel_workspace<T>(call, c, shard));
  });
  for_each_channels(call, c, [&](int first, int last) {
    const channel_workspace<T> joined(call, c, 0);
    for (int shard = 1; shard < norm_shards; ++shard) {
      const channel_workspace<T> w(call, c, shard);
      for (int i = first; i < last; ++i)
        joined.first[i] += w.first[i], joined.second[i] += w.second[i];
    }
    for (int i = first; i < last; ++i) {
      dbeta[i] = static_cast<T>(joined.first[i]);
      dgamma[i] = static_cast<T>(joined.second[i] /
                                 std::sqrt(double(variance[i]) + call.a().number));
    }
  });
}

}  // namespace slim::cpu
