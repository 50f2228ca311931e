#include "strided_stem.hpp"

#include <algorithm>

#include <slim/convolution_shape.hpp>

#include "hopper.cuh"

// A row of the kernel reads 7 pixels of 3 channels, 21 neighbours in memory: with three that do not
// count they are three pieces of eight terms, and an output pixel's pieces begin 12 bytes behind
// those of the pixel before. Tensor cores want rows of 16 bytes in shared memory, so patches go
// through registers, from tiles that TMA brings with their border: a tile is 16 x 8 pixels of the
// output, of eight pixels by four lanes each that read at once, without conflicts.
//
// TMA wants a box to begin at a multiple of 16 bytes, lanes read words of two terms: so tiles begin
// some words before the first pixel's pieces, and those, where need be, a term before its own.

namespace slim::cuda {
namespace {

constexpr int kernel = 7, stride = 2, in_channels = 3, out_channels = 64;
constexpr int row_terms = kernel * in_channels, row_pieces = 3, piece_terms = 8;
constexpr int piece_bytes = piece_terms * 2, step_bytes = stride * in_channels * 2;

// A tile's part of the input: rows of so many bytes, of which the last pixel's pieces are the last.
constexpr int input_rows = (tile_h - 1) * stride + kernel;
constexpr int row_bytes = ((tile_w - 1) * step_bytes + row_pieces * piece_bytes + 15) / 16 * 16;
constexpr int input_bytes = input_rows * row_bytes;

struct inputs {
  CUtensorMap x;
  images out;
  int pad_top;
  int before;  ///< Elements from a tile's begin to the first pixel without padding.
  int offset;  ///< Bytes from a tile's begin to its first pixel's pieces.
  int first;   ///< The first term of a row's 24 that counts: 0 or 1.

  /// Whether a term of the 24 is one of the kernel's 21.
  __device__ bool counts(int term) const { return term >= first && term < first + row_terms; }
};

/// How x [n, h, w * 3] is cut into the tiles' parts.
CUtensorMap rows_of(const void* x, const convolution_shape& c) {
  static const encode_function encode = box_encoder();
  const auto u = [](long value) { return static_cast<cuuint64_t>(value); };
  const long row = long{c.w} * in_channels;
  const cuuint64_t dims[] = {u(row), u(c.h), u(c.n)}, strides[] = {u(row * 2), u(row * c.h * 2)};
  const cuuint32_t box[] = {row_bytes / 2, input_rows, 1}, steps[] = {1, 1, 1};
  CUtensorMap map;
  if (encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(x), dims, strides, box,
             steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) != CUDA_SUCCESS)
    throw error("CUDA: images of a first convolution cannot be described to the driver");
  return map;
}
inputs inputs_of(const void* x, const convolution_shape& c) {
  const int padding = c.pad_left * in_channels, before = (padding + 7) / 8 * 8;
  const int more = before - padding, first = more % 2;
  return {rows_of(x, c), {c.n, c.out_h, c.out_w}, c.pad_top, before, (more - first) * 2, first};
}

/// Starts to copy what a tile at `p` of the output reads; zero outside of the image.
__device__ void copy_input(uint32_t to, const inputs& in, uint64_t* barrier, place p) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(to),
      "l"(&in.x), "r"(p.w * stride * in_channels - in.before), "r"(p.h * stride - in.pad_top),
      "r"(p.n), "r"(shared_address(barrier))
      : "memory");
}
__device__ uint32_t word_at(uint32_t address) {
  uint32_t word;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(word) : "r"(address) : "memory");
  return word;
}
__device__ int group() { return threadIdx.x / group_threads; }
__device__ int warp() { return threadIdx.x % group_threads / 32; }
__device__ int row_of_lane() { return threadIdx.x % 32 / 4; }
__device__ int member() { return threadIdx.x % 4; }

// ---- Forward ----

