#include "direct.hpp"

#include "elements.cuh"
#include "exact_product.cuh"

namespace slim::cuda {
namespace {

/// Division by an int that does not change, of ints from 0 on, as a product and a shift (Granlund
/// and Montgomery, PLDI 1994).
class divisor {
 public:
  divisor() = default;
  explicit divisor(int by) {
    while ((1L << shift_) < by) ++shift_;
    shift_ += 31;
    factor_ = static_cast<unsigned>(((1ULL << shift_) + static_cast<unsigned>(by) - 1) /
                                    static_cast<unsigned>(by));
  }
  __device__ int divide(int n) const {
    return static_cast<int>(static_cast<unsigned long long>(n) * factor_ >> shift_);
  }

 private:
  unsigned factor_ = 0;
  int shift_ = 0;
};

/// A window over images as both directions see it: a window's element (a, b) lies at row
/// out * stride + start + a * step.
struct geometry {
  int h, w, c;  // of the images that are read
  int out_h, out_w;
  int kernel_h, kernel_w;
  int stride_h, stride_w, start_h, start_w, step_h, step_w;
  divisor by_out_h{out_h}, by_out_w{out_w};

  static geometry forward(const convolution_shape& s) {
    return {s.h,        s.w,        s.c,        s.out_h,     s.out_w,  s.kernel_h, s.kernel_w,
            s.stride_h, s.stride_w, -s.pad_top, -s.pad_left, s.rate_h, s.rate_w};
  }
  /// Of the output's gradient, at stride 1: what an input pixel gave to.
  static geometry backward(const convolution_shape& s) {
    return {s.out_h, s.out_w, s.k,       s.h,        s.w,       s.kernel_h, s.kernel_w,
            1,       1,       s.pad_top, s.pad_left, -s.rate_h, -s.rate_w};
  }
};

constexpr int nowhere = -(1 << 30);  // a row that no image has, whatever is added

/// Where the window of an output pixel begins.
struct window_at {
  long first = 0;  ///< among the images' elements
  int row = nowhere, column = 0;

  window_at() = default;
  __device__ window_at(const geometry& g, int pixel, int pixels) {
    const int line = g.by_out_w.divide(pixel), image = g.by_out_h.divide(line);
    column = (pixel - line * g.out_w) * g.stride_w + g.start_w;
    row = (line - image * g.out_h) * g.stride_h + g.start_h;
    first = ((long{image} * g.h + row) * g.w + column) * g.c;
    if (pixel >= pixels) row = nowhere;
  }
};

/// A place in a patch: a row and a column of the kernel, and a channel.
struct patch_place {
  int a = 0, b = 0, c = 0;

  patch_place() = default;
  __device__ patch_place(const geometry& g, int at) {
    const int tap = at / g.c;
    c = at - tap * g.c;
    a = tap / g.kernel_w;
    b = tap - a * g.kernel_w;
  }
  __device__ void advance(const geometry& g, int by) {
    for (c += by; c >= g.c; c -= g.c)
      if (++b == g.kernel_w) b = 0, ++a;
  }
};

/// A place relative to where a window begins.
struct offset_in_window {
  int down = 0, right = 0, elements = 0;

  offset_in_window() = default;
  __device__ offset_in_window(const geometry& g, const patch_place& at)
      : down(at.a < g.kernel_h ? at.a * g.step_h : nowhere),
        right(at.b * g.step_w),
        elements((at.a * g.step_h * g.w + right) * g.c + at.c) {}
  /// Null outside of the image, and behind the patch.
  __device__ const float* in(const float* x, const geometry& g, const window_at& window) const {
    const bool inside = static_cast<unsigned>(window.row + down) < static_cast<unsigned>(g.h) &&
                        static_cast<unsigned>(window.column + right) < static_cast<unsigned>(g.w);
    return inside ? x + window.first + elements : nullptr;
  }
};
__device__ inline float value_at(const float* from) { return from == nullptr ? 0.0f : *from; }

/// Four neighbouring places of a window's patch; zero outside of the image and behind the patch.
/// Quad: four channels are of one pixel, for they divide all of them.
template <bool Quad>
__device__ inline void read_patch(const float* x, const geometry& g, const window_at& window,
                                  patch_place at, float (&values)[4]) {
  if constexpr (Quad) {
    const float* const from = offset_in_window(g, at).in(x, g, window);
    if (from != nullptr) return load(from, values);
#pragma unroll
    for (float& each : values) each = 0;
  } else {
#pragma unroll
    for (float& each : values) {
      each = value_at(offset_in_window(g, at).in(x, g, window));
      at.advance(g, 1);
    }
  }
}
/// Four neighbours of a row of `count`, from `at` on; zero behind it.
template <bool Quad>
__device__ inline void read_row(const float* row, int at, int count, float (&values)[4]) {
  if constexpr (Quad) {
    if (at < count) return load(row + at, values);
#pragma unroll
    for (float& each : values) each = 0;
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) values[i] = at + i < count ? row[at + i] : 0.0f;
  }
}

// The factors. A lane fetches its share of the left one, a thread a column's 16 terms of the right
// one; both step by step.

__device__ inline int warp_row() { return threadIdx.x / 32 * 16; }
__device__ inline int group() { return threadIdx.x % 32 / 4; }
__device__ inline int member() { return threadIdx.x % 4; }

/// Patches [pixels, patch].
template <bool Quad>
struct patches_left {
  const float* x;
  geometry g;
  int rows;

