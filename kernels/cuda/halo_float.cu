#include "halo_float.hpp"

#include "exact_product.cuh"

// A block has a tile of 16 x 8 pixels and 32 or 64 filters. Step by step, 32 channels of one tap of
// the kernel, two groups of four warps add up
//   [64 pixels, filters] += [64 pixels, 32 channels] * [32 channels, filters],
// each for eight rows of the tile. The left side comes from the tile with its border, 32 channels
// at a time in shared memory (TMA), into registers, where it is split: a tap moves only where lanes
// read. The right side comes in the order of its use; the hardware cuts its high part off by
// itself, and three warps write the low part beside it. Another warp orders the copies.
//
// Which terms of a sum a lane reads is free where both sides agree: member m of the four lanes of a
// row has channels 8 m + 4 half to 8 m + 4 half + 3, 16 bytes, so that banks are distinct.

namespace slim::cuda {
namespace {

constexpr int groups = 2, threads = (1 + groups) * group_threads, group_rows = tile_h / groups;
constexpr int step_channels = 32, halves = 2, rests = 4, slots = 4, tiles_held = 2;
constexpr int splitting_warps = 3;

/// The right side's 32 terms of each filter: pieces of 16 bytes have terms 8 i + 4 half + rest, i
/// from 0 to 3.
template <int Filters>
struct factor {
  static constexpr int pieces = halves * rests * Filters;
  float4 of[halves][rests][Filters];
};

struct arguments {
  CUtensorMap x;
  const void* factors;  ///< [filter blocks, chunks, taps]
  const float *bias, *saved;
  float* y;
  images out;
  int filters, chunks, kernel_h, kernel_w, pad_top, pad_left;
  bool relu;

  __host__ __device__ int taps() const { return kernel_h * kernel_w; }
  __host__ __device__ int steps() const { return chunks * taps(); }
  __host__ __device__ int halo_rows() const { return tile_h + kernel_h - 1; }
  __host__ __device__ int halo_columns() const { return tile_w + kernel_w - 1; }
  __host__ __device__ int halo_bytes() const {
    return halo_rows() * halo_columns() * step_channels * 4;
  }
};

/// Shared memory: tiles with their border, then slots of right sides, as they are and their low
/// part.
template <int Filters>
struct layout {
  static constexpr int factor_bytes = sizeof(factor<Filters>), slot_bytes = 2 * factor_bytes;

  __host__ __device__ explicit layout(const arguments& a)
      : tile_bytes(swizzled_bytes(a.halo_bytes())) {}
  __host__ __device__ int bytes() const {
    return tiles_held * tile_bytes + slots * slot_bytes + 1024;  // to be aligned to 1024
  }
  int tile_bytes;
};

struct barriers {
  uint64_t tile_full[tiles_held], tile_empty[tiles_held];
  uint64_t full[slots], split[slots], empty[slots];