// Two groups of four warps have eight rows of the tile each,
//   [64 pixels, 64 filters] += [64 pixels, 16 terms] * [16 terms, 64 filters],
// two pieces at a time; a warp has two rows of eight pixels. All weights lie in shared memory.
namespace forward {

constexpr int groups = 2, threads = groups * group_threads + 32, blocks_together = 2;
constexpr int group_rows = tile_h / groups, warp_rows = group_rows / warps_of_group;
constexpr int pieces = (kernel * row_pieces + 1) / 2 * 2;
constexpr int first_rows = 4;  // of the kernel, an even number; then the others

constexpr int stages = 6, stage_bytes = (input_bytes + 127) / 128 * 128;
constexpr int weight_piece_bytes = out_channels * piece_bytes;
constexpr int out_bytes = group_rows * tile_w * pixel_bytes;
constexpr int weights_at = groups * out_bytes;
constexpr int stages_at = weights_at + pieces * weight_piece_bytes;
constexpr int shared_bytes = stages_at + stages * stage_bytes + 1024;  // to be aligned to 1024

struct arguments {
  inputs in;
  CUtensorMap y;
  const unsigned short *weights, *bias;
  bool relu;
};

/// [pieces, filters, 8 terms], zero where the kernel has none.
__device__ void load_weights(const arguments& a, unsigned short* to) {
  for (int i = threadIdx.x; i < pieces * out_channels * piece_terms; i += threads) {
    const int filter = i / piece_terms % out_channels, piece = i / piece_terms / out_channels;
    const int row = piece / row_pieces, term = piece % row_pieces * piece_terms + i % piece_terms;
    const bool there = row < kernel && a.in.counts(term);
    to[i] = there ? a.weights[(filter * kernel + row) * row_terms + term - a.in.first] : 0;
  }
}

/// Where the lane's first word lies in a tile.
__device__ uint32_t lane_in_tile(const inputs& in) {
  const int row = (group() * group_rows + warp() * warp_rows) * stride;
  return in.offset + row * row_bytes + row_of_lane() * step_bytes + member() * 4;
}

/// Of the lane's words in a row's first piece and its last, the terms that count: the others may be
/// no numbers.
struct lane_masks {
  uint32_t first, last;

  __device__ explicit lane_masks(const inputs& in)
      : first(of(in, 0)), last(of(in, row_pieces - 1)) {}
  __device__ static uint32_t of(const inputs& in, int piece) {
    const int term = piece * piece_terms + 2 * member();
    return (in.counts(term) ? 0xffff : 0) | (in.counts(term + 1) ? 0xffff0000 : 0);
  }
};

/// What the lane reads of its two pixels, one below the other, for some rows of the kernel.
template <int Rows>
struct lane_patches {
  static constexpr int lane_rows = Rows + (warp_rows - 1) * stride;
  uint32_t words[lane_rows][row_pieces];

  __device__ lane_patches(uint32_t from, lane_masks masks) {
#pragma unroll
    for (int i = 0; i < lane_rows; ++i)
#pragma unroll
      for (int piece = 0; piece < row_pieces; ++piece) {
        words[i][piece] = word_at(from + i * row_bytes + piece * piece_bytes);
        if (piece == 0) words[i][piece] &= masks.first;
        if (piece == row_pieces - 1) words[i][piece] &= masks.last;
      }
  }
  __device__ uint32_t of(int piece, int pixel) const {
    const int row = piece / row_pieces;
    return row < Rows ? words[row + pixel * stride][piece % row_pieces] : 0;
  }
};

/// Some rows of the kernel: their left sides together are in registers.
template <int Rows>
__device__ void multiply_rows(uint32_t tile, uint32_t weights, int first, lane_masks masks,
                              float (&d)[32]) {
  const lane_patches<Rows> patches(tile + first * row_bytes, masks);
  weights += first * row_pieces * weight_piece_bytes;
  begin_products();
#pragma unroll
  for (int piece = 0; piece < Rows * row_pieces; piece += 2) {
    const uint32_t a[4] = {patches.of(piece, 0), patches.of(piece, 1), patches.of(piece + 1, 0),
                           patches.of(piece + 1, 1)};
    multiply_add<false>(
        d, a,
        plain_matrix_at(weights + piece * weight_piece_bytes, 8 * piece_bytes, weight_piece_bytes),
        true);
  }
  commit_products();
  wait_products(d);
}

/// The lane's biases: what its sums begin with.
__device__ void load_biases(const float* biases, float (&d)[32]) {
#pragma unroll
  for (int i = 0; i < 32; i += 4) {
    const float2 pair = *reinterpret_cast<const float2*>(biases + i / 4 * 8 + 2 * member());
    d[i] = d[i + 2] = pair.x, d[i + 1] = d[i + 3] = pair.y;
  }
}
/// What is no number is not below.
__device__ float not_below(float least, float v) { return v <= least ? least : v; }
__device__ void put_results(const float (&d)[32], float least, uint32_t out) {
#pragma unroll
  for (int i = 0; i < 32; i += 2) {
    const int pixel = (warp() * warp_rows + i / 2 % 2) * tile_w + row_of_lane();
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;"
        : "=r"(both)
        : "f"(not_below(least, d[i + 1])), "f"(not_below(least, d[i])));
    const uint32_t at = out + pixel * pixel_bytes + ((i / 4 ^ row_of_lane()) * 16) + member() * 4;
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(at), "r"(both) : "memory");
  }
}