  struct cursor {
    window_at windows[2];
    patch_place at;
  };
  /// The lane's rows, of the tile's.
  __device__ static int row(int i) { return warp_row() + group() + 8 * i; }
  __device__ cursor start(int first, int step) const {
    return {{window_at(g, first + row(0), rows), window_at(g, first + row(1), rows)},
            patch_place(g, step * product_depth + 4 * member())};
  }
  __device__ void fetch(cursor& at, left_share& values) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < 2; ++i) read_patch<Quad>(x, g, at.windows[i], at.at, values[i][half]);
      at.at.advance(g, product_depth / 2);
    }
  }
};
/// The same turned: [patch, pixels]. Pair: two channels are of one pixel, for they divide all.
template <bool Pair>
struct turned_patches_left {
  const float* x;
  geometry g;
  int pixels;

  struct cursor {
    offset_in_window rows[2];
    int pixel;
  };
  /// Neighbours, which lie next to one another.
  __device__ static int row(int i) { return warp_row() + 2 * group() + i; }
  __device__ cursor start(int first, int step) const {
    return {{offset_in_window(g, patch_place(g, first + row(0))),
             offset_in_window(g, patch_place(g, first + row(1)))},
            step * product_depth + 4 * member()};
  }
  __device__ void fetch(cursor& at, left_share& values) const {
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int term = 0; term < 4; ++term) {
        const window_at window(g, at.pixel + half * product_depth / 2 + term, pixels);
        const float* const from = at.rows[0].in(x, g, window);
        if constexpr (Pair) {
          const float2 both = from == nullptr ? float2{} : *reinterpret_cast<const float2*>(from);
          values[0][half][term] = both.x, values[1][half][term] = both.y;
        } else {
          values[0][half][term] = value_at(from);
          values[1][half][term] = value_at(at.rows[1].in(x, g, window));
        }
      }
    at.pixel += product_depth;
  }
};

/// A matrix [rows, terms], of quads of terms.
struct matrix_left {
  const float* x;
  int rows, terms;

  struct cursor {
    const float* rows[2];
    int at;
  };
  __device__ static int row(int i) { return patches_left<true>::row(i); }
  __device__ const float* row_at(int i) const { return i < rows ? x + long{i} * terms : nullptr; }
  __device__ cursor start(int first, int step) const {
    return {{row_at(first + row(0)), row_at(first + row(1))}, step * product_depth + 4 * member()};
  }
  __device__ void fetch(cursor& at, left_share& values) const {
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int i = 0; i < 2; ++i)
        read_row<true>(at.rows[i], at.at + half * product_depth / 2,
                       at.rows[i] == nullptr ? 0 : terms, values[i][half]);
    at.at += product_depth;
  }
};
/// A matrix [terms, rows], of pairs of rows.
struct turned_matrix_left {
  const float* x;
  int rows, terms;

  struct cursor {
    const float* from;
    int at;
  };
  __device__ static int row(int i) { return turned_patches_left<true>::row(i); }
  __device__ cursor start(int first, int step) const {
    const int mine = first + row(0), term = step * product_depth + 4 * member();
    return {x + long{term} * rows + mine, mine < rows ? term : terms};
  }
  __device__ void fetch(cursor& at, left_share& values) const {
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int term = 0; term < 4; ++term) {
        const int further = half * product_depth / 2 + term;
        const float2 both = at.at + further < terms
                                ? *reinterpret_cast<const float2*>(at.from + long{further} * rows)
                                : float2{};
        values[0][half][term] = both.x, values[1][half][term] = both.y;
      }
    at.from += long{product_depth} * rows, at.at += product_depth;
  }
};

