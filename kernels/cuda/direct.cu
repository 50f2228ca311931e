#include "direct.hpp"

#include "elements.cuh"
#include "exact_product.cuh"

namespace slim::cuda {
namespace {

/// A block makes a tile of the product. Two teams of four warps take turns at pieces of `depth` of
/// the sums' terms, each with its own part of shared memory, so that one computes while the other
/// waits; a warp has a quarter of the tile. The padding keeps banks distinct for lanes that read
/// neighbouring terms, `swizzled` for those that write every fourth.
inline constexpr int tile_m = 64, depth = 16, padding = 8, teams = 2, team_threads = 128;

__device__ inline int team() { return threadIdx.x / team_threads; }
__device__ inline int in_team() { return threadIdx.x % team_threads; }

__device__ inline int swizzled(int term, int at) { return at ^ (term / 4 % 4 * 8); }

using left_tile = float[depth][tile_m + padding];
/// Of 32 or 64 columns: each thread brings one or two quads.
template <int Quads>
using right_tile = float[depth][32 * Quads + padding];

/// A window over images as both directions see it: a window's element (a, b) lies at row
/// out * stride + start + a * step.
struct geometry {
  int h, w, c;  // of the images that are read
  int out_h, out_w;
  int kernel_h, kernel_w;
  int stride_h, stride_w, start_h, start_w, step_h, step_w;

  static geometry forward(const convolution_shape& s) {
    return {s.h,        s.w,        s.c,        s.out_h,     s.out_w,  s.kernel_h, s.kernel_w,
            s.stride_h, s.stride_w, -s.pad_top, -s.pad_left, s.rate_h, s.rate_w};
  }
  /// Images of one pixel of c channels.
  static geometry row(int c) { return {1, 1, c, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1}; }
  /// Of the output's gradient, at stride 1: what an input pixel gave to.
  static geometry backward(const convolution_shape& s) {
    return {s.out_h, s.out_w, s.k,       s.h,        s.w,       s.kernel_h, s.kernel_w,
            1,       1,       s.pad_top, s.pad_left, -s.rate_h, -s.rate_w};
  }
};

/// Where the window of an output pixel begins; far outside of the images if there is no such pixel.
struct window_at {
  long first = 0;  ///< among the images' elements
  int row = 0, column = 0;

  window_at() = default;
  __device__ window_at(const geometry& g, int pixel, int pixels) {
    const int line = pixel / g.out_w, image = line / g.out_h;
    column = (pixel - line * g.out_w) * g.stride_w + g.start_w;
    row = (line - image * g.out_h) * g.stride_h + g.start_h;
    first = ((long{image} * g.h + row) * g.w + column) * g.c;
    if (pixel >= pixels) row = -(1 << 30);
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

/// Four neighbouring places of a window's patch; zero outside of the image and behind the patch.
/// Quad: four channels are of one pixel, for they divide all of them.
template <bool Quad>
__device__ inline void read_patch(const float* x, const geometry& g, const window_at& window,
                                  patch_place at, float (&values)[4]) {
  const auto address = [&]() -> const float* {
    const int down = at.a * g.step_h, right = at.b * g.step_w;
    const bool inside = static_cast<unsigned>(window.row + down) < static_cast<unsigned>(g.h) &&
                        static_cast<unsigned>(window.column + right) < static_cast<unsigned>(g.w);
    if (!inside || at.a >= g.kernel_h) return nullptr;
    return x + window.first + ((down * g.w + right) * g.c + at.c);
  };
  if constexpr (Quad) {
    const float* const from = address();
    if (from != nullptr) return load(from, values);
#pragma unroll
    for (float& each : values) each = 0;
  } else {
#pragma unroll
    for (float& each : values) {
      const float* const from = address();
      each = from == nullptr ? 0.0f : *from;
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

// The factors: each thread has its part of every tile, which it fetches into registers and then
// puts into shared memory.

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
  __device__ cursor start(int first, int step) const {
    const int pixel = first + in_team() / 4;
    return {{window_at(g, pixel, rows), window_at(g, pixel + tile_m / 2, rows)},
            patch_place(g, step * depth + in_team() % 4 * 4)};
  }
  __device__ void fetch(cursor& at, float (&values)[2][4]) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) read_patch<Quad>(x, g, at.windows[i], at.at, values[i]);
    at.at.advance(g, teams * depth);
  }
  __device__ static void put(const float (&values)[2][4], left_tile& tile) {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int term = in_team() % 4 * 4 + j;
        tile[term][swizzled(term, in_team() / 4 + i * (tile_m / 2))] = values[i][j];
      }
  }
};
/// The same turned: [patch, pixels].
template <bool Quad>
struct turned_patches_left {
  static constexpr int threads_a_pixel = tile_m / 4, pixels_apart = team_threads / threads_a_pixel;
  const float* x;
  geometry g;
  int pixels;

