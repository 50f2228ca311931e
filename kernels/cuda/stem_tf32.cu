#include "stem_tf32.hpp"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "tf32.cuh"

// The kernel walks tiles of 8 x 32 pixels with persistent blocks of eight warps, a row of the tile
// for each warp. While one tile is computed, the next tile's pixels with their border travel
// through registers into the other of two buffers in shared memory. The product is
//   [64 filters, pixels] = weights [64, 28] * patches^T [28, pixels],
// filters first, so that a warp's stores write whole lines of 128 bytes. The arithmetic is
// mma.sync's m16n8k8 and m16n8k4: a lane is (group, member) = (lane / 4, lane % 4), and
//   A [16, 8]: a0 = (group, member), a1 = (group + 8, member), a2 and a3 = 4 columns further,
//   B [8, 8]:  b0 = (member, group), b1 = (member + 4, group),
//   D [16, 8]: d0 d1 = (group, 2 member) and its right neighbour, d2 d3 = (group + 8, 2 member).

namespace slim::cuda {
namespace {

using std::uint32_t;

constexpr int channels = 3, filters = 64, filter_row = 3 * channels, taps = 3 * filter_row;
constexpr int warps = 8, threads = 32 * warps;
constexpr int tile_h = warps, tile_w = 32;
constexpr int halo_h = tile_h + 2, halo_row = (tile_w + 2) * channels;
constexpr int blocks_per_multiprocessor = 2;
constexpr int max_blocks = blocks_per_multiprocessor * 132;  // of an H100 or H200

__host__ __device__ constexpr int round_up(int a, int b) { return (a + b - 1) / b * b; }

int tiles_of(images size) {
  return size.n * (round_up(size.h, tile_h) / tile_h) * (round_up(size.w, tile_w) / tile_w);
}

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

/// The input tile in shared memory: [halo_h, pitch], of which halo_row are used. A row of a patch
/// starts at element 3 * pixel; the pitch keeps apart the banks of the three rows' last elements.
struct tile {
  static constexpr int pitch = 104;
  static_assert(pitch >= halo_row);

  uint32_t elements[halo_h * pitch];
};

/// One thread's share of a tile with its border: one element of every second row, so that its
/// column is the same all the time. Single elements, as rows start at any address.
class halo {
 public:
  /// Starts the loads; what is outside of the images is zero.
  __device__ void load(const float* x, images size, place p) {
    const int pitch = size.w * channels, at = (p.w - 1) * channels + column(), h = p.h - 1 + row(0);
    const bool inside = active() && p.n < size.n && at >= 0 && at < pitch;
    const float* from = x + ((long(p.n) * size.h + h) * pitch + at);
#pragma unroll
    for (int i = 0; i < rows; ++i) {
      const bool valid = inside && h + 2 * i >= 0 && h + 2 * i < size.h;
      value_[i] = valid ? __ldg(from + 2 * i * pitch) : 0;
    }
  }

  __device__ void store(tile& to) const {
    if (!active()) return;
#pragma unroll
    for (int i = 0; i < rows; ++i)
      to.elements[tile::pitch * row(i) + column()] = to_tf32(value_[i]);
  }

 private:
  static constexpr int rows = halo_h / 2;
  static_assert(threads == 256 && halo_row <= 128 && halo_h % 2 == 0);

  __device__ static int column() { return threadIdx.x % 128; }
  __device__ static int row(int i) { return 2 * i + threadIdx.x / 128; }
  __device__ static bool active() { return column() < halo_row; }

  float value_[rows];
};

// ---- Products ----

__device__ int group() { return threadIdx.x % 32 / 4; }
__device__ int member() { return threadIdx.x % 4; }
__device__ int warp() { return threadIdx.x / 32; }

/// d [16, 8] += a [16, 8] * b [8, 8].
__device__ void multiply_add(float (&d)[4], const uint32_t (&a0)[2], const uint32_t (&a1)[2],
                             uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0[0]), "r"(a0[1]), "r"(a1[0]), "r"(a1[1]), "r"(b0), "r"(b1));
}

/// d [16, 8] += a [16, 4] * b [4, 8].
__device__ void multiply_add(float (&d)[4], const uint32_t (&a)[2], uint32_t b) {
  asm("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(b));
}

// The product's inner extent is seven quads, of an element for each member. Quads 2 r and 2 r + 1
// are the first eight of the nine neighbouring elements of a patch's row r, quad 6 is the last one
// of each row, and zeros.

constexpr int quads = 7, last_quad = quads - 1;
constexpr int products = 4;  // of 16 filters

/// The filter that row group + 8 * `half` of product `j` stands for: a lane's results of two
/// products are four neighbouring filters, 16 bytes of y, and those of the eight groups a line.
__device__ int filter_of(int j, int half) { return j / 2 * 32 + group() * 4 + j % 2 * 2 + half; }

/// The lane's share of the weights and of the bias, in registers all the time.
struct factors {
  __device__ factors(const float* weights, const float* bias) {
#pragma unroll
    for (int j = 0; j < products; ++j) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int filter = filter_of(j, half);
        const float* w = weights + filter * taps;
#pragma unroll
        for (int quad = 0; quad < last_quad; ++quad)
          a[j][quad][half] = to_tf32(w[quad / 2 * filter_row + quad % 2 * 4 + member()]);
        const float last = w[min(member(), 2) * filter_row + 8];
        a[j][last_quad][half] = member() < 3 ? to_tf32(last) : 0;
        first[j][half] = bias ? bias[filter] : 0;
      }
    }
  }

  uint32_t a[products][quads][2];
  float first[products][2];
};