/// The column, of a tile of so many, and the half of the terms that a thread fetches.
template <int Columns>
struct fetched_column {
  __device__ static int column() { return threadIdx.x % Columns; }
  __device__ static int half() { return threadIdx.x / Columns; }
  __device__ static int first_term(int step) { return step * product_depth + half() * 16; }
  __device__ static bool fetches() { return half() < 2; }
};

/// Weights [k, patch], as [patch, k].
template <bool Quad, int Columns>
struct weights_right {
  static constexpr int columns = Columns;
  using mine = fetched_column<Columns>;
  const float* w;
  int patch, k;

  struct cursor {
    const float* row;
    int at;
  };
  __device__ cursor start(int first, int step) const {
    const int filter = first + mine::column();
    return {mine::fetches() && filter < k ? w + long{filter} * patch : nullptr,
            mine::first_term(step)};
  }
  __device__ void fetch(cursor& at, right_share& values) const {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      read_row<Quad>(at.row, at.at + 4 * i, at.row == nullptr ? 0 : patch, values[i]);
    at.at += product_depth;
  }
};

/// Rows of columns that lie next to one another: row(i) tells where row i begins, null where there
/// is none.
template <int Columns, class Row>
struct rows_right {
  static constexpr int columns = Columns;
  using mine = fetched_column<Columns>;
  Row row;
  int row_length;

  struct cursor {
    int row, column;
  };
  __device__ cursor start(int first, int step) const {
    return {mine::first_term(step), first + mine::column()};
  }
  __device__ void fetch(cursor& at, right_share& values) const {
    const bool there = mine::fetches() && at.column < row_length;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const float* const from = row(at.row + i);
      values[i / 4][i % 4] = there && from != nullptr ? from[at.column] : 0.0f;
    }
    at.row += product_depth;
  }
};
/// Weights [k, taps, c] as [taps k, c].
struct weight_rows {
  const float* w;
  int taps, k, c;
  divisor by_k{k};

  __device__ const float* operator()(int i) const {
    const int tap = by_k.divide(i);
    return tap < taps ? w + (long{i - tap * k} * taps + tap) * c : nullptr;
  }
};
struct matrix_rows {
  const float* first;
  int rows, columns;

  __device__ const float* operator()(int i) const {
    return i < rows ? first + long{i} * columns : nullptr;
  }
};

// What becomes of the product: where an element (m, n), of a split of the sums, goes, and as what.

// ReLU is all they know: what else there is would be compiled into every element's store.

/// What is no number stays so.
__device__ inline float activated_by(bool relu, float v) { return relu && v <= 0 ? 0 : v; }

/// Zero where `saved` is not positive.
struct masked {
  const float* saved;
  float* dx;
  int columns;

  __device__ float* place(int m, int n, int) const { return dx + long{m} * columns + n; }
  __device__ float value(int m, int n, float sum) const {
    return saved == nullptr || saved[long{m} * columns + n] > 0 ? sum : 0;
  }
};
/// Sums of a split, or what is made of the only one.
struct sums_or_activated {
  float* y;
  int rows, columns;
  bool whole;
  elements bias;
  bool relu;

  __device__ float* place(int m, int n, int split) const {
    return y + (long{split} * rows + m) * columns + n;
  }
  __device__ float value(int, int n, float sum) const {
    return whole ? activated_by(relu, bias.there() ? sum + bias[n] : sum) : sum;
  }
};

/// Two neighbours of a row; together, where the second is there and rows begin at even places.
template <class Out>
__device__ inline void put_pair(const Out& out, int m, int n, int split, float first,
                                float second) {
  float* const to = out.place(m, n, split);
  if (out.columns % 2 == 0) {
    *reinterpret_cast<float2*>(to) = {out.value(m, n, first), out.value(m, n + 1, second)};
  } else {
    to[0] = out.value(m, n, first);
    if (n + 1 < out.columns) to[1] = out.value(m, n + 1, second);
  }
}

