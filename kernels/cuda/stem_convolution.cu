#include "stem_convolution.hpp"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "early.cuh"

// Both kernels walk tiles of 8 x 32 pixels with persistent blocks of eight warps, a row of the tile
// for each warp. While one tile is computed, the next tile's pixels with their border travel
// through registers into the other of two buffers in shared memory. The arithmetic is mma.sync's
// m16n8k16: a lane is (group, member) = (lane / 4, lane % 4), and
//   A [16, 16]: a0 = (group, 2 member), a1 = (group + 8, 2 member), a2 and a3 = 8 columns further,
//   B [16, 8]:  b0 = (2 member, group), b1 = (2 member + 8, group),
//   D [16, 8]:  d0 d1 = (group, 2 member), d2 d3 = (group + 8, 2 member),
// each a pair: of neighbouring columns in A and D, of neighbouring rows in B. Which channel, pixel
// or filter tap a row or column stands for is free; the choices below make memory accesses wide.

namespace slim::cuda {
namespace {

using std::uint16_t;
using std::uint32_t;

constexpr int channels = 3, filters = 64, taps = 9 * channels;
constexpr int warps = 8, threads = 32 * warps;
constexpr int tile_h = warps, tile_w = 32;
constexpr int halo_h = tile_h + 2, halo_row = (tile_w + 2) * channels;
// Two for each multiprocessor of an H100 or H200. A constant, so that the order of the sums is the
// same everywhere.
constexpr int max_blocks = 2 * 132;
constexpr int blocks_per_multiprocessor = 2;

__host__ __device__ constexpr int round_up(int a, int b) { return (a + b - 1) / b * b; }

int tiles_of(images size) {
  return size.n * (round_up(size.h, tile_h) / tile_h) * (round_up(size.w, tile_w) / tile_w);
}

int blocks_of(images size) { return std::min(tiles_of(size), max_blocks); }

// ---- Walking the tiles ----

/// The first pixel of a tile, or a distance between tiles.
struct place {
  int n, h, w;
};

/// Every gridDim.x-th tile. Steps are additions with carry: no division in the loop.
class walk {
 public:
  __device__ explicit walk(images size)
      : h_(round_up(size.h, tile_h)), w_(round_up(size.w, tile_w)), step_(locate(gridDim.x)) {}

  __device__ place first() const { return locate(blockIdx.x); }

  __device__ void advance(place& p) const {
    p.w += step_.w;
    p.h += step_.h;
    p.n += step_.n;
    if (p.w >= w_) {
      p.w -= w_;
      p.h += tile_h;
    }
    if (p.h >= h_) {
      p.h -= h_;
      ++p.n;
    }
  }

 private:
  __device__ place locate(int tile) const {
    const int across = w_ / tile_w, down = h_ / tile_h, row = tile / across;
    return {row / down, row % down * tile_h, tile % across * tile_w};
  }

  int h_, w_;
  place step_;
};

// ---- The input tile with its border ----

/// One thread's share of a tile with its border: one element of every second row, so that its
/// column is the same all the time. Single elements, as rows start at any even address.
class halo {
 public:
  static constexpr int rows = halo_h / 2;
  static_assert(threads == 256 && halo_row <= 128 && halo_h % 2 == 0);

  __device__ static int column() { return threadIdx.x % 128; }
  __device__ static int row(int i) { return 2 * i + threadIdx.x / 128; }
  __device__ static bool active() { return column() < halo_row; }

  /// Starts the loads; what is outside of the images is zero.
  __device__ void load(const uint16_t* x, images size, place p) {
    const int pitch = size.w * channels, at = (p.w - 1) * channels + column(), h = p.h - 1 + row(0);
    const bool inside = active() && p.n < size.n && at >= 0 && at < pitch;
    const uint16_t* from = x + ((long(p.n) * size.h + h) * pitch + at);
#pragma unroll
    for (int i = 0; i < rows; ++i) {
      const bool valid = inside && h + 2 * i >= 0 && h + 2 * i < size.h;
      value[i] = valid ? __ldg(from + 2 * i * pitch) : 0;
    }
  }

