#pragma once

// Products of matrices that need not exist: both operands come from functors that copy parts of
// them (a matrix, its transpose, the patches of an image), and finished rows go to another functor.
// The blocking follows Goto & van de Geijn 2008, "Anatomy of high-performance matrix
// multiplication".
//
// An operand is an object with
//   void rows(T* to, ptrdiff_t step, int row, int rows, int column, int columns)
//     to[i * step + j] = operand(row + i, column + j); may write a register's width beyond each row
//   void panel(T* to, int row, int rows, int column, int columns)
//     the same with step = tile_columns and zeros in the columns up to it (right operands only).

#include <cstddef>
#include <type_traits>

#include <slim/device.hpp>
#include <slim/kernels/cpu/simd.hpp>

namespace slim::cpu {

/// A micro-kernel holds a tile of tile_rows x 2 registers of the product, or of fewer or, where
/// that divides the work better, up to max_tile_rows.
inline constexpr int tile_rows = vector_registers >= 32 ? 8 : vector_registers >= 16 ? 6 : 2;
inline constexpr int max_tile_rows = vector_registers >= 32 ? 12 : tile_rows;
template <class T>
inline constexpr int tile_columns = 2 * width<T>;

/// Rows of a tile whose left operand is stored transposed: they have to divide a register.
template <class T>
inline constexpr int transposed_tile_rows = std::min(vector_registers >= 32 ? 8 : 4, width<T>);

/// What a product asks for ahead of its use: nothing.
struct no_prefetch {
  void operator()() {}
};

/// c[rows, tile_columns] (+)= a[rows, depth] * b[depth, tile_columns], where
/// a(i, j) = a[j / chunk * chunk_step + i * row_step + j % chunk] and b(i, j) = b[i * b_step + j].
/// prefetch() is called before each chunk.
template <int rows, int chunk, int row_step, class T, class Prefetch = no_prefetch>
void multiply_tile(int depth, const T* a, std::ptrdiff_t chunk_step, const T* b,
                   std::ptrdiff_t b_step, T* c, std::ptrdiff_t c_step, bool accumulate,
                   Prefetch prefetch = {}) {
  constexpr int w = width<T>;
  vec<T> sum[rows][2];
  unroll<rows>([&](auto i) { sum[i][0] = sum[i][1] = vec<T>::zero(); });
  for (int begin = 0; begin < depth; begin += chunk, a += chunk_step) {
    const int end = chunk == 1 ? 1 : std::min(chunk, depth - begin);
    prefetch();
    for (int j = 0; j < end; ++j, b += b_step) {
      const vec<T> b0 = vec<T>::loadu(b), b1 = vec<T>::loadu(b + w);
      unroll<rows>([&](auto i) {
        const vec<T> x = vec<T>::broadcast(a + i * row_step + j);
        sum[i][0] = multiply_add(x, b0, sum[i][0]);
        sum[i][1] = multiply_add(x, b1, sum[i][1]);
      });
    }
  }
  if (accumulate) {
    unroll<rows>([&](auto i) {
      sum[i][0] += vec<T>::loadu(c + i * c_step);
      sum[i][1] += vec<T>::loadu(c + i * c_step + w);
    });
  }
  unroll<rows>([&](auto i) {
    sum[i][0].storeu(c + i * c_step);
    sum[i][1].storeu(c + i * c_step + w);
  });
}

/// f(integral_constant<int, rows>) for a number of rows from 1 to Max.
template <int Max, class F>
[[gnu::always_inline]] inline void with_rows(int rows, F&& f) {
  unroll<Max>([&](auto i) {
    constexpr int exact = Max - i;
    if (rows == exact) f(std::integral_constant<int, exact>{});
  });
}

/// What tiles of `height` rows cost that cover `rows`, in rows: each has an overhead, and one of
/// few rows waits for its own multiply-adds.
constexpr double rows_cost(int rows, int height) {
  constexpr double overhead = 0.7;
  const int rest = rows % height, least = tile_rows / 2;
  return rows / height * (height + overhead) +
         (rest == 0 ? 0 : (rest < least ? least : rest) + overhead);
}

/// The height of tiles that covers so many rows at the least cost.
constexpr int best_height(int rows) {
  int best = max_tile_rows;
  for (int height = max_tile_rows - 1; height >= tile_rows / 2; --height)
    if (rows_cost(rows, height) < rows_cost(rows, best)) best = height;
  return best;
}

/// A tile of a product, c[rows, tile_columns] (+)= a * b with an inner extent of `segments` times
/// `depth`, where a(i, s * depth + j) = a[s * segment_step + i * row_step + j]; b and c are
/// contiguous.
template <class T>
struct tile_product {
  int segments;
  std::ptrdiff_t segment_step;
  int depth;
  const T* a;
  std::ptrdiff_t row_step;
  const T* b;
  T* c;
  bool accumulate;
};

/// Few rows are summed in several chains, or they would wait for one another. Not inlined: all
/// products of a type share what is compiled once a number of rows.
template <int rows, class T>
[[gnu::noinline]] void multiply_segments(const tile_product<T>& t) {
  constexpr int w = width<T>, chains = rows >= 4 ? 1 : rows >= 2 ? 2 : 4;
  const std::ptrdiff_t row_step = t.row_step;
  const T *a = t.a, *b = t.b;
  vec<T> sum[chains][rows][2];
  unroll<chains>(
      [&](auto l) { unroll<rows>([&](auto i) { sum[l][i][0] = sum[l][i][1] = vec<T>::zero(); }); });
  const auto add = [&](auto l, const T* at) __attribute__((always_inline)) {
    const vec<T> b0 = vec<T>::loadu(b), b1 = vec<T>::loadu(b + w);
    b += 2 * w;
    unroll<rows>([&](auto i) {
      const vec<T> x = vec<T>::broadcast(at + i * row_step);
      sum[l][i][0] = multiply_add(x, b0, sum[l][i][0]);
      sum[l][i][1] = multiply_add(x, b1, sum[l][i][1]);
    });
  };
  for (int s = 0; s < t.segments; ++s, a += t.segment_step) {
    int j = 0;
    for (; j + chains <= t.depth; j += chains) unroll<chains>([&](auto l) { add(l, a + j + l); });
    for (; j < t.depth; ++j) add(std::integral_constant<int, 0>{}, a + j);
  }
  unroll<rows>([&](auto i) {
    unroll<2>([&](auto v) {
      T* to = t.c + (2 * i + v) * w;
      vec<T> total = sum[0][i][v];
      unroll<chains - 1>([&](auto l) { total += sum[l + 1][i][v]; });
      (t.accumulate ? total + vec<T>::loadu(to) : total).storeu(to);
    });
  });
}

/// A matrix in memory as an operand: element (i, j) is data[i * step + j]; `end` is the end of what
/// may be read.
template <class T>
struct matrix_operand {
  static constexpr bool lies_in_memory = true;
  const T* data;
  std::ptrdiff_t step;
  const T* end;
  bool rightwards = false;  // the panel that is likely to be next lies to the right, not below

