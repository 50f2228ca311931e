#include "halo_tf32.hpp"

#include <algorithm>

#include "hopper.cuh"
#include "tf32.cuh"
#include "window_maximum.cuh"

// A persistent block for each multiprocessor: one warp orders tiles with their border, 32 channels
// at a time, into a ring of shared memory, and two groups of four warps take turns at tiles,
//   [64 filters, 128 pixels] += [64 filters, 8 channels] * [8 channels, 128 pixels],
// nine filter taps times four pieces of channels, twice. All weights lie in shared memory; what the
// groups store goes there directly, for there is no room left: the eight lanes of a pixel have 16
// filters, 64 bytes, at a time.
//
// A lane is (group, member) = (lane / 4, lane % 4) and holds filters 16 warp + 2 group and the next
// (the rows of the left side are numbered so), of pixels 2 member and the next in each of the
// tile's 16 rows: whole 2x2 windows, whose maximum needs no other lane.

namespace slim::cuda {
namespace {

constexpr int taps = 9, channels = 64, piece_channels = 32, pieces = channels / piece_channels;
constexpr int consumers = 2, threads = (1 + consumers) * group_threads;
constexpr int matrix_bytes = channels * 128, weights_bytes = taps * pieces * matrix_bytes;
constexpr int slot_bytes = swizzled_bytes(halo_bytes), slots = 3;
constexpr int shared_bytes = weights_bytes + slots * slot_bytes + 1024;  // to be aligned to 1024

struct arguments {
  CUtensorMap x;
  const float *weights, *bias, *saved;
  float* y;
  unsigned char* winners;
  images size;
  bool relu;
};

__device__ int lane_group() { return threadIdx.x % 32 / 4; }
__device__ int lane_member() { return threadIdx.x % 4; }
/// The first of the lane's two filters.
__device__ int lane_filter() { return threadIdx.x % group_threads / 32 * 16 + 2 * lane_group(); }

// ---- Weights ----

/// Of [64 filters, taps, 64 channels], or for a gradient of [64 channels, taps, 64 filters], whose
/// taps turn around.
template <bool Backward>
__device__ uint32_t weight(const float* w, int filter, int tap, int channel) {
  return to_tf32(Backward ? w[(channel * taps + taps - 1 - tap) * channels + filter]
                          : w[(filter * taps + tap) * channels + channel]);
}

/// Puts all weights where products read them: a matrix [64 filters, 32 channels] for each tap and
/// piece, swizzled.
template <bool Backward>
__device__ void put_weights(const float* w, uint32_t memory) {
  constexpr int quads = piece_channels / 4, count = taps * pieces * channels * quads;
  for (int i = threadIdx.x; i < count; i += threads) {
    // Neighbouring threads read neighbours.
    const int row = Backward ? i % channels : i / quads % channels;
    const int quad = Backward ? i / channels % quads : i % quads;
    const int matrix = i / quads / channels, tap = matrix / pieces;
    const int filter = row / 16 * 16 + row % 8 * 2 + row % 16 / 8;
    const int channel = matrix % pieces * piece_channels + quad * 4;
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(
                     memory + matrix * matrix_bytes + row * 128 + (quad ^ row % 8) * 16),
                 "r"(weight<Backward>(w, filter, tap, channel)),
                 "r"(weight<Backward>(w, filter, tap, channel + 1)),
                 "r"(weight<Backward>(w, filter, tap, channel + 2)),
                 "r"(weight<Backward>(w, filter, tap, channel + 3))
                 : "memory");
  }
}

// ---- Forms: what becomes of a tile's [64 filters, 128 pixels] ----

/// The biases of the lane's filters, and ReLU.
struct bias_and_relu {
  __device__ explicit bias_and_relu(const arguments& a)
      : low(a.bias == nullptr ? 0 : a.bias[lane_filter()]),
        high(a.bias == nullptr ? 0 : a.bias[lane_filter() + 1]),
        least(a.relu ? 0.0f : -INFINITY) {}
  __device__ float2 operator()(float a, float b) const {
    return {not_below(a + low), not_below(b + high)};
  }
  /// What is no number stays so.
  __device__ float not_below(float v) const { return v <= least ? least : v; }