  uint16_t value[rows];
};

constexpr uint32_t ones = 0x3f803f80;  // a pair of them

// ---- Instructions ----

__device__ void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <bool relu>
__device__ uint32_t to_bfloat16s(float low, float high) {
  uint32_t pair;
  if constexpr (relu) {
    asm("cvt.rn.relu.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  }
  return pair;
}

/// Copies 16 bytes into shared memory behind the thread's back; zeros, without reading, if not
/// `valid`.
__device__ void copy_async(uint4* to, const uint4* from, bool valid) {
  asm volatile(
      "cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(uint32_t(__cvta_generic_to_shared(to))),
      "l"(from), "r"(valid ? 16 : 0)
      : "memory");
}

__device__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Waits until at most `pending` of the thread's groups of copies are unfinished.
template <int pending>
__device__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

__device__ int group() { return threadIdx.x % 32 / 4; }
__device__ int member() { return threadIdx.x % 4; }
__device__ int warp() { return threadIdx.x / 32; }

// ---- Forward: [pixels, 64] = patches [pixels, 32] * weights [32, 64] ----

// A row of a patch is nine neighbouring elements: four pairs and a single one. The product's inner
// extent is 16 pairs, numbered quarter * 4 + member: the first three quarters hold the four pairs
// of filter row `quarter`, the last one the three single elements, each beside a one. The weights
// of these ones are the bias in three parts of a bfloat16's eight bits: as exact as the float,
// without registers of its own.

/// The input tile in shared memory. A pair must be aligned, and a patch starts at element 3 *
/// pixel: odd pixels read a second copy, shifted by one element. Pitches keep the lanes' banks
/// distinct.
struct forward_tile {
  static constexpr int pitch = 63, copy = round_up(halo_h * pitch, 32) + 16;  // in pairs

  __device__ void store(const halo& from) {
    if (!halo::active()) return;
    auto* elements = reinterpret_cast<uint16_t*>(pairs);
#pragma unroll
    for (int i = 0; i < halo::rows; ++i) {
      uint16_t* to = elements + 2 * pitch * halo::row(i) + halo::column();
      to[0] = from.value[i];
      if (halo::column() > 0) to[2 * copy - 1] = from.value[i];
    }
  }

  uint32_t pairs[2 * copy];
};

/// The filter that column `column` of product `j` stands for: a lane's results are eight
/// neighbouring filters of products 0 to 3, then eight of 4 to 7, each 16 bytes of y.
__device__ int filter_of(int j, int column) {
  return j / 4 * 32 + column / 2 * 8 + j % 4 * 2 + column % 2;
}

__device__ float upper_half(float value) {
  return __uint_as_float(__float_as_uint(value) & 0xffff0000);
}

/// The lane's weight of the last quarter and its part of the bias, without branches, so that the
/// loads of all products are on their way together.
__device__ uint32_t single_and_bias(const uint16_t* w, float bias) {
  const uint32_t single = w[min(member(), 2) * 9 + 8];
  const float high = upper_half(bias), middle = upper_half(bias - high);
  const float part = member() == 0 ? high : member() == 1 ? middle : bias - high - middle;
  return member() < 3 ? single | (__float_as_uint(part) & 0xffff0000) : 0;
}

/// The lane's share of the weights, in registers all the time.
struct forward_weights {
  __device__ forward_weights(const uint16_t* weights, const float* bias) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int filter = filter_of(j, group());
      const uint16_t* w = weights + filter * taps;
#pragma unroll
      for (int quarter = 0; quarter < 3; ++quarter) {
        const uint16_t* pair = w + quarter * 9 + member() * 2;
        b[j][quarter / 2][quarter % 2] = pair[0] | uint32_t(pair[1]) << 16;
      }
      b[j][1][1] = single_and_bias(w, bias ? bias[filter] : 0.f);
    }
  }

  uint32_t b[8][2][2];
};

/// Where the lane's pairs lie in the tile, for its warp's row and pixel `group`.
struct forward_lane {
  __device__ forward_lane()
      : rows(group() % 2 * forward_tile::copy + warp() * forward_tile::pitch + group() * 3 / 2),
        singles(rows + min(member(), 2) * forward_tile::pitch + 4),
        // The last member has neither an element nor a part of the bias.
        mask(member() < 3 ? 0xffff : 0) {
    rows += member();
  }

  /// The patches of pixels `pixel` + group and 8 further.
  __device__ void patches(const forward_tile& tile, int pixel, uint32_t (&a)[2][4]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t* at = tile.pairs + (pixel + 8 * half) * channels / 2;
#pragma unroll
      for (int quarter = 0; quarter < 3; ++quarter) {
        a[quarter / 2][quarter % 2 * 2 + half] = at[rows + quarter * forward_tile::pitch];
      }
      a[1][2 + half] = (at[singles] & mask) | (ones & 0xffff0000);
    }
  }

