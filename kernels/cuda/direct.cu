#include "direct.hpp"

#include "elements.cuh"

namespace slim::cuda {
namespace {

/// A block makes a tile of the product, its threads 4 x 4 numbers each; both factors come through
/// shared memory, `depth` of the sums' terms at a time.
inline constexpr int tile_m = 32, tile_n = 64, depth = 16, product_threads = 128, padding = 4;

using left_tile = float[depth][tile_m + padding];
using right_tile = float[depth][tile_n + padding];

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
  /// Of the output's gradient, at stride 1: what an input pixel gave to.
  static geometry backward(const convolution_shape& s) {
    return {s.out_h, s.out_w, s.k,       s.h,        s.w,       s.kernel_h, s.kernel_w,
            1,       1,       s.pad_top, s.pad_left, -s.rate_h, -s.rate_w};
  }
};

/// Where the window of an output pixel begins.
struct window_at {
  long image = 0;
  int row = 0, column = 0;

  window_at() = default;
  __device__ window_at(const geometry& g, int pixel) {
    const int line = pixel / g.out_w;
    column = (pixel - line * g.out_w) * g.stride_w + g.start_w;
    image = line / g.out_h;
    row = static_cast<int>(line - image * g.out_h) * g.stride_h + g.start_h;
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
    const int row = window.row + at.a * g.step_h, column = window.column + at.b * g.step_w;
    if (at.a >= g.kernel_h || row < 0 || row >= g.h || column < 0 || column >= g.w) return nullptr;
    return x + ((window.image * g.h + row) * g.w + column) * g.c + at.c;
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
    window_at window;
    patch_place at;
    bool there;
  };
  __device__ cursor start(int first, int step) const {
    const int pixel = first + threadIdx.x / 4;
    if (pixel >= rows) return {{}, {}, false};
    return {window_at(g, pixel), patch_place(g, step * depth + threadIdx.x % 4 * 4), true};
  }
  __device__ void fetch(cursor& at, float (&values)[4]) const {
    if (!at.there) {
#pragma unroll
      for (float& each : values) each = 0;
      return;
    }
    read_patch<Quad>(x, g, at.window, at.at, values);
    at.at.advance(g, depth);
  }
  __device__ static void put(const float (&values)[4], left_tile& tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) tile[threadIdx.x % 4 * 4 + i][threadIdx.x / 4] = values[i];
  }
};
/// The same turned: [patch, pixels].
template <bool Quad>
struct turned_patches_left {
  const float* x;
  geometry g;
  int pixels;

  struct cursor {
    patch_place at;
    int pixel;
  };
  __device__ cursor start(int first, int step) const {
    return {patch_place(g, first + threadIdx.x % 8 * 4),
            static_cast<int>(step * depth + threadIdx.x / 8)};
  }
  __device__ void fetch(cursor& at, float (&values)[4]) const {
    if (at.pixel < pixels) {
      read_patch<Quad>(x, g, window_at(g, at.pixel), at.at, values);
    } else {
#pragma unroll
      for (float& each : values) each = 0;
    }
    at.pixel += depth;
  }
  __device__ static void put(const float (&values)[4], left_tile& tile) {
    store(values, &tile[threadIdx.x / 8][threadIdx.x % 8 * 4]);
  }
};

/// Weights [k, patch], as [patch, k].
template <bool Quad>
struct weights_right {
  const float* w;
  int patch, k;

  struct cursor {
    const float* row;
    int at;
  };
  __device__ cursor start(int first, int step) const {
    const int column = first + threadIdx.x / 2;
    return {column < k ? w + long{column} * patch : nullptr,
            static_cast<int>(step * depth + threadIdx.x % 2 * 8)};
  }
  __device__ void fetch(cursor& at, float (&first)[4], float (&second)[4]) const {
    const int count = at.row == nullptr ? 0 : patch;
    read_row<Quad>(at.row, at.at, count, first);
    read_row<Quad>(at.row, at.at + 4, count, second);
    at.at += depth;
  }
  __device__ static void put(const float (&first)[4], const float (&second)[4], right_tile& tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      tile[threadIdx.x % 2 * 8 + i][threadIdx.x / 2] = first[i];
      tile[threadIdx.x % 2 * 8 + 4 + i][threadIdx.x / 2] = second[i];
    }
  }
};

/// Rows of columns that lie next to one another: row(i) tells where row i begins, null where there
/// is none.
template <bool Quad, class Row>
struct rows_right {
  Row row;
  int columns;