__device__ void order_tiles(const arguments& a, uint32_t memory, uint64_t* full, uint64_t* empty) {
  const int tiles = tiles_of(a.in.out);
  for (int turn = 0, tile = blockIdx.x; tile < tiles; ++turn, tile += gridDim.x) {
    const int stage = turn % stages;
    wait(empty + stage, turn / stages % 2 ^ 1);
    arrive_expecting(full + stage, input_bytes);
    copy_input(memory + stages_at + stage * stage_bytes, a.in, full + stage,
               place_of(tile, a.in.out));
  }
}

__device__ void multiply_tiles(const arguments& a, uint32_t memory, const float* biases,
                               uint64_t* full, uint64_t* empty) {
  const int tiles = tiles_of(a.in.out);
  const bool leads = threadIdx.x % group_threads == 0;
  const uint32_t out = memory + group() * out_bytes;
  const float least = a.relu ? 0.0f : -INFINITY;
  const lane_masks masks(a.in);
  for (int turn = 0, number = blockIdx.x; number < tiles; ++turn, number += gridDim.x) {
    const int stage = turn % stages;
    const uint32_t tile = memory + stages_at + stage * stage_bytes + lane_in_tile(a.in);
    float d[32];
    load_biases(biases, d);
    wait(full + stage, turn / stages % 2);
    multiply_rows<first_rows>(tile, memory + weights_at, 0, masks, d);
    multiply_rows<kernel - first_rows>(tile, memory + weights_at, first_rows, masks, d);
    arrive(empty + stage);
    if (leads) wait_stores_read();
    synchronize_group(group());
    put_results(d, least, out);
    publish_to_copies();
    synchronize_group(group());
    if (leads) {
      place p = place_of(number, a.in.out);
      p.h += group() * group_rows;
      if (p.h < a.in.out.h) store_box(a.y, out, 0, p);
      commit_stores();
    }
  }
  if (leads) wait_stores_read();
}

__global__ void __launch_bounds__(threads, blocks_together)
    strided_stem_kernel(const __grid_constant__ arguments a) {
  extern __shared__ char shared[];
  __shared__ uint64_t full[stages], empty[stages];
  __shared__ __align__(8) float biases[out_channels];
  const uint32_t start = shared_address(shared), memory = (start + 1023) / 1024 * 1024;
  if (threadIdx.x == 0) {
    for (int i = 0; i < stages; ++i) {
      make_barrier(full + i, 1);
      make_barrier(empty + i, groups * group_threads);
    }
    publish_barriers();
  }
  load_weights(a, reinterpret_cast<unsigned short*>(shared + (memory - start) + weights_at));
  if (threadIdx.x < out_channels)
    biases[threadIdx.x] =
        a.bias == nullptr ? 0.0f : __uint_as_float(uint32_t{a.bias[threadIdx.x]} << 16);
  publish_to_copies();  // and to products
  __syncthreads();
  if (threadIdx.x < groups * group_threads)
    multiply_tiles(a, memory, biases, full, empty);
  else if (threadIdx.x == groups * group_threads)
    order_tiles(a, memory, full, empty);
}

}  // namespace forward