  int rows, singles;
  uint32_t mask;
};

/// Products 4 * `part` to 4 * `part` + 3 for 16 pixels: 32 filters, 16 bytes for each of the lane's
/// two pixels. y points to the lane's first filter of its first pixel, `left` pixels from the edge.
template <bool relu>
__device__ void forward_part(const forward_weights& weights, const uint32_t (&a)[2][4], int part,
                             uint16_t* y, int left) {
  uint32_t out[2][4];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    float d[4] = {};
    multiply_add(d, a[0], weights.b[4 * part + j][0]);
    multiply_add(d, a[1], weights.b[4 * part + j][1]);
    out[0][j] = to_bfloat16s<relu>(d[0], d[1]);
    out[1][j] = to_bfloat16s<relu>(d[2], d[3]);
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (8 * half >= left) continue;
    *reinterpret_cast<uint4*>(y + 8 * half * filters + 32 * part) =
        make_uint4(out[half][0], out[half][1], out[half][2], out[half][3]);
  }
}

/// One warp's row of a tile.
template <bool relu>
__device__ void forward_row(const forward_tile& tile, const forward_weights& weights,
                            const forward_lane& lane, uint16_t* y, images size, place p) {
  const int h = p.h + warp(), w = p.w + group();
  if (h >= size.h) return;
  y += ((long(p.n) * size.h + h) * size.w + w) * filters + 8 * member();
#pragma unroll
  for (int pixel = 0; pixel < tile_w; pixel += 16) {
    uint32_t a[2][4];
    lane.patches(tile, pixel, a);
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      forward_part<relu>(weights, a, part, y + pixel * filters, size.w - w - pixel);
    }
  }
}

template <bool relu>
__global__ void __launch_bounds__(threads, blocks_per_multiprocessor)
    forward_kernel(const uint16_t* x, const uint16_t* weights_krsc, const float* bias, uint16_t* y,
                   images size) {
  __shared__ forward_tile tiles[2];
  let_next_kernel_begin();
  const walk path(size);
  place p = path.first();
  halo next;
  next.load(x, size, p);
  const forward_weights weights(weights_krsc, bias);
  const forward_lane lane;
  // One barrier a tile: a buffer is written again only after the barrier of the other one, which no
  // warp reaches before it is done with this one.
  for (int turn = 0; p.n < size.n; turn ^= 1) {
    const place here = p;
    tiles[turn].store(next);
    __syncthreads();
    path.advance(p);
    next.load(x, size, p);
    forward_row<relu>(tiles[turn], weights, lane, y, size, here);
  }
}

// ---- Weight gradient: [32, 64] = patches^T [32, pixels] * dy [pixels, 64] ----

// The 32 rows are four octets: a0 and a2 hold octets 0 and 2, a1 and a3 octets 1 and 3 of the two
// products. Octet s < 3 has column s of the filter, tap (s, i) = (row i / 3, channel i % 3), for
// i < 8; the last one has i = 8 of the three columns, then the ones that make the bias gradient.

constexpr int gradient_rows = taps + 1, gradient_size = gradient_rows * filters;

/// The row of [dw, db] that row `i` of octet `octet` holds; none if it is gradient_rows or more.
__device__ int gradient_row(int octet, int i) {
  if (octet < 3) return i / 3 * 9 + octet * 3 + i % 3;
  return i < 3 ? 2 * 9 + i * 3 + 2 : taps + i - 3;
}

/// The input tile in shared memory, a plane for each channel of each row, as a pair is now two
/// pixels of one channel. The filter's middle column reads a second copy, shifted by one pixel.
/// The plane's pitch spreads eight neighbouring planes over all banks.
struct gradient_tile {
  static constexpr int plane = 20, pitch = channels * plane, copy = halo_h * pitch;  // in pairs
  static_assert(2 * plane >= tile_w + 2);

  __device__ void store(const halo& from) {
    if (!halo::active()) return;
    const int pixel = halo::column() / channels, channel = halo::column() % channels;
    auto* elements = reinterpret_cast<uint16_t*>(pairs);
#pragma unroll
    for (int i = 0; i < halo::rows; ++i) {
      uint16_t* to = elements + 2 * (pitch * halo::row(i) + plane * channel) + pixel;
      to[0] = from.value[i];
      if (pixel > 0) to[2 * copy - 1] = from.value[i];
    }
  }

