#pragma once

// Products of a few rows with a large matrix of weights, at the speed of memory: each weight is
// read (or, as a gradient, written) once, in rows long enough for the memory's prefetchers.

#include <cstddef>

#include <slim/device.hpp>
#include <slim/kernels/cpu/simd.hpp>

namespace slim::cpu {

/// With up to as many rows a dense layer streams its weights.
inline constexpr int dense_stream_rows = 16;

namespace detail {

inline constexpr int stream_group = 4;   // rows of the weights that are read together
inline constexpr int stream_rows = 512;  // of the weights, at least, that make a shard
inline constexpr int stream_tasks = 64;
inline constexpr int stream_block = 64;  // rows of the weights in a task of the backward passes
inline constexpr int stream_ahead = 4 * stream_group;  // rows that are prefetched

// Columns of the weights that are read at a time: long rows, but the m rows of activations or
// outputs that go with them should stay in the first-level cache.
constexpr int stream_columns(int m) { return std::max(512, round_up(4096 / m, 64)); }

// How the forward pass divides the weights [k, n]; depends on the extents only.
struct stream_plan {
  int m, k, n;
  int columns = std::min(stream_columns(m), round_up(n, 64));
  int column_blocks = divide_up(n, columns);
  int shards = std::max(1, std::min(divide_up(stream_tasks, column_blocks), k / stream_rows));
  int shard_rows = round_up(divide_up(k, shards), stream_group);