  __device__ void make() {
    for (int i = 0; i < tiles_held; ++i) {
      make_barrier(tile_full + i, 1);
      make_barrier(tile_empty + i, groups * warps_of_group);
    }
    for (int i = 0; i < slots; ++i) {
      make_barrier(full + i, 1);
      make_barrier(split + i, 32 * splitting_warps);
      make_barrier(empty + i, groups * warps_of_group);
    }
    publish_barriers();
  }
};

template <int Filters>
__device__ void order_copies(const arguments& a, uint32_t memory, barriers& b) {
  using in = layout<Filters>;
  const in at(a);
  const uint32_t slots_at = memory + tiles_held * at.tile_bytes;
  place p = place_of(blockIdx.x, a.out);
  p.h -= a.pad_top, p.w -= a.pad_left;
  const auto* from = static_cast<const factor<Filters>*>(a.factors) + blockIdx.y * a.steps();
  int step = 0;
  for (int chunk = 0; chunk < a.chunks; ++chunk) {
    const int tile = chunk % tiles_held;
    wait(b.tile_empty + tile, chunk / tiles_held % 2 ^ 1);
    arrive_expecting(b.tile_full + tile, a.halo_bytes());
    copy_box(memory + tile * at.tile_bytes, a.x, b.tile_full + tile, chunk * step_channels, p);
    for (int tap = 0; tap < a.taps(); ++tap, ++step) {
      const int slot = step % slots;
      wait(b.empty + slot, step / slots % 2 ^ 1);
      arrive_expecting(b.full + slot, in::factor_bytes);
      copy_bytes(slots_at + slot * in::slot_bytes, from + step, in::factor_bytes, b.full + slot);
    }
  }
}

__device__ float low_part(float value) {
  // What the hardware takes off, rounded. Of what is not finite the high part makes the sum.
  const float low = value - __uint_as_float(__float_as_uint(value) & 0xffffe000);
  return __uint_as_float(__float_as_uint(low) + 0x1000);
}

template <int Filters>
__device__ void split_factors(const arguments& a, char* slots_at, barriers& b) {
  using in = layout<Filters>;
  const int lane = threadIdx.x - 32;
  for (int step = 0; step < a.steps(); ++step) {
    const int slot = step % slots;
    auto* const whole = reinterpret_cast<float4*>(slots_at + slot * in::slot_bytes);
    wait(b.full + slot, step / slots % 2);
    for (int i = lane; i < factor<Filters>::pieces; i += splitting_warps * 32) {
      const float4 v = whole[i];
      whole[factor<Filters>::pieces + i] = {low_part(v.x), low_part(v.y), low_part(v.z),
                                            low_part(v.w)};
    }
    publish_to_copies();
    arrive(b.split + slot);
  }
}

/// Reads the lane's terms of a step: its rows are the tile's row `row` and the next.
__device__ void read_left(left_share& to, uint32_t tile, int row, int column, int columns) {
  const int member = threadIdx.x % 4;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int pixel = (row + i) * columns + column;
#pragma unroll
    for (int half = 0; half < halves; ++half) {
      float(&v)[4] = to[i][half];
      const uint32_t at = tile + pixel * 128 + (((2 * member + half) ^ pixel % 8) * 16);
      asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                   : "=f"(v[0]), "=f"(v[1]), "=f"(v[2]), "=f"(v[3])
                   : "r"(at)
                   : "memory");
    }
  }
}

/// Walks the taps of all chunks, for lanes that read the tile.
class tap_walk {
 public:
  __device__ tap_walk(const arguments& a, uint32_t memory, int tile_bytes, barriers& b)
      : a_(a),
        b_(b),
        memory_(memory),
        tile_bytes_(tile_bytes),
        first_row_((threadIdx.x / group_threads - 1) * group_rows +
                   threadIdx.x % group_threads / 32 * 2) {}

  /// Reads what the next tap multiplies; the step before was read to its end.
  __device__ void read(left_share& to) {
    const int tile = chunk_ % tiles_held;
    if (row_ == 0 && column_ == 0) {
      if (chunk_ > 0 && threadIdx.x % 32 == 0) arrive(b_.tile_empty + (chunk_ - 1) % tiles_held);
      wait(b_.tile_full + tile, chunk_ / tiles_held % 2);
    }
    read_left(to, memory_ + tile * tile_bytes_, first_row_ + row_, threadIdx.x % 32 / 4 + column_,
              a_.halo_columns());
    if (++column_ < a_.kernel_w) return;
    column_ = 0;
    if (++row_ < a_.kernel_h) return;
    row_ = 0, ++chunk_;
  }

 private:
  const arguments& a_;
  barriers& b_;
  uint32_t memory_;
  int tile_bytes_, first_row_;
  int chunk_ = 0, row_ = 0, column_ = 0;
};