  float low, high, least;
};

/// Where the lane's filters of a pixel are.
__device__ long offset_of(images size, place p) {
  return ((long{p.n} * size.h + p.h) * size.w + p.w) * channels + lane_filter();
}
__device__ void store_pair(float* y, float2 v) { *reinterpret_cast<float2*>(y) = v; }

/// Calls f(pixel, number of the lane's first sum of it, the second being two further) for the
/// lane's pixels that there are.
template <class F>
__device__ void for_pixels(images size, place tile, F f) {
#pragma unroll
  for (int i = 0; i < 2 * tile_h; ++i) {
    const place p{tile.n, tile.h + i / 2, tile.w + 2 * lane_member() + i % 2};
    if (p.h < size.h && p.w < size.w) f(p, i / 2 * 4 + i % 2);
  }
}

struct whole_form {
  static constexpr bool backward = false;

  __device__ explicit whole_form(const arguments& a) : finish(a) {}
  __device__ void fetch(const arguments&, place) {}
  __device__ void store(const arguments& a, const float (&d)[64], place tile) const {
    for_pixels(a.size, tile, [&](place p, int at) {
      store_pair(a.y + offset_of(a.size, p), finish(d[at], d[at + 2]));
    });
  }

  bias_and_relu finish;
};

struct pooled_form {
  static constexpr bool backward = false;

  __device__ explicit pooled_form(const arguments& a) : finish(a) {}
  __device__ void fetch(const arguments&, place) {}
  __device__ void store(const arguments& a, const float (&d)[64], place tile) const {
    const images pooled{a.size.n, a.size.h / 2, a.size.w / 2};
#pragma unroll
    for (int i = 0; i < tile_h / 2; ++i) {
      const place p{tile.n, tile.h / 2 + i, tile.w / 2 + lane_member()};
      if (p.h >= pooled.h || p.w >= pooled.w) continue;
      const float* const v = d + 8 * i;
      const maximum low = max_of(v[0], v[1], v[4], v[5]), high = max_of(v[2], v[3], v[6], v[7]);
      const long at = offset_of(pooled, p);
      store_pair(a.y + at, finish(low.value, high.value));
      if (a.winners != nullptr)
        *reinterpret_cast<unsigned short*>(a.winners + at) =
            static_cast<unsigned short>(low.winner | high.winner << 8);
    }
  }

  bias_and_relu finish;
};

struct gradient_form {
  static constexpr bool backward = true;

  __device__ explicit gradient_form(const arguments&) {}
  __device__ void fetch(const arguments&, place) {}
  __device__ void store(const arguments& a, const float (&d)[64], place tile) const {
    for_pixels(a.size, tile, [&](place p, int at) {
      store_pair(a.y + offset_of(a.size, p), {d[at], d[at + 2]});
    });
  }
};

/// What was saved is on its way while the products are made.
struct masked_gradient_form : gradient_form {
  using gradient_form::gradient_form;
  __device__ void fetch(const arguments& a, place tile) {
    for_pixels(a.size, tile, [&](place p, int at) {
      // Volatile, for the compiler would else move loads down to where they are needed.
      asm volatile("ld.global.nc.v2.f32 {%0, %1}, [%2];"
                   : "=f"(saved[at]), "=f"(saved[at + 2])
                   : "l"(a.saved + offset_of(a.size, p)));
    });
  }
  __device__ void store(const arguments& a, const float (&d)[64], place tile) const {
    for_pixels(a.size, tile, [&](place p, int at) {
      store_pair(a.y + offset_of(a.size, p),
                 {saved[at] > 0 ? d[at] : 0, saved[at + 2] > 0 ? d[at + 2] : 0});
    });
  }

  float saved[64];
};

// ---- The kernel ----

/// One thread orders all tiles of the block.
__device__ void order_tiles(const arguments& a, uint32_t ring, uint64_t* full, uint64_t* empty) {
  const int tiles = tiles_of(a.size);
  int turn = 0;
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const place p = place_of(tile, a.size);
    for (int piece = 0; piece < pieces; ++piece, ++turn) {
      const int slot = turn % slots;
      wait(empty + slot, turn / slots % 2 ^ 1);
      // The slot of a tile's second piece had the other group's before: should that come late, this
      // group would take its phase for the own one.
      if (piece == 0 && turn > 0) wait(full + (turn - 2) % slots, (turn - 2) / slots % 2);
      arrive_expecting(full + slot, halo_bytes);
      copy_box(ring + slot * slot_bytes, a.x, full + slot, piece * piece_channels,
               {p.n, p.h - 1, p.w - 1});
    }
  }
}

