#include <algorithm>

#include "hopper.cuh"
#include "window_maximum.cuh"

// A persistent block for each multiprocessor: one warp orders tiles with their border into a ring
// of shared memory, and two groups of four warps make the products,
//   [64 filters, 128 pixels] += [64 filters, 16 channels] * [16 channels, 128 pixels],
// nine filter taps times four pieces of channels for a tile. The left side, all weights of 64
// filters, lies in the group's registers. The right side is the tile itself: eight pixels of a row
// are eight rows of the matrix, and a tap moves only where the product starts to read. With 64
// filters the groups take turns at tiles, with 128 each has its half of them; one's products hide
// the other's epilogue. Results go through shared memory, so that whole lines are written.
//
// A lane is (group, member) = (lane / 4, lane % 4) and holds filters 16 warp + 2 group and the next
// (the rows of the left side are numbered so), of pixels 2 member and the next in each of the
// tile's 16 rows: whole 2x2 windows, whose maximum needs no other lane.

namespace slim::cuda {
namespace {

constexpr int taps = 9, pieces = block_channels / 16;
constexpr int consumers = 2, threads = (1 + consumers) * group_threads;
constexpr int pooled_pixels = tile_h * tile_w / 4;

__device__ int group() { return threadIdx.x % 32 / 4; }
__device__ int member() { return threadIdx.x % 4; }
/// The first of the lane's two filters, of the group's 64.
__device__ int filter() { return threadIdx.x % group_threads / 32 * 16 + 2 * group(); }

struct arguments {
  CUtensorMap x, saved, y, winners;
  const void *weights, *bias;
  images size;
  int filters;
  bool relu, with_winners;
};

__device__ uint32_t to_bfloat16s(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
__device__ float from_bfloat16(uint32_t bits) { return __uint_as_float(bits << 16); }

/// Where the lane's two filters of a pixel lie in a tile in shared memory.
__device__ uint32_t place_in(uint32_t tile, int pixel) {
  return tile + pixel * pixel_bytes + ((filter() * 2) ^ (pixel % 8 * 16));
}
__device__ void put(uint32_t address, uint32_t pair) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(pair) : "memory");
}
__device__ void put_bytes(uint32_t address, uint32_t pair) {
  asm volatile("st.shared.b16 [%0], %1;" ::"r"(address), "h"(static_cast<unsigned short>(pair))
               : "memory");
}
__device__ uint32_t get(uint32_t address) {
  uint32_t pair;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(pair) : "r"(address));
  return pair;
}

// ---- Weights ----

/// A lane's share of the weights of 64 filters, from `first` on.
struct lane_weights {
  /// Of [filters, taps, 64 channels].
  __device__ static uint32_t forward(const uint32_t* w, int filter, int tap, int channel) {
    return w[(filter * taps + tap) * (block_channels / 2) + channel / 2];
  }
  /// Of the gradient: [64 channels, taps, filters], and the taps turn around.
  __device__ static uint32_t backward(const unsigned short* w, int filters, int filter, int tap,
                                      int channel) {
    const unsigned short* const at = w + (channel * taps + taps - 1 - tap) * filters + filter;
    return at[0] | uint32_t{at[taps * filters]} << 16;
  }

  template <bool Backward>
  __device__ void load(const arguments& of, int first) {
#pragma unroll
    for (int tap = 0; tap < taps; ++tap)
#pragma unroll
      for (int piece = 0; piece < pieces; ++piece)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int row = first + filter() + i % 2;
          const int channel = 16 * piece + 8 * (i / 2) + 2 * member();
          a[tap][piece][i] =
              Backward ? backward(static_cast<const unsigned short*>(of.weights), of.filters, row,
                                  tap, channel)
                       : forward(static_cast<const uint32_t*>(of.weights), row, tap, channel);
        }
  }

  uint32_t a[taps][pieces][4];
};

__device__ void multiply_tile(const lane_weights& weights, uint32_t tile, float (&d)[64]) {
  begin_products();
#pragma unroll
  for (int tap = 0; tap < taps; ++tap)
#pragma unroll
    for (int piece = 0; piece < pieces; ++piece)
      multiply_add(d, weights.a[tap][piece],
                   matrix_at(tile + (tap / 3 * halo_w + tap % 3) * pixel_bytes + 32 * piece,
                             halo_w * pixel_bytes),
                   tap + piece > 0);
  commit_products();
  wait_products(d);
}

// ---- Forms: what becomes of a tile's [64 filters, 128 pixels] ----

/// The biases of the lane's filters, and ReLU.
struct bias_and_relu {
  __device__ bias_and_relu(const arguments& a, int first) {
    const auto* const pairs = static_cast<const uint32_t*>(a.bias);
    const uint32_t pair = pairs == nullptr ? 0 : pairs[(first + filter()) / 2];
    low = from_bfloat16(pair & 0xffff), high = from_bfloat16(pair >> 16);
    least = a.relu ? 0.0f : -INFINITY;
  }
  __device__ uint32_t operator()(float a, float b) const {
    return to_bfloat16s(not_below(a + low), not_below(b + high));
  }
  /// What is no number stays so.
  __device__ float not_below(float v) const { return v <= least ? least : v; }