  uint32_t pairs[2 * copy];
};

/// Where the lane's pairs lie in the tile, for its warp's row.
struct gradient_lane {
  __device__ gradient_lane()
      : octet(warp() * gradient_tile::pitch + group() * gradient_tile::plane + member()),
        last(warp() * gradient_tile::pitch + 8 * gradient_tile::plane + member() +
             (group() == 1) * gradient_tile::copy + (group() == 2)) {}

  /// The patches of 16 pixels, transposed.
  __device__ void patches(const gradient_tile& tile, int pixel, uint32_t (&a)[2][4]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t* at = tile.pairs + pixel / 2 + 4 * half;
      a[0][2 * half] = at[octet];
      a[0][2 * half + 1] = at[octet + gradient_tile::copy];
      a[1][2 * half] = at[octet + 1];
      const uint32_t pair = at[last];
      a[1][2 * half + 1] = group() < 3 ? pair : ones;
    }
  }

  int octet, last;
};

/// dy on its way: three tiles of it in shared memory, two of them being filled. A lane copies
/// exactly the pieces that it reads itself, so that no barrier is needed, and in the order in which
/// it reads them, so that banks never conflict. A piece is eight filters of one pixel.
struct gradient_ring {
  static constexpr int stages = 3, pieces = tile_w / 4;

  __device__ static uint4* slots(uint4* ring, int stage) {
    return ring + (stage * warps + warp()) * pieces * 32 + threadIdx.x % 32;
  }

  /// The pixel of a piece, in the tile's row: pieces 4 i to 4 i + 3 serve pixels 16 i to 16 i + 15.
  __device__ static int pixel(int piece) { return piece / 2 * 8 + piece % 2 + 2 * member(); }

  __device__ static void fill(uint4* ring, int stage, const uint4* dy, images size, place p) {
    const int h = p.h + warp();
    const bool inside = p.n < size.n && h < size.h;
    const long first = (long(p.n) * size.h + h) * size.w + p.w + pixel(0);
    const uint4* from = dy + first * (filters / 8) + group();
    uint4* to = slots(ring, stage);
#pragma unroll
    for (int piece = 0; piece < pieces; ++piece) {
      const bool valid = inside && p.w + pixel(piece) < size.w;
      copy_async(to + 32 * piece, from + (piece / 2 * 8 + piece % 2) * (filters / 8), valid);
    }
    commit_copies();
  }
};

constexpr int ring_bytes =
    gradient_ring::stages * warps * gradient_ring::pieces * 32 * int(sizeof(uint4));
static_assert(warps * gradient_size * int(sizeof(float)) <= ring_bytes);

/// Pairs of pixels for each filter out of two pixels' pieces: column `group` of product j stands
/// for filter 8 * group + j.
__device__ void pair_pixels(const uint4& first, const uint4& second, int half,
                            uint32_t (&b)[8][2]) {
  const uint32_t low[4] = {first.x, first.y, first.z, first.w};
  const uint32_t high[4] = {second.x, second.y, second.z, second.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    b[2 * i][half] = __byte_perm(low[i], high[i], 0x5410);
    b[2 * i + 1][half] = __byte_perm(low[i], high[i], 0x7632);
  }
}

/// Adds one warp's row of a tile to its sums.
__device__ void gradient_row_sums(const gradient_tile& tile, const gradient_lane& lane,
                                  const uint4* slots, float (&sums)[2][8][4]) {
#pragma unroll
  for (int pixel = 0; pixel < tile_w; pixel += 16) {
    uint32_t a[2][4], b[8][2];
    lane.patches(tile, pixel, a);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint4* at = slots + 32 * (pixel / 4 + 2 * half);
      pair_pixels(at[0], at[32], half, b);
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      multiply_add(sums[0][j], a[0], b[j]);
      multiply_add(sums[1][j], a[1], b[j]);
    }
  }
}

/// Writes a warp's sums as [dw, db].
__device__ void store_sums(const float (&sums)[2][8][4], float* to) {
#pragma unroll
  for (int octet = 0; octet < 4; ++octet) {
    const int row = gradient_row(octet, group());
    if (row >= gradient_rows) continue;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int filter = 8 * (2 * member() + i) + j;
        to[row * filters + filter] = sums[octet / 2][j][octet % 2 * 2 + i];
      }
    }
  }
}