  struct cursor {
    int row, column;
  };
  __device__ cursor start(int first, int step) const {
    return {static_cast<int>(step * depth + threadIdx.x / 16),
            static_cast<int>(first + threadIdx.x % 16 * 4)};
  }
  __device__ void fetch(cursor& at, float (&first)[4], float (&second)[4]) const {
    const float *upper = row(at.row), *lower = row(at.row + depth / 2);
    read_row<Quad>(upper, at.column, upper == nullptr ? 0 : columns, first);
    read_row<Quad>(lower, at.column, lower == nullptr ? 0 : columns, second);
    at.row += depth;
  }
  __device__ static void put(const float (&first)[4], const float (&second)[4], right_tile& tile) {
    store(first, &tile[threadIdx.x / 16][threadIdx.x % 16 * 4]);
    store(second, &tile[threadIdx.x / 16 + depth / 2][threadIdx.x % 16 * 4]);
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
struct partial_sums {
  float* sums;
  int rows, columns;

  __device__ void operator()(int m, int n, int split, float sum) const {
    sums[(long{split} * rows + m) * columns + n] = sum;
  }
};

/// out = left right, [m, n], sums of terms in `steps` times `depth`; gridDim.z splits share those.
template <class Left, class Right, class Out>
__global__ void __launch_bounds__(product_threads)
    implicit_product(Left left, Right right, Out out, int m, int n, int steps) {
  alignas(16) __shared__ left_tile a[2];
  alignas(16) __shared__ right_tile b[2];
  const int first_m = blockIdx.x * tile_m, first_n = blockIdx.y * tile_n;
  const int first = static_cast<int>(long{steps} * blockIdx.z / gridDim.z);
  const int last = static_cast<int>(long{steps} * (blockIdx.z + 1) / gridDim.z);
  // A warp's threads are 4 x 8, so that each of its loads from a tile is one of 128 bytes at most.
  const int in_warp = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int row = (in_warp / 8 + warp / 2 * 4) * 4, column = (in_warp % 8 + warp % 2 * 8) * 4;

  auto at_left = left.start(first_m, first);
  auto at_right = right.start(first_n, first);
  float next_a[4], next_b[2][4], sums[4][4] = {};
  const auto fetch_next = [&] {
    left.fetch(at_left, next_a);
    right.fetch(at_right, next_b[0], next_b[1]);
  };
  const auto put_next = [&](int buffer) {
    Left::put(next_a, a[buffer]);
    Right::put(next_b[0], next_b[1], b[buffer]);
  };
  fetch_next();
  put_next(0);
  __syncthreads();
  for (int step = first; step < last; ++step) {
    const int now = (step - first) % 2;
    const bool more = step + 1 < last;
    if (more) fetch_next();
#pragma unroll
    for (int k = 0; k < depth; ++k) {
      float from_a[4], from_b[4];
      load(&a[now][k][row], from_a);
      load(&b[now][k][column], from_b);
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] += from_a[i] * from_b[j];
    }
    if (more) put_next(1 - now);
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (first_m + row + i < m && first_n + column + j < n)
        out(first_m + row + i, first_n + column + j, blockIdx.z, sums[i][j]);
}

int in_tiles(long extent, int tile) { return static_cast<int>((extent + tile - 1) / tile); }

template <class Left, class Right, class Out>
void start(stream& s, const Left& left, const Right& right, const Out& out, int m, int n, int terms,
           int splits = 1) {
  launch(s, "a convolution", &implicit_product<Left, Right, Out>,
         dim3(in_tiles(m, tile_m), in_tiles(n, tile_n), splits), product_threads, 0, left, right,
         out, m, n, in_tiles(terms, depth));
}

/// Calls f(true_type or false_type).
template <class F>
void with_quads(int extent, F f) {
  extent % 4 == 0 ? f(std::true_type()) : f(std::false_type());
}

int filter_splits(const stream& s, const convolution_shape& c) {
  const int tiles = in_tiles(c.patch(), tile_m) * in_tiles(c.k, tile_n);
  const int most = in_tiles(c.output_pixels(), depth * 4), wanted = s.multiprocessors * 4 / tiles;
  return wanted < 1 ? 1 : wanted < most ? wanted : most;
}

const float* floats(const array& a) { return static_cast<const float*>(a.data); }

}  // namespace

bool direct_serves(const convolution_shape& c, const operands& o) {
  constexpr double most = 1u << 31;
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
    // A patch of quads is one of quads.
    start(s, left, weights_right<quad>{floats(o.w), patch, c.k}, out, pixels, c.k, patch);
  });
}

void direct_backward_data(stream& s, const convolution_shape& c, const operands& o) {
  const masked out{floats(o.saved), o.f, static_cast<float*>(o.y.data), c.c};
  const int pixels = c.input_pixels(), taps = c.kernel_h * c.kernel_w;
  const weight_rows rows{floats(o.w), taps, c.k, c.c};
  with_quads(c.k, [&](auto quads) {
    const patches_left<decltype(quads)::value> left{floats(o.x), geometry::backward(c), pixels};
    with_quads(c.c, [&](auto column_quads) {
      const rows_right<decltype(column_quads)::value, weight_rows> right{rows, c.c};
      start(s, left, right, out, pixels, c.c, taps * c.k);
    });
  });
}

std::size_t direct_filter_workspace(const stream& s, const convolution_shape& c) {
  return sizeof(float) * c.weights() * std::size_t(filter_splits(s, c));
}

void direct_backward_filter(stream& s, const convolution_shape& c, const operands& o,
                            void* workspace) {
  const int splits = filter_splits(s, c), pixels = c.output_pixels(), patch = c.patch();
  float* const sums = static_cast<float*>(splits == 1 ? o.y.data : workspace);
  const partial_sums out{sums, patch, c.k};
  const matrix_rows rows{floats(o.w), pixels, c.k};
  with_quads(c.c, [&](auto quads) {
    const turned_patches_left<decltype(quads)::value> left{floats(o.x), geometry::forward(c),
                                                           pixels};
    with_quads(c.k, [&](auto column_quads) {
      const rows_right<decltype(column_quads)::value, matrix_rows> right{rows, c.k};
      start(s, left, right, out, patch, c.k, pixels, splits);
    });
  });
  if (splits == 1) return;
  const long weights = long(c.weights());
  map(s, o.y, [=] __device__(long i) {
    float sum = 0;
    for (int split = 0; split < splits; ++split) sum += sums[split * weights + i];
    return sum;
  });
}

}  // namespace slim::cuda