/// Where the lane's elements lie in the tile, for its warp's row and pixel `group`.
struct elements {
  __device__ elements()
      : pixel(warp() * tile::pitch + group() * channels),
        rows(pixel + member()),
        lasts(pixel + min(member(), 2) * tile::pitch + 8) {}

  /// The patch of a pixel `from` further.
  __device__ void patch(const tile& tile, int from, uint32_t (&b)[quads]) const {
    const uint32_t* at = tile.elements + from * channels;
#pragma unroll
    for (int quad = 0; quad < last_quad; ++quad)
      b[quad] = at[rows + quad / 2 * tile::pitch + quad % 2 * 4];
    // Not left to a weight of zero, for the element may be infinite.
    b[last_quad] = member() < 3 ? at[lasts] : 0;
  }

  int pixel, rows, lasts;
};

/// Sums [16 filters, 8 pixels] of product `j`.
__device__ void multiply(const factors& f, int j, const uint32_t (&b)[quads], float (&d)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) d[i] = f.first[j][i / 2];
#pragma unroll
  for (int quad = 0; quad < last_quad; quad += 2)
    multiply_add(d, f.a[j][quad], f.a[j][quad + 1], b[quad], b[quad + 1]);
  multiply_add(d, f.a[j][last_quad], b[last_quad]);
}

/// What is no number stays so.
template <bool relu>
__device__ float activated(float sum) {
  return relu && sum <= 0 ? 0 : sum;
}

/// Eight pixels. y points to the lane's first filter of its first pixel, `left` pixels from the
/// edge.
template <bool relu>
__device__ void forward_pixels(const factors& f, const uint32_t (&b)[quads], float* y, int left) {
#pragma unroll
  for (int j = 0; j < products; j += 2) {
    float d[2][4];
    multiply(f, j, b, d[0]);
    multiply(f, j + 1, b, d[1]);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (i >= left) continue;
      *reinterpret_cast<float4*>(y + i * filters + j / 2 * 32) =
          make_float4(activated<relu>(d[0][i]), activated<relu>(d[0][2 + i]),
                      activated<relu>(d[1][i]), activated<relu>(d[1][2 + i]));
    }
  }
}

/// One warp's row of a tile.
template <bool relu>
__device__ void forward_row(const tile& tile, const factors& f, const elements& lane, float* y,
                            images size, place p) {
  const int h = p.h + warp(), w = p.w + 2 * member();
  if (h >= size.h) return;
  y += ((long(p.n) * size.h + h) * size.w + w) * filters + 4 * group();
#pragma unroll
  for (int pixel = 0; pixel < tile_w; pixel += 8) {
    uint32_t b[quads];
    lane.patch(tile, pixel, b);
    forward_pixels<relu>(f, b, y + pixel * filters, size.w - w - pixel);
  }
}

template <bool relu>
__global__ void __launch_bounds__(threads, blocks_per_multiprocessor)
    forward_kernel(const float* x, const float* weights_krsc, const float* bias, float* y,
                   images size) {
  __shared__ tile tiles[2];
  const walk path(size);
  place p = path.first();
  halo next;
  next.load(x, size, p);
  const factors f(weights_krsc, bias);
  const elements lane;
  // One barrier a tile: a buffer is written again only after the barrier of the other one, which no
  // warp reaches before it is done with this one.
  for (int turn = 0; p.n < size.n; turn ^= 1) {
    const place here = p;
    next.store(tiles[turn]);
    __syncthreads();
    path.advance(p);
    next.load(x, size, p);
    forward_row<relu>(tiles[turn], f, lane, y, size, here);
  }
}

}  // namespace

void stem_forward_tf32(const float* x, const float* weights_krsc, const float* bias, float* y,
                       images size, bool relu, CUstream_st* stream) {
  const int blocks = std::min(tiles_of(size), max_blocks);
  if (blocks == 0) return;
  const auto kernel = relu ? forward_kernel<true> : forward_kernel<false>;
  kernel<<<blocks, threads, 0, stream>>>(x, weights_krsc, bias, y, size);
}

}  // namespace slim::cuda