/// Each block's sums: partial [blocks, 28, 64].
__global__ void __launch_bounds__(threads, blocks_per_multiprocessor)
    gradient_kernel(const uint16_t* x, const uint4* dy, float* partial, images size) {
  extern __shared__ uint4 ring[];
  __shared__ gradient_tile tiles[2];
  const walk path(size);
  place next_x = path.first(), next_dy = next_x;
  halo next;
  next.load(x, size, next_x);
  for (int stage = 0; stage < 2; ++stage) {
    gradient_ring::fill(ring, stage, dy, size, next_dy);
    path.advance(next_dy);
  }
  const gradient_lane lane;
  float sums[2][8][4] = {};
  // One barrier a tile, as in the forward kernel.
  for (int turn = 0, stage = 0; next_x.n < size.n; turn ^= 1) {
    tiles[turn].store(next);
    wait_copies<1>();
    __syncthreads();
    path.advance(next_x);
    next.load(x, size, next_x);
    gradient_ring::fill(ring, stage == 0 ? 2 : stage - 1, dy, size, next_dy);
    path.advance(next_dy);
    gradient_row_sums(tiles[turn], lane, gradient_ring::slots(ring, stage), sums);
    stage = stage == 2 ? 0 : stage + 1;
  }
  wait_copies<0>();
  __syncthreads();
  auto* of_warps = reinterpret_cast<float*>(ring);
  store_sums(sums, of_warps + warp() * gradient_size);
  __syncthreads();
  for (int i = threadIdx.x; i < gradient_size; i += threads) {
    float sum = 0;
    for (int w = 0; w < warps; ++w) sum += of_warps[w * gradient_size + i];
    partial[blockIdx.x * gradient_size + i] = sum;
  }
}

constexpr int slices = 16;

/// Adds the blocks' sums: a block for each row, its threads [slices, 64].
__global__ void __launch_bounds__(slices* filters)
    gradient_total(const float* partial, int blocks, float* dw, float* db) {
  __shared__ float sums[slices][filters];
  const int filter = threadIdx.x % filters, slice = threadIdx.x / filters, row = blockIdx.x;
  float sum = 0;
#pragma unroll 4
  for (int i = slice; i < blocks; i += slices) {
    sum += partial[i * gradient_size + row * filters + filter];
  }
  sums[slice][filter] = sum;
  __syncthreads();
  if (slice > 0) return;
  for (int i = 1; i < slices; ++i) sum += sums[i][filter];
  (row < taps ? dw + row * filters : db)[filter] = sum;
}

}  // namespace

bool stem_serves(int c, int k, int kernel_h, int kernel_w, int stride_h, int stride_w, int rate_h,
                 int rate_w, int pad_top, int pad_left) {
  return c == channels && k == filters && kernel_h == 3 && kernel_w == 3 && stride_h == 1 &&
         stride_w == 1 && rate_h == 1 && rate_w == 1 && pad_top == 1 && pad_left == 1;
}

void stem_forward(const void* x, const void* weights_krsc, const float* bias, void* y, images size,
                  bool relu, CUstream_st* stream) {
  const int blocks = blocks_of(size);
  if (blocks == 0) return;
  const auto kernel = relu ? forward_kernel<true> : forward_kernel<false>;
  kernel<<<blocks, threads, 0, stream>>>(static_cast<const uint16_t*>(x),
                                         static_cast<const uint16_t*>(weights_krsc), bias,
                                         static_cast<uint16_t*>(y), size);
}

long stem_filter_workspace(images size) {
  return long(blocks_of(size)) * gradient_size * long(sizeof(float));
}

void stem_backward_filter(const void* x, const void* dy, float* dw, float* db, void* workspace,
                          images size, CUstream_st* stream) {
  const int blocks = blocks_of(size);
  auto* partial = static_cast<float*>(workspace);
  if (blocks > 0) {
    cudaFuncSetAttribute(gradient_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, ring_bytes);
    gradient_kernel<<<blocks, threads, ring_bytes, stream>>>(
        static_cast<const uint16_t*>(x), static_cast<const uint4*>(dy), partial, size);
  }
  gradient_total<<<gradient_rows, slices * filters, 0, stream>>>(partial, blocks, dw, db);
}

}  // namespace slim::cuda