/// Two neighbouring filters of a pixel.
__device__ void finish_pair(const arguments& a, long pixel, int filter, float2 v) {
  const long at = pixel * a.filters + filter;
  if (a.bias != nullptr) v.x += a.bias[filter], v.y += a.bias[filter + 1];
  // What is no number stays so.
  if (a.relu) v.x = v.x <= 0 ? 0 : v.x, v.y = v.y <= 0 ? 0 : v.y;
  if (a.saved != nullptr) {
    const float2 saved = *reinterpret_cast<const float2*>(a.saved + at);
    v.x = saved.x > 0 ? v.x : 0, v.y = saved.y > 0 ? v.y : 0;
  }
  *reinterpret_cast<float2*>(a.y + at) = v;
}

template <int Filters>
__device__ void multiply_steps(const arguments& a, uint32_t memory, barriers& b) {
  using in = layout<Filters>;
  const int tile_bytes = in(a).tile_bytes;
  const uint32_t slots_at = memory + tiles_held * tile_bytes;
  tap_walk walk(a, memory, tile_bytes, b);
  left_share left;
  // Tensor cores cut off what does not fit a sum: few terms are summed there, all of them here.
  float sums[Filters / 2] = {}, part[Filters / 2];
  walk.read(left);
  for (int step = 0; step < a.steps(); ++step) {
    const int slot = step % slots, parity = step / slots % 2;
    wait(b.full + slot, parity);
    wait(b.split + slot, parity);
    const uint32_t right = slots_at + slot * in::slot_bytes;
    start_product<Filters>(part, left, right, right + in::factor_bytes);
    if (step + 1 < a.steps()) walk.read(left);
    wait_products(part);
    if (threadIdx.x % 32 == 0) arrive(b.empty + slot);
#pragma unroll
    for (int i = 0; i < Filters / 2; ++i) sums[i] += part[i];
  }
  const place p = place_of(blockIdx.x, a.out);
  const int group = threadIdx.x / group_threads - 1, warp = threadIdx.x % group_threads / 32;
  const int column = p.w + threadIdx.x % 32 / 4,
            filter = blockIdx.y * Filters + threadIdx.x % 4 * 2;
#pragma unroll
  for (int i = 0; i < Filters / 2; i += 2) {
    const int row = p.h + group * group_rows + 2 * warp + i / 2 % 2;
    if (row < a.out.h && column < a.out.w)
      finish_pair(a, (long{p.n} * a.out.h + row) * a.out.w + column, filter + i / 4 * 8,
                  {sums[i], sums[i + 1]});
  }
}

template <int Filters>
__global__ void __launch_bounds__(threads, 1)
    halo_float_kernel(const __grid_constant__ arguments a) {
  extern __shared__ char shared[];
  __shared__ barriers b;
  const uint32_t start = shared_address(shared), memory = (start + 1023) / 1024 * 1024;
  if (threadIdx.x == 0) b.make();
  __syncthreads();
  if (threadIdx.x >= group_threads)
    multiply_steps<Filters>(a, memory, b);
  else if (threadIdx.x >= 32)
    split_factors<Filters>(
        a, shared + (memory - start) + tiles_held * layout<Filters>(a).tile_bytes, b);
  else if (threadIdx.x == 0)
    order_copies<Filters>(a, memory, b);
}

/// Weights [filters, taps, in], in the order of their use; of a gradient [in, taps, filters], whose
/// taps turn around. A thread has a piece.
template <int Filters, bool Backward>
__global__ void arrange_factors(const float* w, int in, int filters, int taps, float4* to) {
  const int at = blockIdx.x * blockDim.x + threadIdx.x, chunks = in / step_channels;
  if (at >= in * taps * filters / 4) return;
  const int column = at % Filters, rest = at / Filters % rests,
            half = at / Filters / rests % halves;
  const int step = at / factor<Filters>::pieces;
  const int tap = step % taps, chunk = step / taps % chunks, block = step / taps / chunks;
  const int filter = block * Filters + column;
  float v[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const long channel = chunk * step_channels + 8 * i + 4 * half + rest;
    v[i] = Backward ? w[(channel * taps + taps - 1 - tap) * filters + filter]
                    : w[(long{filter} * taps + tap) * in + channel];
  }
  to[at] = {v[0], v[1], v[2], v[3]};
}

