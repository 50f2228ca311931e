// The end of a convolution whose products are filters by pixels: blocks that share a sum give one
// another their parts, and what is finished is written as NHWC images.
#pragma once

#include <cuda_bf16.h>

#include <cstring>

#include "clusters.cuh"
#include "hopper.cuh"

namespace slim::cuda {

// Of a product [64 filters, pixels] a lane has, for each eight pixels, two neighbouring ones of two
// filters that lie eight apart: sums 4 j + 2 half and the next, of pixels 8 j + lane % 4 * 2 and
// the next, of filter warp * 16 + half * 8 + lane / 4. So a warp's half is a piece of eight
// filters, 16 bytes of a pixel.
inline constexpr int product_filters = 64, pieces_of_product = 8;

/// Bytes of a piece's sums, as blocks lay them out for one another: those of sixteen pixels a
/// store.
constexpr int shared_stores(int pixels) { return (pixels / 8 + 1) / 2; }
constexpr int shared_bytes(int pixels) { return shared_stores(pixels) * 32 * int{sizeof(float4)}; }

/// The pieces of a product that 1, 2, 4 or 8 blocks of a cluster finish, each others: those of
/// neighbouring warps, one half. All by shifts, for a division takes as long as a product.
struct shared_sum {
  int shift, rank;

  __device__ int blocks() const { return 1 << shift; }
  __device__ int pieces() const { return pieces_of_product >> shift; }
  __device__ int owner(int warp, int half) const {
    return shift == 0 ? 0 : half + (warp >> 3 - shift) * 2;
  }
  __device__ int piece(int i) const {
    return shift == 0 ? i : 2 * ((rank >> 1 << 3 - shift) + i) + (rank & 1);
  }
};
inline constexpr int store_bytes = 32 * int{sizeof(float4)};

/// Where a lane's part of the warp's piece is laid out, in each block.
template <int Pixels, int Half>
__device__ uint32_t laid_out_at(uint32_t sums) {
  const int warp = threadIdx.x / 32 % warps_of_group, lane = threadIdx.x % 32;
  return sums + (2 * warp + Half) * shared_bytes(Pixels) + lane * int{sizeof(float4)};
}

/// Lays out the sums of a piece that another block finishes.
template <int Pixels, int Half>
__device__ void lay_out_half(const float (&d)[Pixels / 2], shared_sum s, uint32_t sums) {
  if (s.owner(threadIdx.x / 32 % warps_of_group, Half) == s.rank) return;
  const uint32_t to = laid_out_at<Pixels, Half>(sums);
#pragma unroll
  for (int k = 0; k < shared_stores(Pixels); ++k) {
    const int at = 8 * k + 2 * Half;
    const bool both = 2 * k + 1 < Pixels / 8;
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to + k * store_bytes), "f"(d[at]),
                 "f"(d[at + 1]), "f"(both ? d[at + 4] : 0.0f), "f"(both ? d[at + 5] : 0.0f)
                 : "memory");
  }
}

/// Adds the sums that the other blocks have of a piece, from the next rank on.
template <int Pixels, int Half>
__device__ void add_half(float (&d)[Pixels / 2], shared_sum s, uint32_t sums) {
  if (s.owner(threadIdx.x / 32 % warps_of_group, Half) != s.rank) return;
  const uint32_t from = laid_out_at<Pixels, Half>(sums);
  for (int other = 1; other < s.blocks(); ++other) {
    float4 v[shared_stores(Pixels)];
#pragma unroll
    for (int k = 0; k < shared_stores(Pixels); ++k)
      v[k] = load_of_block(from + k * store_bytes, s.rank + other & s.blocks() - 1);
#pragma unroll
    for (int k = 0; k < shared_stores(Pixels); ++k) {
      const int at = 8 * k + 2 * Half;
      d[at] += v[k].x, d[at + 1] += v[k].y;
      if (2 * k + 1 < Pixels / 8) d[at + 4] += v[k].z, d[at + 5] += v[k].w;
    }
  }
}

// ---- Results in shared memory: pixels of 64 filters, rows beginning at multiples of eight ----