  struct cursor {
    patch_place at;
    int pixel;
  };
  __device__ cursor start(int first, int step) const {
    return {patch_place(g, first + in_team() % threads_a_pixel * 4),
            step * depth + in_team() / threads_a_pixel};
  }
  __device__ void fetch(cursor& at, float (&values)[2][4]) const {
#pragma unroll
    for (int i = 0; i < 2; ++i)
      read_patch<Quad>(x, g, window_at(g, at.pixel + i * pixels_apart, pixels), at.at, values[i]);
    at.pixel += teams * depth;
  }
  __device__ static void put(const float (&values)[2][4], left_tile& tile) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int term = in_team() / threads_a_pixel + i * pixels_apart;
      store(values[i], &tile[term][swizzled(term, in_team() % threads_a_pixel * 4)]);
    }
  }
};

/// Weights [k, patch], as [patch, k].
template <bool Quad, int Quads>
struct weights_right {
  static constexpr int quads = Quads;
  const float* w;
  int patch, k;

  struct cursor {
    const float* rows[Quads];
    int at;
  };
  __device__ static int column(int i) { return in_team() / 4 + i * 32; }
  __device__ static int place() { return in_team() % 4 * 4; }
  __device__ cursor start(int first, int step) const {
    cursor at{{}, step * depth + place()};
#pragma unroll
    for (int i = 0; i < Quads; ++i) {
      const int filter = first + column(i);
      at.rows[i] = filter < k ? w + long{filter} * patch : nullptr;
    }
    return at;
  }
  __device__ void fetch(cursor& at, float (&values)[Quads][4]) const {
#pragma unroll
    for (int i = 0; i < Quads; ++i)
      read_row<Quad>(at.rows[i], at.at, at.rows[i] == nullptr ? 0 : patch, values[i]);
    at.at += teams * depth;
  }
  __device__ static void put(const float (&values)[Quads][4], right_tile<Quads>& tile) {
#pragma unroll
    for (int i = 0; i < Quads; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        tile[place() + j][swizzled(place() + j, column(i))] = values[i][j];
  }
};

/// Rows of columns that lie next to one another: row(i) tells where row i begins, null where there
/// is none.
template <bool Quad, int Quads, class Row>
struct rows_right {
  static constexpr int quads = Quads;
  static constexpr int threads_a_row = 8 * Quads, rows_apart = team_threads / threads_a_row;
  Row row;
  int columns;

  struct cursor {
    int row, column;
  };
  __device__ static int line() { return in_team() / threads_a_row; }
  __device__ static int place() { return in_team() % threads_a_row * 4; }
  __device__ cursor start(int first, int step) const {
    return {step * depth + line(), first + place()};
  }
  __device__ void fetch(cursor& at, float (&values)[Quads][4]) const {
#pragma unroll
    for (int i = 0; i < Quads; ++i) {
      const float* const from = row(at.row + i * rows_apart);
      read_row<Quad>(from, at.column, from == nullptr ? 0 : columns, values[i]);
    }
    at.row += teams * depth;
  }
  __device__ static void put(const float (&values)[Quads][4], right_tile<Quads>& tile) {
#pragma unroll
    for (int i = 0; i < Quads; ++i) {
      const int term = line() + i * rows_apart;
      store(values[i], &tile[term][swizzled(term, place())]);
    }
  }
};
/// Weights [k, taps, c] as [taps k, c].
struct weight_rows {
  const float* w;
  int taps, k, c;