  float low, high, least;
};

struct whole_form {
  static constexpr bool backward = false, saved = false;
  static constexpr int out_bytes = tile_bytes;

  __device__ whole_form(const arguments& a, int first) : finish(a, first) {}
  __device__ void put_results(const float (&d)[64], uint32_t, uint32_t out) const {
#pragma unroll
    for (int i = 0; i < 2 * tile_h; ++i) {
      const int at = i / 2 * 4 + i % 2;
      put(place_in(out, i / 2 * tile_w + 2 * member() + i % 2), finish(d[at], d[at + 2]));
    }
  }
  __device__ static void store(const arguments& a, uint32_t out, int first, place p) {
    store_box(a.y, out, first, p);
  }

  bias_and_relu finish;
};

/// Behind the pixels of the tile's pooled part lie their winners.
struct pooled_form {
  static constexpr bool backward = false, saved = false;
  static constexpr int winners_at = pooled_pixels * pixel_bytes;
  static constexpr int out_bytes = winners_at + pooled_pixels * block_channels;

  __device__ pooled_form(const arguments& a, int first) : finish(a, first) {}
  __device__ void put_results(const float (&d)[64], uint32_t, uint32_t out) const {
#pragma unroll
    for (int i = 0; i < tile_h / 2; ++i) {
      const float* const v = d + 8 * i;
      const maximum low = max_of(v[0], v[1], v[4], v[5]), high = max_of(v[2], v[3], v[6], v[7]);
      const int pixel = i * (tile_w / 2) + member();
      put(place_in(out, pixel), finish(low.value, high.value));
      put_bytes(out + winners_at + pixel * block_channels + filter(),
                low.winner | high.winner << 8);
    }
  }
  __device__ static void store(const arguments& a, uint32_t out, int first, place p) {
    const place pooled{p.n, p.h / 2, p.w / 2};
    store_box(a.y, out, first, pooled);
    if (a.with_winners) store_box(a.winners, out + winners_at, first, pooled);
  }

  bias_and_relu finish;
};

template <bool Saved>
struct gradient_form {
  static constexpr bool backward = true, saved = Saved;
  static constexpr int out_bytes = tile_bytes;

  __device__ gradient_form(const arguments&, int) {}
  __device__ void put_results(const float (&d)[64], uint32_t kept, uint32_t out) const {
#pragma unroll
    for (int i = 0; i < 2 * tile_h; ++i) {
      const int at = i / 2 * 4 + i % 2, pixel = i / 2 * tile_w + 2 * member() + i % 2;
      uint32_t pair = to_bfloat16s(d[at], d[at + 2]);
      if (Saved) pair &= mask_of(get(place_in(kept, pixel)));
      put(place_in(out, pixel), pair);
    }
  }
  /// All ones in the halves that are positive.
  __device__ static uint32_t mask_of(uint32_t pair) { return __vcmpgts2(pair, 0); }
  __device__ static void store(const arguments& a, uint32_t out, int first, place p) {
    store_box(a.y, out, first, p);
  }
};

// ---- The kernel ----

/// Shared memory: stages of tiles with their border and, for a gradient, what was saved; then the
/// groups' results.
template <class Form>
struct layout {
  static constexpr int saved_at = swizzled_bytes(halo_bytes);
  static constexpr int stage_bytes = saved_at + (Form::saved ? tile_bytes : 0);
  static constexpr int stages = Form::saved ? 4 : 8;
  // So a stage is always the same group's, which has seen all its phases.
  static_assert(stages % consumers == 0);
  static constexpr int out_at = stages * stage_bytes;
  static constexpr int out_bytes = swizzled_bytes(Form::out_bytes);
  static constexpr int bytes = out_at + consumers * out_bytes + 1024;  // to be aligned to 1024
};

/// One thread orders all tiles of the block.
template <class Form>
__device__ void order_tiles(const arguments& a, uint32_t memory, uint64_t* full, uint64_t* empty) {
  using at = layout<Form>;
  const int tiles = tiles_of(a.size);
  for (int turn = 0, tile = blockIdx.x; tile < tiles; ++turn, tile += gridDim.x) {
    const int stage = turn % at::stages;
    const place p = place_of(tile, a.size);
    const uint32_t to = memory + stage * at::stage_bytes;
    wait(empty + stage, turn / at::stages % 2 ^ 1);
    arrive_expecting(full + stage, halo_bytes + (Form::saved ? tile_bytes : 0));
    copy_box(to, a.x, full + stage, 0, {p.n, p.h - 1, p.w - 1});
    if (Form::saved) copy_box(to + at::saved_at, a.saved, full + stage, 0, p);
  }
}