  void rows(T* to, std::ptrdiff_t to_step, int row, int rows, int column, int columns) const {
    const T* from = data + row * step + column;
    for (int i = 0; i < rows; ++i) copy_row(to + i * to_step, from + i * step, columns, end);
  }

  void panel(T* to, int row, int rows, int column, int columns) const {
    constexpr int step_to = tile_columns<T>;
    const std::ptrdiff_t next = rightwards ? step_to : rows * step;
    for (int i = 0; i < rows; ++i, to += step_to) {
      const T* from = data + (row + i) * step + column;
      for (int l = 0; l < step_to; l += line<T>) __builtin_prefetch(from + next + l, 0, 2);
      if (columns == step_to) {
        vec<T>::loadu(from).storeu(to);
        vec<T>::loadu(from + width<T>).storeu(to + width<T>);
      } else {
        std::fill(std::copy(from, from + columns, to), to + step_to, T(0));
      }
    }
  }
};

/// The transpose of a matrix in memory as a right operand: element (i, j) is data[j * step + i].
template <class T>
struct transposed_operand {
  const T* data;
  std::ptrdiff_t step;

  void panel(T* to, int row, int rows, int column, int columns) const {
    if (columns < tile_columns<T>) std::fill(to, to + rows * tile_columns<T>, T(0));
    transpose(to, tile_columns<T>, data + column * step + row, step, rows, columns);
  }
};

namespace detail {

inline constexpr int gemm_depth = 256;           // inner extent that is multiplied at a time
inline constexpr int gemm_rows = 8 * tile_rows;  // of the product that a task computes, at most
inline constexpr int gemm_columns = 512;         // at most; a multiple of any tile_columns
inline constexpr int gemm_tasks = 8;             // worth sharing
inline constexpr int reduce_depth = 128;
inline constexpr int reduce_rows = 256;
inline constexpr int reduce_tasks = 32;   // as many shards as it takes to get these
inline constexpr int reduce_shard = 512;  // inner extent that is worth a shard

// How the product [m, n] is divided into tasks; depends on the extents only.
template <class T>
struct gemm_plan {
  int m, n;
  int row_blocks = divide_up(m, gemm_rows);
  int rows = round_up(divide_up(m, row_blocks), tile_rows);
  int columns = task_columns();
  int column_blocks = divide_up(n, columns);