__host__ __device__ constexpr int staged_row(int pitch) { return (pitch + 7) / 8 * 8; }
/// Of a product's pixels, `pitch` of them a row.
__host__ __device__ constexpr int staged_bytes(int pixels, int pitch) {
  return ((pixels - 1) / pitch + 1) * staged_row(pitch) * pixel_bytes;
}
/// Where a piece of eight filters is: so that neither lanes with neighbouring pixels nor those with
/// neighbouring pieces meet in a bank.
__device__ inline uint32_t staged_piece(int row, int column, int pitch, int piece) {
  return (row * staged_row(pitch) + column) * pixel_bytes + ((piece ^ column % 8) << 4);
}

/// A divisor, up to 65535, of numbers up to 32767.
struct divisor {
  int value;
  unsigned inverse;
  explicit divisor(int by) : value(by), inverse(((1u << 31) + by - 1) / by) {}
  __device__ int quotient(int x) const {
    return static_cast<int>(static_cast<unsigned long long>(x) * inverse >> 31);
  }
};

/// Bias is added, and what is less becomes `least`; what is no number stays so.
struct finisher {
  float bias;
  __nv_bfloat162 least;

  finisher() = default;
  __device__ finisher(float bias, bool relu)
      : bias(bias), least(__float2bfloat162_rn(relu ? 0.0f : -INFINITY)) {}
  __device__ uint32_t operator()(float low, float high) const {
    const __nv_bfloat162 both = __hmax2_nan(__floats2bfloat162_rn(low + bias, high + bias), least);
    uint32_t word;
    memcpy(&word, &both, sizeof word);
    return word;
  }
};

template <int Pixels, int Half>
__device__ void stage_half(const float (&d)[Pixels / 2], shared_sum s, finisher finish,
                           divisor pitch, uint32_t staged) {
  constexpr int columns = Pixels / 8;  // eights of pixels, of which a store takes four
  const int warp = threadIdx.x / 32 % warps_of_group, lane = threadIdx.x % 32;
  if (s.owner(warp, Half) != s.rank) return;
#pragma unroll
  for (int j = 0; j < columns; j += 4) {
    const int pixel = 8 * j + lane, row = pitch.quotient(pixel);
    const uint32_t to =
        staged + staged_piece(row, pixel - row * pitch.value, pitch.value, 2 * warp + Half);
    uint32_t words[4];
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (j + k < columns)
        words[k] = finish(d[4 * (j + k) + 2 * Half], d[4 * (j + k) + 2 * Half + 1]);
    if (j + 4 <= columns) {
      store_turned(to, words);
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k) {  // A lane's place is for its own eight pixels.
        if (j + k >= columns) break;
        store_turned(__shfl_sync(~0u, to, 8 * k + lane % 8), words[k]);
      }
    }
  }
}

__device__ inline uint4 load_piece(uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address));
  return v;
}
__device__ inline uint4 larger(uint4 a, uint4 b) {
  __nv_bfloat162 x[4], y[4];
  memcpy(x, &a, sizeof a), memcpy(y, &b, sizeof b);
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = __hmax2_nan(x[i], y[i]);
  memcpy(&a, x, sizeof a);
  return a;
}

/// Where a tile's results go: images [n, h, w, channels] from `first` on.
struct result_place {
  __nv_bfloat16* y;
  images size;  // of y
  int channels, filter;
  place first;
};

/// The group writes the block's pieces of rows x columns results, or of the maxima of 2x2.
template <bool Pooled>
__device__ void write_results(const result_place& to, shared_sum s, int rows, divisor columns,
                              int pitch, uint32_t staged) {
  const int pieces = s.pieces(), shift = 3 - s.shift;
  const int count = rows * columns.value << shift;
#pragma unroll 4
  for (int i = threadIdx.x % group_threads; i < count; i += group_threads) {
    const int piece = s.piece(i & pieces - 1), at = i >> shift;
    const int row = columns.quotient(at), column = at - row * columns.value;
    const int h = to.first.h + row, w = to.first.w + column;
    if (h >= to.size.h || w >= to.size.w) continue;
    const auto load = [&](int r, int c) {
      return load_piece(staged + staged_piece(r, c, pitch, piece));
    };
    uint4 v;
    if constexpr (Pooled)
      v = larger(larger(load(2 * row, 2 * column), load(2 * row, 2 * column + 1)),
                 larger(load(2 * row + 1, 2 * column), load(2 * row + 1, 2 * column + 1)));
    else
      v = load(row, column);
    const long pixel = (long{to.first.n} * to.size.h + h) * to.size.w + w;
    *reinterpret_cast<uint4*>(to.y + pixel * to.channels + to.filter + piece * 8) = v;
  }
}

}  // namespace slim::cuda