/// out = left right, [m, out.columns], sums of terms in `steps` times the products' depth;
/// gridDim.z splits share those. A block makes a tile; several at a time hide each other's waiting.
template <class Left, class Right, class Out>
__global__ void __launch_bounds__(product_threads, 3)
    implicit_product(Left left, Right right, Out out, int m, int steps) {
  constexpr int columns = Right::columns, count = columns / 2;
  __shared__ right_factor<columns> factors[2];
  const int first_m = blockIdx.x * product_rows, first_n = blockIdx.y * columns;
  const int first = static_cast<int>(long{steps} * blockIdx.z / gridDim.z);
  const int last = static_cast<int>(long{steps} * (blockIdx.z + 1) / gridDim.z);
  // Tensor cores cut off what does not fit a sum: few terms are summed there, all of them here.
  float sums[count] = {}, part[count];
  auto at_left = left.start(first_m, first);
  auto at_right = right.start(first_n, first);
  left_share of_left;
  right_share of_right;
  left.fetch(at_left, of_left);
  right.fetch(at_right, of_right);
  for (int step = first; step < last; ++step) {
    right_factor<columns>& factor = factors[(step - first) % 2];
    using mine = fetched_column<columns>;
    if (mine::fetches()) factor.put(mine::half(), mine::column(), of_right);
    // Behind this all warps are done with the other factor.
    show_factor();
    start_product(part, of_left, factor);
    if (step + 1 < last) {
      left.fetch(at_left, of_left);
      right.fetch(at_right, of_right);
    }
    wait_products(part);
#pragma unroll
    for (int i = 0; i < count; ++i) sums[i] += part[i];
  }
#pragma unroll
  for (int i = 0; i < count; i += 2) {
    const int at_m = first_m + Left::row(i / 2 % 2), at_n = first_n + i / 4 * 8 + 2 * member();
    if (at_m < m && at_n < out.columns) put_pair(out, at_m, at_n, blockIdx.z, sums[i], sums[i + 1]);
  }
}

inline constexpr int split_columns = 32, split_lanes = 8;

/// y [rows, columns] = the sum over the splits of sums [splits, rows, columns] + bias, then ReLU.
__global__ void add_splits(const float* sums, int splits, long count, int columns, elements bias,
                           bool relu, float* y) {
  __shared__ float of_lanes[split_lanes][split_columns];
  const long at = long{blockIdx.x} * split_columns + threadIdx.x;
  float sum = 0;
  if (at < count)
#pragma unroll 4
    for (int split = threadIdx.y; split < splits; split += split_lanes)
      sum += sums[split * count + at];
  of_lanes[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || at >= count) return;
  for (int lane = 1; lane < split_lanes; ++lane) sum += of_lanes[lane][threadIdx.x];
  y[at] = activated_by(relu, bias.there() ? sum + bias[at % columns] : sum);
}

int in_tiles(long extent, int tile) { return static_cast<int>((extent + tile - 1) / tile); }

template <class Left, class Right, class Out>
void start(stream& s, const Left& left, const Right& right, const Out& out, int m, int terms,
           int splits = 1) {
  launch(s, "a convolution or product", &implicit_product<Left, Right, Out>,
         dim3(in_tiles(m, product_rows), in_tiles(out.columns, Right::columns), splits),
         product_threads, 0, left, right, out, m, in_tiles(terms, product_depth));
}

/// Calls f(true_type or false_type).
template <int By, class F>
void with_divisible(int extent, F f) {
  extent % By == 0 ? f(std::true_type()) : f(std::false_type());
}
/// Calls f(columns of a tile).
template <class F>
void with_width(int columns, F f) {
  columns <= 32 ? f(std::integral_constant<int, 32>()) : f(std::integral_constant<int, 64>());
}

/// In how many splits sums of so many terms fill the device.
int splits_of(const stream& s, long m, long n, long terms) {
  const long tiles = long{in_tiles(m, product_rows)} * in_tiles(n, n <= 32 ? 32 : 64);
  const long most = in_tiles(terms, product_depth * 2), wanted = s.multiprocessors * 3 / tiles;
  return static_cast<int>(wanted < 1 ? 1 : wanted < most ? wanted : most);
}
int filter_splits(const stream& s, const convolution_shape& c) {
  return splits_of(s, c.patch(), c.k, c.output_pixels());
}

/// The product y [m, n] in splits; `workspace` has their sums if there is more than one.
template <class Left, class Right>
void start_splits(stream& s, const Left& left, const Right& right, int m, int n, int terms,
                  int splits, void* workspace, array bias, bool relu, float* y) {
  const bool whole = splits == 1;
  float* const sums = whole ? y : static_cast<float*>(workspace);
  start(s, left, right, sums_or_activated{sums, m, n, whole, elements(bias), relu}, m, terms,
        splits);
  if (!whole)
    launch(s, "a product's sums", &add_splits, in_tiles(long{m} * n, split_columns),
           dim3(split_columns, split_lanes), 0, static_cast<const float*>(sums), splits,
           long{m} * n, n, elements(bias), relu, y);
}

const float* floats(const array& a) { return static_cast<const float*>(a.data); }

}  // namespace