/// Starts the products of 32 channels.
__device__ void multiply_piece(float (&d)[64], uint32_t weights, uint32_t tile, bool add) {
  begin_products();
#pragma unroll
  for (int tap = 0; tap < taps; ++tap)
#pragma unroll
    for (int k = 0; k < piece_channels / 8; ++k)
      multiply_add_tf32(d, matrix_at(weights + tap * pieces * matrix_bytes + 32 * k, 1024),
                        matrix_at(tile + (tap / 3 * halo_w + tap % 3) * 128 + 32 * k, halo_w * 128),
                        add || tap + k > 0);
  commit_products();
}

/// One of the groups of warps: every second tile.
template <class Form>
__device__ void multiply_tiles(const arguments& a, uint32_t memory, uint64_t* full,
                               uint64_t* empty) {
  const uint32_t ring = memory + weights_bytes;
  const int number = threadIdx.x / group_threads - 1, tiles = tiles_of(a.size);
  const bool leads_warp = threadIdx.x % 32 == 0;
  Form form(a);
  int turn = number * pieces;
  for (int tile = blockIdx.x + number * gridDim.x; tile < tiles; tile += consumers * gridDim.x) {
    float d[64];
    const int first = turn % slots, second = (turn + 1) % slots;
    wait(full + first, turn / slots % 2);
    multiply_piece(d, memory, ring + first * slot_bytes, false);
    wait(full + second, (turn + 1) / slots % 2);
    multiply_piece(d, memory + matrix_bytes, ring + second * slot_bytes, true);
    form.fetch(a, place_of(tile, a.size));
    wait_products_before();
    if (leads_warp) arrive(empty + first);
    wait_products(d);
    if (leads_warp) arrive(empty + second);
    form.store(a, d, place_of(tile, a.size));
    turn += consumers * pieces;
  }
}

template <class Form>
__global__ void __launch_bounds__(threads, 1)
    halo_tf32_kernel(const __grid_constant__ arguments a) {
  extern __shared__ char shared[];
  __shared__ uint64_t full[slots], empty[slots];
  const uint32_t memory = (shared_address(shared) + 1023) / 1024 * 1024;
  if (threadIdx.x == 0) {
    for (int i = 0; i < slots; ++i) {
      make_barrier(full + i, 1);
      make_barrier(empty + i, warps_of_group);
    }
    publish_barriers();
  }
  put_weights<Form::backward>(a.weights, memory);
  publish_to_copies();
  __syncthreads();
  if (threadIdx.x >= group_threads)
    multiply_tiles<Form>(a, memory, full, empty);
  else if (threadIdx.x == 0)
    order_tiles(a, memory + weights_bytes, full, empty);
}

template <class Form>
void start(arguments a, const float* x, int multiprocessors, CUstream_st* stream) {
  const int blocks = std::min(tiles_of(a.size), multiprocessors);
  if (blocks == 0) return;
  a.x = boxes_of(x, a.size, channels, halo_h, halo_w, box_number::tf32);
  cudaFuncSetAttribute(halo_tf32_kernel<Form>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       shared_bytes);
  halo_tf32_kernel<Form><<<blocks, threads, shared_bytes, stream>>>(a);
}

}  // namespace

bool halo_tf32_serves(halo_channels c) { return c.in == channels && c.out == channels; }

void halo_tf32_forward(const float* x, const float* weights, const float* bias, float* y,
                       images size, bool relu, int multiprocessors, CUstream_st* stream) {
  start<whole_form>({{}, weights, bias, nullptr, y, nullptr, size, relu}, x, multiprocessors,
                    stream);
}

void halo_tf32_forward_pooled(const float* x, const float* weights, const float* bias, float* y,
                              unsigned char* winners, images size, bool relu, int multiprocessors,
                              CUstream_st* stream) {
  start<pooled_form>({{}, weights, bias, nullptr, y, winners, size, relu}, x, multiprocessors,
                     stream);
}

void halo_tf32_backward_data(const float* dy, const float* weights, const float* saved, float* dx,
                             images size, int multiprocessors, CUstream_st* stream) {
  const arguments a{{}, weights, nullptr, saved, dx, nullptr, size, false};
  saved == nullptr ? start<gradient_form>(a, dy, multiprocessors, stream)
                   : start<masked_gradient_form>(a, dy, multiprocessors, stream);
}

}  // namespace slim::cuda