  __device__ const float* operator()(int i) const {
    const int tap = i / k;
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

// What becomes of the product: element (m, n), of a split of the sums.

struct activated {
  elements bias;
  function f;
  float* y;
  int columns;

  __device__ void operator()(int m, int n, int, float sum) const {
    y[long{m} * columns + n] = apply(f, bias.there() ? sum + bias[n] : sum);
  }
};
struct masked {
  const float* saved;
  function f;
  float* dx;
  int columns;

  __device__ void operator()(int m, int n, int, float sum) const {
    const long at = long{m} * columns + n;
    dx[at] = saved == nullptr ? sum : sum * slope(f, saved[at]);
  }
};
/// Sums of a split, or what is made of the only one.
struct sums_or_activated {
  float* y;
  int rows, columns;
  bool whole;
  elements bias;
  function f;

  __device__ void operator()(int m, int n, int split, float sum) const {
    if (whole) sum = apply(f, bias.there() ? sum + bias[n] : sum);
    y[(long{split} * rows + m) * columns + n] = sum;
  }
};

/// out = left right, [m, n], sums of terms in `steps` times `depth`; gridDim.z splits share those.
template <class Left, class Right, class Out>
__global__ void __launch_bounds__(teams* team_threads, 2)
    implicit_product(Left left, Right right, Out out, int m, int n, int steps) {
  constexpr int quads = Right::quads, tile_n = 32 * quads, parts = 2 * quads, halves = 2;
  alignas(16) __shared__ left_tile a[teams][2];
  alignas(16) __shared__ right_tile<quads> b[teams][2];
  const int first_m = blockIdx.x * tile_m, first_n = blockIdx.y * tile_n;
  const int first = static_cast<int>(long{steps} * blockIdx.z / gridDim.z);
  const int last = static_cast<int>(long{steps} * (blockIdx.z + 1) / gridDim.z);
  const int warp = in_team() / 32, group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
  const int row = warp / 2 * (tile_m / 2) + group, column = warp % 2 * (tile_n / 2);

  auto at_left = left.start(first_m, first + team());
  auto at_right = right.start(first_n, first + team());
  float next_a[2][4], next_b[quads][4];
  float sums[halves][parts][4] = {};  // of twice 16 rows, parts times 8 columns
  const auto fetch_next = [&](bool there) {
    left.fetch(at_left, next_a);
    right.fetch(at_right, next_b);
    // The other team may have a step more, which belongs to the next block.
    if (!there)
#pragma unroll
      for (auto& quad : next_a)
#pragma unroll
        for (float& each : quad) each = 0;
  };
  const auto put_next = [&](int buffer) {
    Left::put(next_a, a[team()][buffer]);
    Right::put(next_b, b[team()][buffer]);
  };
  fetch_next(first + team() < last);
  put_next(0);
  __syncthreads();
  for (int step = first, now = 0; step < last; step += teams, now ^= 1) {
    const bool more = step + teams < last;
    if (more) fetch_next(step + teams + team() < last);
    // Tensor cores cut off what does not fit a sum: few terms are summed there, all of them here.
    float part[halves][parts][4] = {};
#pragma unroll
    for (int k = 0; k < depth; k += 8) {
      const float* const upper = a[team()][now][k + member];
      const float* const lower = a[team()][now][k + member + 4];
      float from_a[halves][4];
#pragma unroll
      for (int i = 0; i < halves; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const int at_m = row + 16 * i + 8 * j;
          from_a[i][j] = upper[swizzled(k, at_m)], from_a[i][j + 2] = lower[swizzled(k + 4, at_m)];
        }
      }
      float from_b[parts][2];
#pragma unroll
      for (int i = 0; i < parts; ++i)
#pragma unroll
        for (int j = 0; j < 2; ++j)
          from_b[i][j] =
              b[team()][now][k + member + 4 * j][swizzled(k + 4 * j, column + 8 * i + group)];
      multiply_add(part, from_a, from_b);
    }
#pragma unroll
    for (int h = 0; h < halves; ++h)
#pragma unroll
      for (int i = 0; i < parts; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[h][i][j] += part[h][i][j];
    if (more) put_next(1 - now);
    __syncthreads();
  }
  float* const of_others = &b[0][0][0][0];
  constexpr int each = halves * parts * 4;
  static_assert(sizeof b >= sizeof sums * team_threads && teams == 2);
  const auto sum_of = [&](int i) -> float& { return sums[i / (4 * parts)][i / 4 % parts][i % 4]; };
  if (team() == 1)
#pragma unroll
    for (int i = 0; i < each; ++i) of_others[i * team_threads + in_team()] = sum_of(i);
  __syncthreads();
  if (team() == 1) return;
#pragma unroll
  for (int i = 0; i < each; ++i) {
    const int at_m = first_m + row + i / (4 * parts) * 16 + i % 4 / 2 * 8;
    const int at_n = first_n + column + 8 * (i / 4 % parts) + 2 * member + i % 2;
    const float sum = sum_of(i) + of_others[i * team_threads + in_team()];
    if (at_m < m && at_n < n) out(at_m, at_n, blockIdx.z, sum);
  }
}

inline constexpr int split_columns = 32, split_lanes = 8;

/// y [rows, columns] = f(the sum over the splits of sums [splits, rows, columns] + bias).
__global__ void add_splits(const float* sums, int splits, long count, int columns, elements bias,
                           function f, float* y) {
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
  y[at] = apply(f, bias.there() ? sum + bias[at % columns] : sum);
}

int in_tiles(long extent, int tile) { return static_cast<int>((extent + tile - 1) / tile); }

template <class Left, class Right, class Out>
void start(stream& s, const Left& left, const Right& right, const Out& out, int m, int n, int terms,
           int splits = 1) {
  launch(s, "a convolution or product", &implicit_product<Left, Right, Out>,
         dim3(in_tiles(m, tile_m), in_tiles(n, 32 * Right::quads), splits), teams * team_threads, 0,
         left, right, out, m, n, in_tiles(terms, depth));
}

/// Calls f(true_type or false_type).
template <class F>
void with_quads(int extent, F f) {
  extent % 4 == 0 ? f(std::true_type()) : f(std::false_type());
}
/// Calls f(quads a thread brings of the right factor, of so many columns).
template <class F>
void with_width(int columns, F f) {
  columns <= 32 ? f(std::integral_constant<int, 1>()) : f(std::integral_constant<int, 2>());
}

/// In how many splits sums of so many terms fill the device.
int splits_of(const stream& s, long m, long n, long terms) {
  const long tiles = long{in_tiles(m, tile_m)} * in_tiles(n, n <= 32 ? 32 : 64);
  const long most = in_tiles(terms, teams * depth * 2), wanted = s.multiprocessors * 2 / tiles;
  return static_cast<int>(wanted < 1 ? 1 : wanted < most ? wanted : most);
}
int filter_splits(const stream& s, const convolution_shape& c) {
  return splits_of(s, c.patch(), c.k, c.output_pixels());
}

/// The product y [m, n] in splits; `workspace` has their sums if there is more than one.
template <class Left, class Right>
void start_splits(stream& s, const Left& left, const Right& right, int m, int n, int terms,
                  int splits, void* workspace, array bias, function f, float* y) {
  const bool whole = splits == 1;
  float* const sums = whole ? y : static_cast<float*>(workspace);
  start(s, left, right, sums_or_activated{sums, m, n, whole, elements(bias), f}, m, n, terms,
        splits);
  if (!whole)
    launch(s, "a product's sums", &add_splits, in_tiles(long{m} * n, split_columns),
           dim3(split_columns, split_lanes), 0, static_cast<const float*>(sums), splits,
           long{m} * n, n, elements(bias), f, y);
}

const float* floats(const array& a) { return static_cast<const float*>(a.data); }

}  // namespace

bool direct_serves(const convolution_shape& c, const operands& o) {
  constexpr double most = (1u << 31) - 256;  // fetches go beyond the end
  const bool small = double(c.n) * c.out_h * c.out_w < most && double(c.n) * c.h * c.w < most &&
                     double(c.patch()) * c.k < most;
  return small && o.x.type == number::f32 && o.w.type == number::f32 && o.y.type == number::f32;
}

void direct_forward(stream& s, const convolution_shape& c, const operands& o) {
  const activated out{elements(o.bias), o.f, static_cast<float*>(o.y.data), c.k};
  const int pixels = c.output_pixels(), patch = c.patch();
  with_quads(c.c, [&](auto quads) {
    constexpr bool quad = decltype(quads)::value;
    const patches_left<quad> left{floats(o.x), geometry::forward(c), pixels};
    with_width(c.k, [&](auto width) {
      // A patch of quads is one of quads.
      const weights_right<quad, decltype(width)::value> right{floats(o.w), patch, c.k};
      start(s, left, right, out, pixels, c.k, patch);
    });
  });
}

void direct_backward_data(stream& s, const convolution_shape& c, const operands& o) {
  const masked out{floats(o.saved), o.f, static_cast<float*>(o.y.data), c.c};
  const int pixels = c.input_pixels(), taps = c.kernel_h * c.kernel_w;
  const weight_rows rows{floats(o.w), taps, c.k, c.c};
  with_quads(c.k, [&](auto quads) {
    const patches_left<decltype(quads)::value> left{floats(o.x), geometry::backward(c), pixels};
    with_quads(c.c, [&](auto column_quads) {
      with_width(c.c, [&](auto width) {
        const rows_right<decltype(column_quads)::value, decltype(width)::value, weight_rows> right{
            rows, c.c};
        start(s, left, right, out, pixels, c.c, taps * c.k);
      });
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
  const matrix_rows rows{floats(o.w), pixels, c.k};
  with_quads(c.c, [&](auto quads) {
    const turned_patches_left<decltype(quads)::value> left{floats(o.x), geometry::forward(c),
                                                           pixels};
    with_quads(c.k, [&](auto column_quads) {
      with_width(c.k, [&](auto width) {
        const rows_right<decltype(column_quads)::value, decltype(width)::value, matrix_rows> right{
            rows, c.k};
        start_splits(s, left, right, patch, c.k, pixels, splits, workspace, {}, function::identity,
                     static_cast<float*>(o.y.data));
      });
    });
  });
}

bool direct_serves(const stream& s, const product& p, const operands& o) {
  constexpr long most = (1L << 31) - 256;
  const bool all_float = o.x.type == number::f32 && o.w.type == number::f32 &&
                         o.y.type == number::f32;
  return s.precision == math::exact && all_float && !p.accumulate && p.m < most && p.n < most &&
         p.k < most && (p.a_turned ? p.m : p.k) % 4 == 0 && (p.b_turned ? p.k : p.n) % 4 == 0 &&
         !(p.a_turned && p.b_turned) && p.n > 32;
}
std::size_t direct_workspace(const stream& s, const product& p) {
  const int splits = splits_of(s, p.m, p.n, p.k);
  return splits == 1 ? 0 : sizeof(float) * std::size_t(splits) * std::size_t(p.m * p.n);
}
void direct_product(stream& s, const product& p, const operands& o, void* workspace) {
  const int m = static_cast<int>(p.m), n = static_cast<int>(p.n), k = static_cast<int>(p.k);
  const int splits = splits_of(s, m, n, k);
  const auto with = [&](const auto& left, const auto& right) {
    start_splits(s, left, right, m, n, k, splits, workspace, o.bias, o.f,
                 static_cast<float*>(o.y.data));
  };
  // A row is a patch of one pixel.
  const rows_right<true, 2, matrix_rows> plain{{floats(o.w), k, n}, n};
  if (p.a_turned) return with(turned_patches_left<true>{floats(o.x), geometry::row(m), k}, plain);
  const patches_left<true> left{floats(o.x), geometry::row(k), m};
  if (p.b_turned) return with(left, weights_right<true, 2>{floats(o.w), k, n});
  with(left, plain);
}

}  // namespace slim::cuda