// ---- The weights' gradient ----

// A sum over pixels: three groups of four warps have 64 terms of the kernel each,
//   [64 terms, 64 filters] += [64 terms, 16 pixels] * [16 pixels, 64 filters],
// the pixels being two rows of a tile. A word has two terms of a pixel, and the left side wants two
// pixels of a term: lanes turn the words of two pixels around, so that a lane's two rows of the
// product are neighbouring terms. All sums stay in registers until the end.
namespace filter {

constexpr int groups = 3, threads = groups * group_threads + 32;
// One block for each multiprocessor of an H100 SXM or H200; a constant, so that the order of the
// sums is the same everywhere.
constexpr int most_blocks = 132;
constexpr int padded_terms = row_pieces * piece_terms, sums = kernel * row_terms * out_channels;
// Products whose left sides are in registers at once: half a tile's.
constexpr int steps = tile_h / 2, steps_together = 4;

constexpr int input_at = tile_bytes, stage_bytes = input_at + swizzled_bytes(input_bytes);
constexpr int stages = 8, shared_bytes = stages * stage_bytes + 1024;  // to be aligned to 1024

struct arguments {
  inputs in;
  CUtensorMap dy;
  float* partial;  ///< [blocks, 7 * 7 * 3, 64]
};

__device__ void order_tiles(const arguments& a, uint32_t memory, uint64_t* full, uint64_t* empty) {
  const int tiles = tiles_of(a.in.out);
  for (int turn = 0, tile = blockIdx.x; tile < tiles; ++turn, tile += gridDim.x) {
    const int stage = turn % stages;
    const place p = place_of(tile, a.in.out);
    const uint32_t to = memory + stage * stage_bytes;
    wait(empty + stage, turn / stages % 2 ^ 1);
    arrive_expecting(full + stage, input_bytes + tile_bytes);
    copy_box(to, a.dy, full + stage, 0, p);
    copy_input(to + input_at, a.in, full + stage, p);
  }
}

/// The first of the lane's two terms, counted in rows of 24.
__device__ int first_term() {
  return (group() * warps_of_group + warp()) * 2 * piece_terms + 2 * row_of_lane();
}

/// The lane's terms of four pixels, two of one row and those below.
__device__ void load_terms(uint32_t at, uint32_t (&a)[4]) {
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    const uint32_t one = word_at(at + row * stride * row_bytes);
    const uint32_t next = word_at(at + row * stride * row_bytes + step_bytes);
    a[2 * row] = __byte_perm(one, next, 0x5410), a[2 * row + 1] = __byte_perm(one, next, 0x7632);
  }
}

__device__ void write_sums(const float (&d)[32], const inputs& in, float* to) {
  const int row = first_term() / padded_terms, term = first_term() % padded_terms;
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    const int at = term + i / 2 % 2, channel = i / 4 * 8 + 2 * member() + i % 2;
    if (row < kernel && in.counts(at))
      to[(row * row_terms + at - in.first) * out_channels + channel] = d[i];
  }
}

__device__ void multiply_tiles(const arguments& a, uint32_t memory, uint64_t* full,
                               uint64_t* empty) {
  constexpr int dy_row_bytes = tile_w * pixel_bytes;
  const int tiles = tiles_of(a.in.out), row = std::min(first_term() / padded_terms, kernel - 1);
  const uint32_t lane = input_at + a.in.offset + row * row_bytes + first_term() % padded_terms * 2 +
                        2 * member() * step_bytes;
  float d[32];
  int turn = 0;
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x, ++turn) {
    const int stage = turn % stages;
    const uint32_t at = memory + stage * stage_bytes;
    wait(full + stage, turn / stages % 2);
#pragma unroll
    for (int first = 0; first < steps; first += steps_together) {
      uint32_t left[steps_together][4];
#pragma unroll
      for (int i = 0; i < steps_together; ++i)
        load_terms(at + lane + (first + i) * 2 * stride * row_bytes, left[i]);
      begin_products();
#pragma unroll
      for (int i = 0; i < steps_together; ++i)
        multiply_add<true>(d, left[i], matrix_at(at + (first + i) * 2 * dy_row_bytes, dy_row_bytes),
                           turn + first + i > 0);
      commit_products();
      wait_products_before();
    }
    // The products of the tile before are done, those of the whole warp: its stage is free.
    if (threadIdx.x % 32 == 0 && turn > 0) arrive(empty + (turn - 1) % stages);
  }
  wait_products(d);
  write_sums(d, a.in, a.partial + long{blockIdx.x} * sums);
}