  // Fewer if there would be too few tasks to share.
  constexpr int task_columns() const {
    int columns = std::min(gemm_columns, round_up(n, tile_columns<T>));
    while (columns > tile_columns<T> && row_blocks * divide_up(n, columns) < gemm_tasks) {
      columns = round_up(columns / 2, tile_columns<T>);
    }
    return columns;
  }
};

// Whether rows of the operand can be read where they lie.
template <class A>
constexpr bool lies_in_memory = requires {
  A::lies_in_memory;
};

// Part [inner, inner + depth) of a panel of the right operand, packed beforehand.
template <class T>
struct packed_panels {
  const T* data;
  int k;
  const T* operator()(int inner, int, int column, int, T*) const {
    return data + std::ptrdiff_t(column) * k + inner * tile_columns<T>;
  }
  // Rows [first, first + rows) of the part of a panel that begins at `inner`.
  void prefetch(int inner, int column, int first, int rows) const {
    const T* at = data + std::ptrdiff_t(column) * k + (inner + first) * tile_columns<T>;
    for (int i = 0; i < rows * tile_columns<T>; i += line<T>) __builtin_prefetch(at + i, 0, 2);
  }
};

// The same, packed when it is wanted: where a single task reads it, it need not go to memory.
template <class T, class B>
struct packing_panels {
  const B& b;
  const T* operator()(int inner, int depth, int column, int width, T* room) const {
    b.panel(room, inner, depth, column, width);
    return room;
  }
  void prefetch(int, int, int, int) const {}
};

// One task: some rows and panels of the product.
template <class T, class A, class Right, class Finish>
class gemm_task {
  static constexpr int panel = tile_columns<T>;
  static constexpr int a_step = gemm_depth + width<T>;

 public:
  gemm_task(const A& a, const Right& right, const Finish& finish, int k, T* scratch)
      : a_(a),
        right_(right),
        finish_(finish),
        k_(k),
        left_(scratch),
        room_(left_ + gemm_rows * a_step),
        product_(room_ + gemm_depth * panel) {}

  void run(int row, int rows, int column, int columns) const {
    for (int inner = 0; inner < k_; inner += gemm_depth) {
      const int depth = std::min(gemm_depth, k_ - inner);
      if constexpr (!lies_in_memory<A>) a_.rows(left_, a_step, row, rows, inner, depth);
      for (int j = 0; j < columns; j += panel) {
        const int width = std::min(panel, columns - j);
        const T* right = right_(inner, depth, column + j, width, room_);
        for (int i = 0; i < rows; i += tile_rows) {
          const int count = std::min(tile_rows, rows - i);
          const bool last = inner + depth == k_;
          // Memory is asked for a panel ahead: a tile is computed faster than a line arrives.
          if (last && j == 0) prefetch(row + i, count, column, columns);
          if (last) prefetch(row + i, count, column + j + panel, columns - j - panel);
          if (j + panel < columns) {
            const int share = depth * tile_rows / rows;
            right_.prefetch(inner, column + j + panel, i / tile_rows * share, share);
          }
          const T* left = left_ + i * a_step;
          std::ptrdiff_t step = a_step;
          if constexpr (lies_in_memory<A>)
            left = a_.data + (row + i) * a_.step + inner, step = a_.step;
          // A product in one piece is finished at once, and needs no more than a tile.
          T* sum = k_ <= gemm_depth ? product_ : product_ + (j * gemm_rows + i * panel);
          const tile_product<T> tile{1, 0, depth, left, step, right, sum, inner > 0};
          with_rows<tile_rows>(count, [&](auto exact) { multiply_segments<exact>(tile); });
          if (!last) continue;
          for (int l = 0; l < count; ++l) finish_(row + i + l, column + j, sum + l * panel, width);
        }
      }
    }
  }

 private:
  [[gnu::always_inline]] void prefetch(int row, int rows, int column, int columns) const {
    for (int l = 0; l < rows && columns > 0; ++l)
      finish_.prefetch(row + l, column, std::min(panel, columns));
  }

