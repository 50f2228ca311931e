#pragma once

// Products of a few rows with a large matrix of weights, at the speed of memory: each weight is read
// (or, as a gradient, written) once, in rows long enough for the memory's prefetchers.

#include <cstddef>

#include <slim/device.hpp>
#include <slim/kernels/cpu/simd.hpp>

namespace slim::cpu {

/// With up to as many rows a dense layer streams its weights.
inline constexpr int dense_stream_rows = 16;

namespace detail {

inline constexpr int stream_group = 4;      // rows of the weights that are read together
inline constexpr int stream_columns = 512;  // of the weights, that a task reads at a time
inline constexpr int stream_rows = 512;     // of the weights, at least, that make a shard
inline constexpr int stream_tasks = 64;
inline constexpr int stream_block = 64;     // rows of the weights in a task of the backward passes
inline constexpr int stream_ahead = 2 * stream_group;  // rows that are prefetched

// How the forward pass divides the weights [k, n]; depends on the extents only.
struct stream_plan {
  int k, n;
  int column_blocks = divide_up(n, stream_columns);
  int shards = std::max(1, std::min(divide_up(stream_tasks, column_blocks), k / stream_rows));
  int shard_rows = round_up(divide_up(k, shards), stream_group);

  // Elements of the shards' partial results [shards, m, n].
  constexpr std::size_t partial_size(int m) const {
    return shards == 1 ? 0 : std::size_t(shards) * std::size_t(m) * std::size_t(n);
  }
};

// sum[m, columns] += a[m, group] * w[group, columns]; the rows of `sum` are padded.
template <int group, class T>
void stream_forward_rows(int m, const T* a, int a_step, const T* w, std::ptrdiff_t w_step, T* sum,
                         int columns) {
  for_each_vec<T>(columns, [&](int j, int count) {
    vec<T> weights[group];
    unroll<group>([&](auto g) {
      weights[g] = load_some(w + g * w_step + j, count);
      __builtin_prefetch(w + (g + stream_ahead) * w_step + j);
    });
    for (int i = 0; i < m; ++i) {
      T* to = sum + i * stream_columns + j;
      vec<T> total = vec<T>::loadu(to);
      unroll<group>([&](auto g) {
        total = multiply_add(vec<T>::broadcast(a + i * std::ptrdiff_t(a_step) + g), weights[g], total);
      });
      total.storeu(to);
    }
  });
}

// Adds up the shards' partial results [shards, m, n] in order and finishes the rows.
template <class T, class Finish>
void stream_combine(int m, const stream_plan& plan, const T* partial, const Finish& finish,
                    cpu_device& device) {
  device.parallel(m * plan.column_blocks, [&](int task, int worker) {
    const int row = task / plan.column_blocks, column = task % plan.column_blocks * stream_columns;
    const int columns = std::min(stream_columns, plan.n - column);
    T* sum = reinterpret_cast<T*>(device.scratch(worker));
    for_each_vec<T>(columns, [&](int j, int count) {
      vec<T> total = vec<T>::zero();
      for (int shard = 0; shard < plan.shards; ++shard) {
        const std::size_t at = (std::size_t(shard) * m + row) * plan.n + column;
        total += load_some(partial + at + j, count);
      }
      total.storeu(sum + j);
    });
    finish(row, column, sum, columns);
  });
}

template <class T, class Finish>
void stream_forward(int m, int k, int n, const T* a, const T* w, const Finish& finish,
                    T* workspace, cpu_device& device) {
  const stream_plan plan{k, n};
  device.parallel(plan.shards * plan.column_blocks, [&](int task, int worker) {
    const int shard = task / plan.column_blocks;
    const int column = task % plan.column_blocks * stream_columns;
    const int columns = std::min(stream_columns, n - column);
    const int end = std::min(k, (shard + 1) * plan.shard_rows);
    T* sum = reinterpret_cast<T*>(device.scratch(worker));
    std::fill(sum, sum + m * stream_columns, T(0));
    int row = shard * plan.shard_rows;
    const auto add = [&]<int group>(std::integral_constant<int, group>) {
      const T* from = w + std::ptrdiff_t(row) * n + column;
      stream_forward_rows<group>(m, a + row, k, from, n, sum, columns);
      row += group;
    };
    while (row + stream_group <= end) add(std::integral_constant<int, stream_group>{});
    while (row < end) add(std::integral_constant<int, 1>{});
    for (int i = 0; i < m; ++i) {
      const T* values = sum + i * stream_columns;
      if (plan.shards == 1) {
        finish(i, column, values, columns);
      } else {
        std::copy(values, values + columns,
                  workspace + (std::size_t(shard) * m + i) * n + column);
      }
    }
  });
  if (plan.shards > 1) stream_combine(m, plan, workspace, finish, device);
}

// sum[i * group + g] += dc[i, columns] * w[g, columns], element by element of the registers, for
// `rows` rows i and `group` rows g.
template <int rows, int group, class T>
void stream_dot(const T* dc, const T* w, std::ptrdiff_t step, int columns, vec<T>* sum) {
  vec<T> total[rows * group];
  unroll<rows * group>([&](auto l) { total[l] = sum[l]; });
  for_each_vec<T>(columns, [&](int j, int count) {
    vec<T> weights[group];
    unroll<group>([&](auto g) {
      weights[g] = load_some(w + g * step + j, count);
      __builtin_prefetch(w + (g + group) * step + j);
    });
    unroll<rows>([&](auto i) {
      const vec<T> x = load_some(dc + i * step + j, count);
      unroll<group>([&](auto g) {
        total[i * group + g] = multiply_add(x, weights[g], total[i * group + g]);
      });
    });
  });
  unroll<rows * group>([&](auto l) { sum[l] = total[l]; });
}

// to[i * stream_block + g] = dc[i, :] * w[g, :] for all m rows i and `group` rows g.
template <int group, class T>
void stream_dot_rows(int m, int n, const T* dc, const T* w, T* to) {
  vec<T> sum[dense_stream_rows * group];
  std::fill(sum, sum + m * group, vec<T>::zero());
  for (int column = 0; column < n; column += stream_columns) {
    const int columns = std::min(stream_columns, n - column);
    int i = 0;
    const auto add = [&]<int rows>(std::integral_constant<int, rows>) {
      stream_dot<rows, group>(dc + std::ptrdiff_t(i) * n + column, w + column, n, columns,
                              sum + i * group);
      i += rows;
    };
    while (i + 4 <= m) add(std::integral_constant<int, 4>{});
    while (i < m) add(std::integral_constant<int, 1>{});
  }
  for (int i = 0; i < m; ++i) {
    for (int g = 0; g < group; ++g) to[i * stream_block + g] = sum[i * group + g].sum();
  }
}

template <class T, class Finish>
void stream_backward_data(int m, int k, int n, const T* dc, const T* w, const Finish& finish,
                          cpu_device& device) {
  device.parallel(divide_up(k, stream_block), [&](int task, int worker) {
    const int first = task * stream_block, rows = std::min(stream_block, k - first);
    T* product = reinterpret_cast<T*>(device.scratch(worker));
    const T* from = w + std::ptrdiff_t(first) * n;
    int row = 0;
    for (; row + stream_group <= rows; row += stream_group) {
      stream_dot_rows<stream_group>(m, n, dc, from + std::ptrdiff_t(row) * n, product + row);
    }
    for (; row < rows; ++row) {
      stream_dot_rows<1>(m, n, dc, from + std::ptrdiff_t(row) * n, product + row);
    }
    for (int i = 0; i < m; ++i) finish(i, first, product + i * stream_block, rows);
  });
}

// dw[group, n] = transpose(a[m, group]) * dc[m, n].
template <int group, class T>
void stream_outer(int m, int n, const T* a, int a_step, const T* dc, T* dw) {
  for_each_vec<T>(n, [&](int j, int count) {
    vec<T> sum[group];
    unroll<group>([&](auto g) { sum[g] = vec<T>::zero(); });
    for (int i = 0; i < m; ++i) {
      const vec<T> x = load_some(dc + std::ptrdiff_t(i) * n + j, count);
      unroll<group>([&](auto g) {
        sum[g] = multiply_add(vec<T>::broadcast(a + i * std::ptrdiff_t(a_step) + g), x, sum[g]);
      });
    }
    unroll<group>([&](auto g) { store_some(sum[g], dw + g * std::ptrdiff_t(n) + j, count); });
  });
}

template <class T>
void stream_column_sums(int m, int n, const T* dc, T* db, cpu_device& device) {
  device.parallel(divide_up(n, stream_columns), [&](int task, int) {
    const int column = task * stream_columns;
    for_each_vec<T>(std::min(stream_columns, n - column), [&](int j, int count) {
      vec<T> sum = vec<T>::zero();
      for (int i = 0; i < m; ++i) sum += load_some(dc + std::ptrdiff_t(i) * n + column + j, count);
      store_some(sum, db + column + j, count);
    });
  });
}

template <class T>
void stream_backward_filter(int m, int k, int n, const T* a, const T* dc, T* dw, T* db,
                            cpu_device& device) {
  device.parallel(divide_up(k, stream_block), [&](int task, int) {
    int row = task * stream_block;
    const int end = std::min(k, row + stream_block);
    for (; row + stream_group <= end; row += stream_group) {
      stream_outer<stream_group>(m, n, a + row, k, dc, dw + std::ptrdiff_t(row) * n);
    }
    for (; row < end; ++row) {
      stream_outer<1>(m, n, a + row, k, dc, dw + std::ptrdiff_t(row) * n);
    }
  });
  if (db != nullptr) stream_column_sums(m, n, dc, db, device);
}

}  // namespace detail
}  // namespace slim::cpu