__global__ void __launch_bounds__(threads, 1)
    strided_stem_filter_kernel(const __grid_constant__ arguments a) {
  extern __shared__ char shared[];
  __shared__ uint64_t full[stages], empty[stages];
  const uint32_t memory = (shared_address(shared) + 1023) / 1024 * 1024;
  if (threadIdx.x == 0) {
    for (int i = 0; i < stages; ++i) {
      make_barrier(full + i, 1);
      make_barrier(empty + i, groups * warps_of_group);
    }
    publish_barriers();
  }
  __syncthreads();
  if (threadIdx.x < groups * group_threads)
    multiply_tiles(a, memory, full, empty);
  else if (threadIdx.x == groups * group_threads)
    order_tiles(a, memory, full, empty);
}

/// Adds the blocks' sums. A thread has an element.
__global__ void strided_stem_filter_total(const float* partial, int blocks, float* dw) {
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= sums) return;
  float sum = 0;
#pragma unroll 12
  for (int i = 0; i < blocks; ++i) sum += partial[long{i} * sums + at];
  dw[at] = sum;
}

int blocks_for(const convolution_shape& c) {
  return std::min(tiles_of({c.n, c.out_h, c.out_w}), most_blocks);
}

}  // namespace filter

}  // namespace

bool strided_stem_serves(const convolution_shape& c) {
  return c.c == in_channels && c.k == out_channels && c.kernel_h == kernel &&
         c.kernel_w == kernel && c.stride_h == stride && c.stride_w == stride && c.rate_h == 1 &&
         c.rate_w == 1 && c.w % 8 == 0;
}

void strided_stem_forward(const void* x, const void* weights_krsc, const void* bias, void* y,
                          const convolution_shape& c, bool relu, int multiprocessors,
                          CUstream_st* stream) {
  using namespace forward;
  arguments a{};
  a.in.out = {c.n, c.out_h, c.out_w};
  const int tiles = tiles_of(a.in.out);
  if (tiles == 0) return;
  a.in = inputs_of(x, c);
  a.y = boxes_of(y, a.in.out, out_channels, group_rows, tile_w);
  a.weights = static_cast<const unsigned short*>(weights_krsc);
  a.bias = static_cast<const unsigned short*>(bias), a.relu = relu;
  cudaFuncSetAttribute(strided_stem_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       forward::shared_bytes);
  strided_stem_kernel<<<std::min(tiles, blocks_together * multiprocessors), forward::threads,
                        forward::shared_bytes, stream>>>(a);
}

long strided_stem_filter_workspace(const convolution_shape& c) {
  return long{filter::blocks_for(c)} * filter::sums * long{sizeof(float)};
}

void strided_stem_backward_filter(const void* x, const void* dy, float* dw, void* workspace,
                                  const convolution_shape& c, CUstream_st* stream) {
  using namespace filter;
  const int blocks = blocks_for(c);
  if (blocks == 0) return;
  arguments a{};
  a.in = inputs_of(x, c);
  a.dy = boxes_of(dy, a.in.out, out_channels, tile_h, tile_w);
  a.partial = static_cast<float*>(workspace);
  cudaFuncSetAttribute(strided_stem_filter_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       filter::shared_bytes);
  strided_stem_filter_kernel<<<blocks, filter::threads, filter::shared_bytes, stream>>>(a);
  constexpr int block = 256;
  strided_stem_filter_total<<<(sums + block - 1) / block, block, 0, stream>>>(a.partial, blocks,
                                                                              dw);
}

}  // namespace slim::cuda