/// One of the groups of warps: every tile of its filters, or every second.
template <class Form>
__device__ void multiply_tiles(const arguments& a, uint32_t memory, uint64_t* full,
                               uint64_t* empty) {
  using at = layout<Form>;
  const int number = threadIdx.x / group_threads - 1, tiles = tiles_of(a.size);
  const bool halves = a.filters > block_channels, leads = threadIdx.x % group_threads == 0;
  const int first = halves ? number * block_channels : 0, step = halves ? 1 : consumers;
  const uint32_t out = memory + at::out_at + number * at::out_bytes;
  lane_weights weights;
  weights.load<Form::backward>(a, first);
  const Form form(a, first);
  int turn = halves ? 0 : number;
  for (int tile = blockIdx.x + turn * gridDim.x; tile < tiles; tile += step * gridDim.x) {
    const int stage = turn % at::stages;
    const uint32_t from = memory + stage * at::stage_bytes;
    float d[64];
    wait(full + stage, turn / at::stages % 2);
    multiply_tile(weights, from, d);
    if (!Form::saved) arrive(empty + stage);
    if (leads) wait_stores_read();
    synchronize_group(number);
    form.put_results(d, from + at::saved_at, out);
    publish_to_copies();
    if (Form::saved) arrive(empty + stage);
    synchronize_group(number);
    if (leads) {
      form.store(a, out, first, place_of(tile, a.size));
      commit_stores();
    }
    turn += step;
  }
  if (leads) wait_stores_read();
}

template <class Form>
__global__ void __launch_bounds__(threads, 1) halo_kernel(const __grid_constant__ arguments a) {
  using at = layout<Form>;
  extern __shared__ char shared[];
  __shared__ uint64_t full[at::stages], empty[at::stages];
  const uint32_t memory = (shared_address(shared) + 1023) / 1024 * 1024;
  if (threadIdx.x == 0) {
    for (int i = 0; i < at::stages; ++i) {
      make_barrier(full + i, 1);
      make_barrier(empty + i, a.filters / block_channels * group_threads);
    }
    publish_barriers();
  }
  __syncthreads();
  if (threadIdx.x < group_threads) {
    keep_registers<24>();
    if (threadIdx.x == 0) order_tiles<Form>(a, memory, full, empty);
  } else {
    take_registers<240>();
    multiply_tiles<Form>(a, memory, full, empty);
  }
}

template <class Form>
void start(const arguments& a, int multiprocessors, CUstream_st* stream) {
  const int blocks = std::min(tiles_of(a.size), multiprocessors);
  if (blocks == 0) return;
  constexpr int bytes = layout<Form>::bytes;
  cudaFuncSetAttribute(halo_kernel<Form>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  halo_kernel<Form><<<blocks, threads, bytes, stream>>>(a);
}

arguments arguments_of(const void* x, const void* weights, const void* bias, images size,
                       int filters) {
  arguments a{};
  a.x = boxes_of(x, size, block_channels, halo_h, halo_w);
  a.weights = weights, a.bias = bias, a.size = size, a.filters = filters;
  return a;
}

}  // namespace

bool halo_serves_forward(halo_channels c) {
  return c.in == block_channels && (c.out == block_channels || c.out == 2 * block_channels);
}
bool halo_serves_backward_data(halo_channels c) {
  return c.in == block_channels && c.out == block_channels;
}

void halo_forward(const void* x, const void* weights, const void* bias, void* y, images size,
                  halo_channels c, bool relu, int multiprocessors, CUstream_st* stream) {
  if (tiles_of(size) == 0) return;
  arguments a = arguments_of(x, weights, bias, size, c.out);
  a.y = boxes_of(y, size, c.out, tile_h, tile_w);
  a.relu = relu;
  start<whole_form>(a, multiprocessors, stream);
}

void halo_forward_pooled(const void* x, const void* weights, const void* bias, void* y,
                         unsigned char* winners, images size, halo_channels c, bool relu,
                         int multiprocessors, CUstream_st* stream) {
  const images pooled{size.n, size.h / 2, size.w / 2};
  if (tiles_of(pooled) == 0) return;
  arguments a = arguments_of(x, weights, bias, size, c.out);
  a.y = boxes_of(y, pooled, c.out, tile_h / 2, tile_w / 2);
  a.relu = relu, a.with_winners = winners != nullptr;
  if (winners != nullptr)
    a.winners = boxes_of(winners, pooled, c.out, tile_h / 2, tile_w / 2, box_number::byte);
  start<pooled_form>(a, multiprocessors, stream);
}

void halo_backward_data(const void* dy, const void* weights, const void* saved, void* dx,
                        images size, halo_channels c, int multiprocessors, CUstream_st* stream) {
  if (tiles_of(size) == 0) return;
  arguments a = arguments_of(dy, weights, nullptr, size, c.in);
  a.y = boxes_of(dx, size, c.in, tile_h, tile_w);
  if (saved == nullptr) return start<gradient_form<false>>(a, multiprocessors, stream);
  a.saved = boxes_of(saved, size, c.in, tile_h, tile_w);
  start<gradient_form<true>>(a, multiprocessors, stream);
}

}  // namespace slim::cuda