  // Elements of the shards' partial results [shards, m, n].
  constexpr std::size_t partial_size() const {
    return shards == 1 ? 0 : std::size_t(shards) * std::size_t(m) * std::size_t(n);
  }
};

// The largest partial_size of all batches up to m.
constexpr std::size_t stream_workspace(int m, int k, int n) {
  std::size_t size = 0;
  for (int i = 1; i <= std::min(m, dense_stream_rows); ++i) {
    size = std::max(size, stream_plan{i, k, n}.partial_size());
  }
  return size;
}

// sum[m, vectors] += a[m, group] * w[group, vectors], in registers; only `count` elements of the
// last are weights. The rows of `sum` are padded.
template <int group, int vectors, class T>
[[gnu::always_inline]] inline void stream_forward_step(int m, const T* a, const T* w,
                                                       std::ptrdiff_t w_step, T* sum, int sum_step,
                                                       int count) {
  vec<T> weights[group][vectors];
  unroll<group>([&](auto g) {
    unroll<vectors>([&](auto v) {
      const T* from = w + g * w_step + v * width<T>;
      weights[g][v] = v + 1 == vectors ? load_some(from, count) : vec<T>::loadu(from);
    });
  });
  for (int i = 0; i < m; ++i, sum += sum_step, a += group) {
    unroll<vectors>([&](auto v) {
      vec<T> total = vec<T>::loadu(sum + v * width<T>);
      unroll<group>(
          [&](auto g) { total = multiply_add(vec<T>::broadcast(a + g), weights[g][v], total); });
      total.storeu(sum + v * width<T>);
    });
  }
}

// sum[m, columns] += a[m, group] * w[group, columns].
template <int group, class T>
void stream_forward_rows(int m, const T* a, std::ptrdiff_t a_step, const T* w,
                         std::ptrdiff_t w_step, T* sum, int sum_step, int columns) {
  constexpr int pair = 2 * width<T>;
  T near[dense_stream_rows * group];
  for (int i = 0; i < m; ++i) std::copy(a + i * a_step, a + i * a_step + group, near + i * group);
  int j = 0;
  for (; j + pair <= columns; j += pair) {
    stream_forward_step<group, 2>(m, near, w + j, w_step, sum + j, sum_step, width<T>);
  }
  for (; j < columns; j += width<T>) {
    stream_forward_step<group, 1>(m, near, w + j, w_step, sum + j, sum_step, columns - j);
  }
}

// Adds up the shards' partial results [shards, m, n] in order and finishes the rows.
template <class T, class Finish>
void stream_combine(const stream_plan& plan, const T* partial, const Finish& finish,
                    cpu_device& device) {
  device.parallel(plan.m * plan.column_blocks, [&](int task, int worker) {
    const int row = task / plan.column_blocks, column = task % plan.column_blocks * plan.columns;
    const int columns = std::min(plan.columns, plan.n - column);
    T* sum = reinterpret_cast<T*>(device.scratch(worker));
    for_each_vec<T>(columns, [&](int j, int count) {
      vec<T> total = vec<T>::zero();
      for (int shard = 0; shard < plan.shards; ++shard) {
        const std::size_t at = (std::size_t(shard) * plan.m + row) * plan.n + column;
        total += load_some(partial + at + j, count);
      }
      total.storeu(sum + j);
    });
    finish(row, column, sum, columns);
  });
}

template <class T, class Finish>
void stream_forward(int m, int k, int n, const T* a, const T* w, const Finish& finish, T* workspace,
                    cpu_device& device) {
  const stream_plan plan{m, k, n};
  device.parallel(plan.shards * plan.column_blocks, [&](int task, int worker) {
    const int shard = task / plan.column_blocks;
    const int column = task % plan.column_blocks * plan.columns;
    const int columns = std::min(plan.columns, n - column);
    const int end = std::min(k, (shard + 1) * plan.shard_rows);
    T* sum = reinterpret_cast<T*>(device.scratch(worker));
    const int sum_step = plan.columns + 2 * line<T>;  // not a power of two
    std::fill(sum, sum + m * sum_step, T(0));
    int row = shard * plan.shard_rows;
    const auto add = [&]<int group>(std::integral_constant<int, group>) {
      const T* from = w + std::ptrdiff_t(row) * n + column;
      stream_forward_rows<group>(m, a + row, k, from, n, sum, sum_step, columns);
      row += group;
    };
    // A single row of activations leaves the time to the memory, which likes one stream best.
    while (m > 1 && row + stream_group <= end) add(std::integral_constant<int, stream_group>{});
    while (row < end) add(std::integral_constant<int, 1>{});
    for (int i = 0; i < m; ++i) {
      const T* values = sum + i * sum_step;
      if (plan.shards == 1) {
        finish(i, column, values, columns);
      } else {
        std::copy(values, values + columns, workspace + (std::size_t(shard) * m + i) * n + column);
      }
    }
  });
  if (plan.shards > 1) stream_combine(plan, workspace, finish, device);
}

// sum[i * group + g] += dc[i, columns] * w[g, columns], element by element of the registers, for
// `rows` rows i and `group` rows g.
template <int rows, int group, class T>
void stream_dot(const T* dc, std::ptrdiff_t dc_step, const T* w, std::ptrdiff_t w_step, int columns,
                vec<T>* sum) {
  vec<T> total[rows * group];
  unroll<rows * group>([&](auto l) { total[l] = sum[l]; });
  // Inlined, so that the totals stay in registers.
  for_each_vec<T>(
      columns, [&](int j, int count) __attribute__((always_inline)) {
        vec<T> weights[group];
        unroll<group>([&](auto g) {
          weights[g] = load_some(w + g * w_step + j, count);
          __builtin_prefetch(w + (g + stream_ahead) * w_step + j, 0, 2);
        });
        unroll<rows>([&](auto i) {
          const vec<T> x = vec<T>::loadu(dc + i * dc_step + j);
          unroll<group>([&](auto g) {
            total[i * group + g] = multiply_add(x, weights[g], total[i * group + g]);
          });
        });
      });
  unroll<rows * group>([&](auto l) { sum[l] = total[l]; });
}

// sum[i * group + g] += dc[i, columns] * w[g, columns] for all m rows i and `group` rows g.
template <int group, class T>
void stream_dot_rows(int m, const T* dc, std::ptrdiff_t dc_step, const T* w, std::ptrdiff_t w_step,
                     int columns, vec<T>* sum) {
  int i = 0;
  const auto add = [&]<int rows>(std::integral_constant<int, rows>) {
    stream_dot<rows, group>(dc + i * dc_step, dc_step, w, w_step, columns, sum + i * group);
    i += rows;
  };
  while (i + 4 <= m) add(std::integral_constant<int, 4>{});
  while (i < m) add(std::integral_constant<int, 1>{});
}

// A task's rows of weights: their products with dc, a strip of columns at a time.
template <class T, class Finish>
void stream_backward_data_rows(int m, int n, const T* dc, const T* w, int first, int rows,
                               const Finish& finish, T* scratch) {
  const int strip = std::min(stream_columns(m), round_up(n, 64)), strip_step = strip + 2 * line<T>;
  vec<T>* sum = reinterpret_cast<vec<T>*>(scratch);  // [rows][m], groups of rows together
  T* dc_strip = scratch + stream_block * m * width<T>;
  T* product = dc_strip + m * strip_step;
  std::fill(sum, sum + rows * m, vec<T>::zero());
  for (int column = 0; column < n; column += strip) {
    const int columns = std::min(strip, n - column);
    for (int i = 0; i < m; ++i) {
      const T* from = dc + std::ptrdiff_t(i) * n + column;
      T* end = std::copy(from, from + columns, dc_strip + i * strip_step);
      std::fill(end, end + line<T>, T(0));
    }
    int row = 0;
    const auto add = [&]<int group>(std::integral_constant<int, group>) {
      const T* from = w + std::ptrdiff_t(first + row) * n + column;
      stream_dot_rows<group>(m, dc_strip, strip_step, from, n, columns, sum + row * m);
      row += group;
    };
    while (row + stream_group <= rows) add(std::integral_constant<int, stream_group>{});
    while (row < rows) add(std::integral_constant<int, 1>{});
  }
  for (int row = 0; row < rows; ++row) {
    const int begin = row / stream_group * stream_group;
    const bool grouped = begin + stream_group <= rows;
    for (int i = 0; i < m; ++i) {
      const vec<T>& total =
          grouped ? sum[begin * m + i * stream_group + row - begin] : sum[row * m + i];
      product[i * stream_block + row] = total.sum();
    }
  }
  for (int i = 0; i < m; ++i) finish(i, first, product + i * stream_block, rows);
}

template <class T, class Finish>
void stream_backward_data(int m, int k, int n, const T* dc, const T* w, const Finish& finish,
                          cpu_device& device) {
  device.parallel(divide_up(k, stream_block), [&](int task, int worker) {
    const int first = task * stream_block;
    stream_backward_data_rows(m, n, dc, w, first, std::min(stream_block, k - first), finish,
                              reinterpret_cast<T*>(device.scratch(worker)));
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
  constexpr int columns = 512;
  device.parallel(divide_up(n, columns), [&](int task, int) {
    const int column = task * columns;
    for_each_vec<T>(std::min(columns, n - column), [&](int j, int count) {
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