bool direct_serves(const convolution_shape& c, const operands& o) {
  // Places are ints, and fetches go beyond the end.
  constexpr double most = 1u << 30, most_filters = 65535 * 32;
  const double input = double(c.n) * c.h * c.w, output = double(c.n) * c.out_h * c.out_w;
  const bool small = input < most && output < most && double(c.patch()) * c.k < most &&
                     double(c.h) * c.w * c.c < most && double(c.out_h) * c.out_w * c.k < most &&
                     c.k <= most_filters && c.c <= most_filters;
  const auto is_float = [](const array& a) { return !a || a.type == number::f32; };
  return small && input > 0 && output > 0 && is_float(o.x) && is_float(o.w) && is_float(o.y) &&
         is_float(o.saved);
}

void direct_forward(stream& s, const convolution_shape& c, const operands& o) {
  const int pixels = c.output_pixels(), patch = c.patch();
  const sums_or_activated out{static_cast<float*>(o.y.data), pixels, c.k, true, elements(o.bias),
                              o.f == function::relu};
  with_divisible<4>(c.c, [&](auto quads) {
    constexpr bool quad = decltype(quads)::value;
    const patches_left<quad> left{floats(o.x), geometry::forward(c), pixels};
    with_width(c.k, [&](auto width) {
      // A patch of quads is one of quads.
      const weights_right<quad, decltype(width)::value> right{floats(o.w), patch, c.k};
      start(s, left, right, out, pixels, patch);
    });
  });
}

void direct_backward_data(stream& s, const convolution_shape& c, const operands& o) {
  const masked out{floats(o.saved), static_cast<float*>(o.y.data), c.c};
  const int pixels = c.input_pixels(), taps = c.kernel_h * c.kernel_w;
  with_divisible<4>(c.k, [&](auto quads) {
    const patches_left<decltype(quads)::value> left{floats(o.x), geometry::backward(c), pixels};
    with_width(c.c, [&](auto width) {
      const rows_right<decltype(width)::value, weight_rows> right{{floats(o.w), taps, c.k, c.c},
                                                                  c.c};
      start(s, left, right, out, pixels, taps * c.k);
    });
  });
}

std::size_t direct_filter_workspace(const stream& s, const convolution_shape& c) {
  const int splits = filter_splits(s, c);
  return splits == 1 ? 0 : sizeof(float) * c.weights() * std::size_t(splits);
}

void direct_backward_filter(stream& s, const convolution_shape& c, const operands& o,
                            void* workspace) {
  const int splits = filter_splits(s, c), pixels = c.output_pixels(), patch = c.patch();
  with_divisible<2>(c.c, [&](auto pairs) {
    const turned_patches_left<decltype(pairs)::value> left{floats(o.x), geometry::forward(c),
                                                           pixels};
    with_width(c.k, [&](auto width) {
      const rows_right<decltype(width)::value, matrix_rows> right{{floats(o.w), pixels, c.k}, c.k};
      start_splits(s, left, right, patch, c.k, pixels, splits, workspace, {}, false,
                   static_cast<float*>(o.y.data));
    });
  });
}

bool direct_serves(const stream& s, const product& p, const operands& o) {
  constexpr long most = 1L << 30, most_columns = 65535 * 64;
  const bool all_float =
      o.x.type == number::f32 && o.w.type == number::f32 && o.y.type == number::f32;
  return s.precision == math::exact && all_float && !p.accumulate && p.m > 0 && p.k > 0 &&
         p.m < most && p.n <= most_columns && p.k < most && (p.a_turned ? p.m : p.k) % 4 == 0 &&
         (p.b_turned ? p.k : p.n) % 4 == 0 && !(p.a_turned && p.b_turned) && p.n > 32;
}
std::size_t direct_workspace(const stream& s, const product& p) {
  const int splits = splits_of(s, p.m, p.n, p.k);
  return splits == 1 ? 0 : sizeof(float) * std::size_t(splits) * std::size_t(p.m * p.n);
}
void direct_product(stream& s, const product& p, const operands& o, void* workspace) {
  const int m = static_cast<int>(p.m), n = static_cast<int>(p.n), k = static_cast<int>(p.k);
  const int splits = splits_of(s, m, n, k);
  const auto with = [&](const auto& left, const auto& right) {
    start_splits(s, left, right, m, n, k, splits, workspace, o.bias, o.f == function::relu,
                 static_cast<float*>(o.y.data));
  };
  const rows_right<64, matrix_rows> plain{{floats(o.w), k, n}, n};
  if (p.a_turned) return with(turned_matrix_left{floats(o.x), m, k}, plain);
  const matrix_left left{floats(o.x), m, k};
  if (p.b_turned) return with(left, weights_right<true, 64>{floats(o.w), k, n});
  with(left, plain);
}

}  // namespace slim::cuda