template <int Filters, bool Backward>
void start(stream& s, arguments a, int in, const float* w, void* workspace) {
  constexpr int block = 256;
  const int pieces = in * a.taps() * a.filters / 4;
  arrange_factors<Filters, Backward><<<(pieces + block - 1) / block, block, 0, s.handle>>>(
      w, in, a.filters, a.taps(), static_cast<float4*>(workspace));
  a.factors = workspace;
  const int bytes = layout<Filters>(a).bytes();
  cudaFuncSetAttribute(halo_float_kernel<Filters>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       bytes);
  halo_float_kernel<Filters>
      <<<dim3(tiles_of(a.out), a.filters / Filters), threads, bytes, s.handle>>>(a);
  s.check("a convolution of floats");
}

/// A convolution of `x`, of so many channels, by weights of operands.
template <bool Backward>
void convolve(stream& s, arguments a, const void* x, images size, int in, const operands& o,
              void* workspace) {
  if (tiles_of(a.out) == 0) return;
  a.x = boxes_of(x, size, in, a.halo_rows(), a.halo_columns(), box_number::f32);
  a.chunks = in / step_channels;
  a.y = static_cast<float*>(o.y.data);
  const auto* const w = static_cast<const float*>(o.w.data);
  a.filters % 64 == 0 ? start<64, Backward>(s, a, in, w, workspace)
                      : start<32, Backward>(s, a, in, w, workspace);
}

bool serves(const convolution_shape& c, const operands& o, int in, int filters) {
  const bool floats = o.x.type == number::f32 && o.w.type == number::f32 &&
                      o.y.type == number::f32 && (!o.bias || o.bias.type == number::f32) &&
                      (!o.saved || o.saved.type == number::f32);
  const bool plain = c.stride_h == 1 && c.stride_w == 1 && c.rate_h == 1 && c.rate_w == 1;
  // Several places, for which tiles with their border fit into shared memory.
  const bool kernel = c.kernel_h * c.kernel_w > 1 && c.kernel_h <= 7 && c.kernel_w <= 7;
  constexpr double most = (1u << 31) - 256;
  return floats && plain && kernel && !o.residual &&
         (o.f == function::identity || o.f == function::relu) && in % step_channels == 0 &&
         (filters == 32 || filters % 64 == 0) && double(c.patch()) * c.k < most;
}

}  // namespace

bool halo_float_serves_forward(const convolution_shape& c, const operands& o) {
  return serves(c, o, c.c, c.k);
}
bool halo_float_serves_backward_data(const convolution_shape& c, const operands& o) {
  return serves(c, o, c.k, c.c) && (!o.saved || o.f == function::relu);
}

std::size_t halo_float_workspace(const convolution_shape& c) { return c.weights() * sizeof(float); }

void halo_float_forward(stream& s, const convolution_shape& c, const operands& o, void* workspace) {
  arguments a{};
  a.out = {c.n, c.out_h, c.out_w}, a.filters = c.k, a.kernel_h = c.kernel_h,
  a.kernel_w = c.kernel_w;
  a.pad_top = c.pad_top, a.pad_left = c.pad_left;
  a.bias = static_cast<const float*>(o.bias.data), a.relu = o.f == function::relu;
  convolve<false>(s, a, o.x.data, {c.n, c.h, c.w}, c.c, o, workspace);
}

void halo_float_backward_data(stream& s, const convolution_shape& c, const operands& o,
                              void* workspace) {
  arguments a{};
  a.out = {c.n, c.h, c.w}, a.filters = c.c, a.kernel_h = c.kernel_h, a.kernel_w = c.kernel_w;
  a.pad_top = c.kernel_h - 1 - c.pad_top, a.pad_left = c.kernel_w - 1 - c.pad_left;
  a.saved = static_cast<const float*>(o.saved.data);
  convolve<true>(s, a, o.x.data, {c.n, c.out_h, c.out_w}, c.k, o, workspace);
}

}  // namespace slim::cuda