  const A& a_;
  const Right& right_;
  const Finish& finish_;
  const int k_;
  T* left_;
  T* room_;
  T* product_;  // [panels][rows][panel]
};

template <class T, class A, class Right, class Finish>
void run_gemm(int m, int n, int k, const A& a, const Right& right, const Finish& finish,
              cpu_device& device, bool backwards) {
  const gemm_plan<T> plan{m, n};
  const int tasks = plan.row_blocks * plan.column_blocks;
  device.parallel(tasks, [&](int number, int worker) {
    const int task = backwards ? tasks - 1 - number : number;
    const int row = task / plan.column_blocks * plan.rows;
    const int column = task % plan.column_blocks * plan.columns;
    if (row >= m) return;
    T* const scratch = reinterpret_cast<T*>(device.scratch(worker));
    gemm_task<T, A, Right, Finish>(a, right, finish, k, scratch)
        .run(row, std::min(plan.rows, m - row), column, std::min(plan.columns, n - column));
  });
}

// Whether each panel of the right operand is read by one task.
constexpr bool packs_as_it_goes(int m) { return m <= gemm_rows; }

}  // namespace detail

/// Elements of the right operand [k, n] as gemm_packed takes it: panel by panel.
template <class T>
constexpr std::size_t gemm_packed_size(int n, int k) {
  return std::size_t(round_up(n, tile_columns<T>)) * std::size_t(k);
}

/// packed [gemm_packed_size] = the right operand b [k, n].
template <class T, class B>
void gemm_pack(int n, int k, const B& b, T* packed, cpu_device& device) {
  using namespace detail;
  const int panels = divide_up(n, tile_columns<T>), blocks = divide_up(k, gemm_depth);
  device.parallel(panels * blocks, [&](int task, int) {
    const int column = task / blocks * tile_columns<T>, row = task % blocks * gemm_depth;
    T* to = packed + std::ptrdiff_t(column) * k + row * tile_columns<T>;
    b.panel(to, row, std::min(gemm_depth, k - row), column, std::min(tile_columns<T>, n - column));
  });
}

/// c[m, n] = a[m, k] * b[k, n], b packed. When a row's segment is finished,
/// finish(row, column, const T* values, int count) is called with it; beforehand,
/// finish.prefetch(row, column, count) may ask for the memory it will write. `backwards` begins
/// with the last panels.
template <class T, class A, class Finish>
void gemm_packed(int m, int n, int k, const A& a, const T* packed, const Finish& finish,
                 cpu_device& device, bool backwards = false) {
  detail::run_gemm<T>(m, n, k, a, detail::packed_panels<T>{packed, k}, finish, device, backwards);
}

/// Elements of T that gemm needs as workspace for up to m rows.
template <class T>
constexpr std::size_t gemm_workspace(int m, int n, int k) {
  return detail::packs_as_it_goes(m) ? 0 : gemm_packed_size<T>(n, k);
}

/// The same with b as an operand, which is packed into the workspace or, where the product has few
/// rows, a panel at a time.
template <class T, class A, class B, class Finish>
void gemm(int m, int n, int k, const A& a, const B& b, const Finish& finish, T* workspace,
          cpu_device& device) {
  if (detail::packs_as_it_goes(m)) {
    detail::run_gemm<T>(m, n, k, a, detail::packing_panels<T, B>{b}, finish, device, false);
    return;
  }
  gemm_pack(n, k, b, workspace, device);
  gemm_packed(m, n, k, a, static_cast<const T*>(workspace), finish, device);
}

namespace detail {

// How gemm_transposed divides its work; depends on the extents only.
template <class T>
struct reduce_plan {
  int m, n, k;
  int row_blocks = divide_up(m, reduce_rows);
  int column_blocks = divide_up(n, gemm_columns);
  int shards =
      std::max(1, std::min(divide_up(reduce_tasks, row_blocks* column_blocks), k / reduce_shard));
  int shard_depth = round_up(divide_up(k, shards), reduce_depth);

