#include "filter_sums.cuh"

// The weights' gradient of 3x3 convolutions: [64 filters, 9 taps of 64 channels], a sum over
// pixels. A block has 64 filters, 64 channels and every so many tiles; a warp orders the tiles,
// that of the output's gradient and that of the images with its border. Of three groups of four
// warps each has a row of the filter, whose products are
//   [64 filters, 3 * 64 channels] += [64 filters, 16 pixels] * [16 pixels, 3 * 64 channels],
// both sides turned in shared memory: 16 pixels are two rows of a tile, and the three taps are the
// same pixels, each time moved by one. All sums stay in registers until the end.

namespace slim::cuda {
namespace {

constexpr int groups = 3, threads = (1 + groups) * group_threads;

// A stage: a tile of the images with its border, then one of the output's gradient.
constexpr int dy_at = swizzled_bytes(halo_bytes), stage_bytes = dy_at + tile_bytes, stages = 5;
constexpr int shared_bytes = stages * stage_bytes + 1024;  // to be aligned to 1024

struct arguments {
  CUtensorMap x, dy;
  images size;
  int in_blocks;
  float* partial;
};

__device__ void order_tiles(const arguments& a, uint32_t memory, uint64_t* full, uint64_t* empty) {
  const int channel = blockIdx.y % a.in_blocks * block_channels;
  const int filter = blockIdx.y / a.in_blocks * block_filters, tiles = tiles_of(a.size);
  for (int turn = 0, tile = blockIdx.x; tile < tiles; ++turn, tile += gridDim.x) {
    const int stage = turn % stages;
    const place p = place_of(tile, a.size);
    const uint32_t to = memory + stage * stage_bytes;
    wait(empty + stage, turn / stages % 2 ^ 1);
    arrive_expecting(full + stage, halo_bytes + tile_bytes);
    copy_box(to, a.x, full + stage, channel, {p.n, p.h - 1, p.w - 1});
    copy_box(to + dy_at, a.dy, full + stage, filter, p);
  }
}

__device__ void multiply_tiles(const arguments& a, uint32_t memory, uint64_t* full,
                               uint64_t* empty) {
  constexpr int row_bytes = halo_w * pixel_bytes, dy_row_bytes = tile_w * pixel_bytes;
  const int row = threadIdx.x / group_threads - 1, tiles = tiles_of(a.size);
  const bool leads_warp = threadIdx.x % 32 == 0;
  float d[96];
  int turn = 0;
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x, ++turn) {
    const int stage = turn % stages;
    const uint32_t at = memory + stage * stage_bytes;
    wait(full + stage, turn / stages % 2);
    begin_products();
#pragma unroll
    for (int h = 0; h < tile_h; h += 2)
      multiply_add_turned(d, matrix_at(at + dy_at + h * dy_row_bytes, dy_row_bytes),
                          matrix_at(at + (h + row) * row_bytes, row_bytes, pixel_bytes),
                          turn + h > 0);
    commit_products();
    // The products before are done: their stage is free.
    wait_products_before();
    if (leads_warp && turn > 0) arrive(empty + (turn - 1) % stages);
  }
  wait_products(d);
  write_sums(
      d, sums_of_this_block<block_channels>(a.partial) + row * 3 * block_channels * block_filters);
}

__global__ void __launch_bounds__(threads, 1) filter_kernel(const __grid_constant__ arguments a) {
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
  if (threadIdx.x >= group_threads)
    multiply_tiles(a, memory, full, empty);
  else if (threadIdx.x == 0)
    order_tiles(a, memory, full, empty);
}

filter_division division_of(images size, halo_channels c) {
  return {tiles_of(size), c, block_channels};
}

}  // namespace

bool halo_serves_backward_filter(halo_channels c) {
  return c.in % block_channels == 0 && c.out % block_filters == 0 &&
         filter_division::pairs_of(c, block_channels) <= filter_division::most_blocks / 4;
}

long halo_filter_workspace(images size, halo_channels c) { return division_of(size, c).bytes(); }

void halo_backward_filter(const void* x, const void* dy, float* dw, void* workspace, images size,
                          halo_channels c, CUstream_st* stream) {
  if (tiles_of(size) == 0) return;
  const filter_division d = division_of(size, c);
  arguments a{};
  a.x = boxes_of(x, size, c.in, halo_h, halo_w);
  a.dy = boxes_of(dy, size, c.out, tile_h, tile_w);
  a.size = size, a.in_blocks = d.in_blocks, a.partial = static_cast<float*>(workspace);
  cudaFuncSetAttribute(filter_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  filter_kernel<<<d.grid(), threads, shared_bytes, stream>>>(a);
  start_filter_total<block_channels>(a.partial, d, c, dw, stream);
}

}  // namespace slim::cuda