  // A shard's partial product, then its partial column sums.
  constexpr std::size_t shard_size() const {
    return round_up_size(std::size_t(m) * n + n, line<T>);
  }
};

// One task's part of the product: rows x columns of one shard.
struct reduce_part {
  int row, rows, column, columns, begin, end;
};

template <class T>
void add_rows(const T* rows, int count, T* sum) {
  vec<T> s0 = vec<T>::loadu(sum), s1 = vec<T>::loadu(sum + width<T>);
  for (int i = 0; i < count; ++i, rows += tile_columns<T>) {
    s0 += vec<T>::loadu(rows);
    s1 += vec<T>::loadu(rows + width<T>);
  }
  s0.storeu(sum);
  s1.storeu(sum + width<T>);
}

// product[rows, step] = the part's rows and columns, sums[columns] = its right operand's columns.
template <class T, class A, class B>
void reduce_shard_part(const reduce_part& part, const A& a, const B& b, T* scratch, T* product,
                       int step, T* sums) {
  constexpr int a_step = reduce_rows + width<T>, tile = transposed_tile_rows<T>;
  T* left = scratch;
  T* right = left + reduce_depth * a_step;
  if (sums != nullptr) std::fill(sums, sums + step, T(0));
  for (int inner = part.begin; inner < part.end; inner += reduce_depth) {
    const int depth = std::min(reduce_depth, part.end - inner);
    a.rows(left, a_step, inner, depth, part.row, part.rows);
    for (int j = 0; j < part.columns; j += tile_columns<T>) {
      b.panel(right, inner, depth, part.column + j, std::min(tile_columns<T>, part.columns - j));
      if (sums != nullptr) add_rows(right, depth, sums + j);
      for (int i = 0; i < part.rows; i += tile) {
        multiply_tile<tile, 1, 1>(depth, left + i, a_step, right, tile_columns<T>,
                                  product + i * step + j, step, inner > part.begin);
      }
    }
  }
}

// to[size] = the shards' partial results, added up in order.
template <class T>
void combine_shards(const T* partial, std::size_t shard_step, int shards, T* to, std::size_t size,
                    cpu_device& device) {
  constexpr int block = 4096;
  device.parallel(int((size + block - 1) / block), [&](int task, int) {
    const std::size_t begin = std::size_t(task) * block;
    for_each_vec<T>(int(std::min<std::size_t>(block, size - begin)), [&](int i, int count) {
      vec<T> sum = load_some(partial + begin + i, count);
      for (int shard = 1; shard < shards; ++shard) {
        sum += load_some(partial + std::size_t(shard) * shard_step + begin + i, count);
      }
      store_some(sum, to + begin + i, count);
    });
  });
}

}  // namespace detail

/// Elements of T that gemm_transposed needs as workspace.
template <class T>
constexpr std::size_t gemm_transposed_workspace(int m, int n, int k) {
  const detail::reduce_plan<T> plan{m, n, k};
  return plan.shards == 1 ? 0 : std::size_t(plan.shards) * plan.shard_size();
}

/// c[m, n] = transpose(a)[m, k] * b[k, n] with a large inner extent k, which is divided into
/// shards; column_sums[n] (nullable) = the sums of b's columns. A is given as the operand [k, m].
template <class T, class A, class B>
void gemm_transposed(int m, int n, int k, const A& a, const B& b, T* c, T* column_sums,
                     T* workspace, cpu_device& device) {
  using namespace detail;
  const reduce_plan<T> plan{m, n, k};
  const int blocks = plan.row_blocks * plan.column_blocks;
  const bool whole = plan.shards == 1;
  device.parallel(plan.shards * blocks, [&](int task, int worker) {
    const int shard = task / blocks, block = task % blocks;
    const int row = block / plan.column_blocks * reduce_rows;
    const int column = block % plan.column_blocks * gemm_columns;
    const reduce_part part{row,
                           std::min(reduce_rows, m - row),
                           column,
                           std::min(gemm_columns, n - column),
                           shard * plan.shard_depth,
                           std::min(k, (shard + 1) * plan.shard_depth)};
    const int step = round_up(part.columns, tile_columns<T>);
    T* product = reinterpret_cast<T*>(device.scratch(worker));
    T* sums = product + reduce_rows * step;
    const bool sum_here = row == 0 && column_sums != nullptr;
    if (part.begin >= part.end) std::fill(product, product + part.rows * step + step, T(0));
    reduce_shard_part(part, a, b, sums + step, product, step, sum_here ? sums : nullptr);
    T* partial = workspace + std::size_t(shard) * plan.shard_size();
    T* to = whole ? c : partial;
    for (int i = 0; i < part.rows; ++i) {
      std::copy(product + i * step, product + i * step + part.columns,
                to + std::size_t(row + i) * n + column);
    }
    if (sum_here) {
      std::copy(sums, sums + part.columns,
                (whole ? column_sums : partial + std::size_t(m) * n) + column);
    }
  });
  if (whole) return;
  combine_shards(workspace, plan.shard_size(), plan.shards, c, std::size_t(m) * n, device);
  if (column_sums != nullptr) {
    combine_shards(workspace + std::size_t(m) * n, plan.shard_size(), plan.shards, column_sums,
                   std::size_t(n), device);
  }
}

}  // namespace slim::cpu
