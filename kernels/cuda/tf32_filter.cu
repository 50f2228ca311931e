#include "tf32_filter.hpp"

#include "filter_sums.cuh"
#include "tf32.cuh"

// A block has 64 filters, 64 channels (8, of which some are, where images have few) and every so
// many strips: 14 columns of four images, walked down row by row. A pixel of the four images is
//   [channels, 4 images],
// in shared memory: four terms of the sums next to one another, which is what tensor cores want of
// TF32 (wgmma's matrices without swizzle are made of such pieces, 8 x 16 bytes), and all taps of
// the filter take whole pixels, so that a tap moves only where the product starts to read. Four
// warps bring rows of the images and of the output's gradient into a ring; of three groups of four
// warps each has a row of the filter, whose products are
//   [64 filters, 3 * channels] += [64 filters, 2 pixels of 4 images] * [those, 3 * channels],
// the left side, the gradient, in registers. All sums stay in registers until the end.

namespace slim::cuda {
namespace {

constexpr int groups = 3, threads = (1 + groups) * group_threads;
// What loaders leave, products take: they need more than 128 for their sums.
constexpr int loader_registers = 104, product_registers = 136;
static_assert(loader_registers + groups * product_registers == (1 + groups) * 65536 / threads);
constexpr int together = 4;  // images
constexpr int columns = 14, x_columns = columns + 2, few_channels = 8;
// A channel of a pixel is four images; a pixel of the gradient.
constexpr int piece_bytes = together * 4, dy_pixel = block_filters * piece_bytes;

/// A slot of the ring: a row of the images, with a border, and one of the output's gradient.
template <int Channels>
struct ring {
  static constexpr int x_pixel = Channels * piece_bytes;
  static constexpr int dy_at = x_columns * x_pixel, slot = dy_at + columns * dy_pixel, slots = 7;
  static constexpr int bytes = slots * slot;
};

/// Strips of four images, numbered; a strip's rows take `steps` slots, a border above and below.
struct strips {
  images size;

  __host__ __device__ int across() const { return (size.w + columns - 1) / columns; }
  __host__ __device__ int count() const { return (size.n + together - 1) / together * across(); }
  __host__ __device__ int steps() const { return size.h + 2; }
  __device__ place first_of(int strip) const {
    return {strip / across() * together, 0, strip % across() * columns};
  }
};

struct arguments {
  const float *x, *dy;
  images size;
  halo_channels c;
  int in_blocks;
  float* partial;
};

/// Volatile, for the compiler would else move loads down to where their values are needed.
__device__ float load_now(const float* from, bool there) {
  float value;
  asm volatile(
      "{\n"
      ".reg .pred there;\n"
      "setp.ne.b32 there, %2, 0;\n"
      "mov.b32 %0, 0;\n"
      "@there ld.global.nc.f32 %0, [%1];\n"
      "}\n"
      : "=f"(value)
      : "l"(from), "r"(int{there}));
  return value;
}

// ---- Bringing rows ----

/// A thread's part of a row of four images, on its way through registers.
template <int Pixels, int Channels>
class row_part {
 public:
  __device__ row_part(const float* from, images size, int channels, int first_channel)
      : size_(size),
        channels_(channels),
        channel_(first_channel + threadIdx.x % Channels),
        from_(from + channel_) {}

  /// Starts to load a row from pixel `p` on; what is outside of the images is zero.
  __device__ void fetch(place p) {
    const int w = p.w + first_pixel();
    const long image = long{size_.h} * size_.w * channels_;
    const bool inside = p.h >= 0 && p.h < size_.h && channel_ < channels_;
    const float* const first = from_ + ((long{p.n} * size_.h + p.h) * size_.w + w) * channels_;
#pragma unroll
    for (int i = 0; i < pieces; ++i) {
      const int at = w + i * apart;
      const bool there = inside && at >= 0 && at < size_.w;
#pragma unroll
      for (int j = 0; j < together; ++j)
        values_[i][j] =
            load_now(first + j * image + i * apart * channels_, there && p.n + j < size_.n);
    }
  }
  __device__ void put(uint32_t row) const {
    const uint32_t to = row + threadIdx.x * piece_bytes;
#pragma unroll
    for (int i = 0; i < pieces; ++i)
      asm volatile(
          "st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to + i * group_threads * piece_bytes),
          "r"(to_tf32(values_[i][0])), "r"(to_tf32(values_[i][1])), "r"(to_tf32(values_[i][2])),
          "r"(to_tf32(values_[i][3]))
          : "memory");
  }

 private:
  static constexpr int pieces = Pixels * Channels / group_threads, apart = group_threads / Channels;
  static_assert(Pixels * Channels % group_threads == 0 && group_threads % Channels == 0);
  __device__ static int first_pixel() { return threadIdx.x / Channels; }

  images size_;
  int channels_, channel_;
  const float* from_;
  float values_[pieces][together];
};

/// The first group's work. Rows of the gradient are put a step later than those of the images:
/// meanwhile the others' loads are on their way.
template <int Channels>
__device__ void bring_rows(const arguments& a, uint32_t memory, uint64_t* full, uint64_t* empty) {
  using ring = ring<Channels>;
  const strips all{a.size};
  row_part<x_columns, Channels> x(a.x, a.size, a.c.in, blockIdx.y % a.in_blocks * Channels);
  row_part<columns, block_filters> dy(a.dy, a.size, a.c.out,
                                      blockIdx.y / a.in_blocks * block_filters);
  const auto finish = [&](int slot) {
    dy.put(memory + slot * ring::slot + ring::dy_at);
    publish_to_copies();
    arrive(full + slot);
  };
  int slot = 0, parity = 1, before = -1;
  for (int strip = blockIdx.x; strip < all.count(); strip += gridDim.x) {
    place p = all.first_of(strip);
    for (p.h = -1; p.h <= a.size.h; ++p.h) {
      x.fetch({p.n, p.h, p.w - 1});
      if (before >= 0) finish(before);
      dy.fetch(p);
      wait(empty + slot, parity);
      x.put(memory + slot * ring::slot);
      before = slot;
      if (++slot == ring::slots) slot = 0, parity ^= 1;
    }
  }
  if (before >= 0) finish(before);
}

// ---- Products ----

/// The lane's part of [64 filters, 2 pixels of 4 images] of the gradient.
__device__ void load_gradient(uint32_t pixel, uint32_t (&a)[4]) {
  const uint32_t at =
      pixel + threadIdx.x % group_threads / 32 * 16 * piece_bytes + threadIdx.x % 32 * 4;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    asm volatile("ld.shared.b32 %0, [%1];"
                 : "=r"(a[i])
                 : "r"(at + i % 2 * 8 * piece_bytes + i / 2 * dy_pixel)
                 : "memory");
}

/// What a group knows of the ring: steps are counted over all strips.
template <int Channels>
class reader {
 public:
  __device__ reader(uint32_t memory, uint64_t* full, uint64_t* empty)
      : memory_(memory), full_(full), empty_(empty) {}

  /// The slot of a step, once it is full.
  __device__ uint32_t slot(int step) const {
    const int turn = step / ring<Channels>::slots, at = step - turn * ring<Channels>::slots;
    wait(full_ + at, turn % 2);
    return memory_ + at * ring<Channels>::slot;
  }
  /// Frees all slots before a step's that was full: they were, too, even if not needed.
  __device__ void free_before(int step) {
    for (; freed_ < step; ++freed_) arrive(empty_ + freed_ % ring<Channels>::slots);
  }

 private:
  uint32_t memory_;
  uint64_t *full_, *empty_;
  int freed_ = 0;
};

template <int Channels>
__device__ void multiply_rows(const arguments& a, uint32_t memory, uint64_t* full,
                              uint64_t* empty) {
  using ring = ring<Channels>;
  const strips all{a.size};
  const int row = threadIdx.x / group_threads - 1;
  reader<Channels> from(memory, full, empty);
  float d[3 * Channels / 2];
  bool add = false;
  int first_step = 0;
  for (int strip = blockIdx.x; strip < all.count(); strip += gridDim.x) {
    for (int h = 0; h < a.size.h; ++h) {
      const int x_step = first_step + h + row, dy_step = first_step + h + 1;
      const uint32_t x = from.slot(x_step), dy = from.slot(dy_step) + ring::dy_at;
#pragma unroll
      for (int pixel = 0; pixel < columns; pixel += 2) {
        uint32_t left[4];
        load_gradient(dy + pixel * dy_pixel, left);
        begin_products();
        multiply_add_tf32(
            d, left, plain_matrix_at(x + pixel * ring::x_pixel, 8 * piece_bytes, ring::x_pixel),
            add);
        commit_products();
        wait_products_before();
        add = true;
      }
      // The products of the row before are done.
      from.free_before(min(x_step, dy_step));
    }
    first_step += all.steps();
  }
  wait_products(d);
  write_sums(d, sums_of_this_block<Channels>(a.partial) + row * 3 * Channels * block_filters);
}

template <int Channels>
__global__ void __launch_bounds__(threads, 1)
    tf32_filter_kernel(const __grid_constant__ arguments a) {
  extern __shared__ __align__(128) char shared[];
  __shared__ uint64_t full[ring<Channels>::slots], empty[ring<Channels>::slots];
  if (threadIdx.x == 0) {
    for (int i = 0; i < ring<Channels>::slots; ++i) {
      make_barrier(full + i, group_threads);
      make_barrier(empty + i, groups * group_threads);
    }
    publish_barriers();
  }
  __syncthreads();
  if (threadIdx.x >= group_threads) {
    take_registers<product_registers>();
    multiply_rows<Channels>(a, shared_address(shared), full, empty);
  } else {
    keep_registers<loader_registers>();
    bring_rows<Channels>(a, shared_address(shared), full, empty);
  }
}

int channels_of_block(halo_channels c) {
  return c.in <= few_channels ? few_channels : block_channels;
}

filter_division division_of(images size, halo_channels c) {
  return {strips{size}.count(), c, channels_of_block(c)};
}

template <int Channels>
void start(const arguments& a, const filter_division& d, float* dw, CUstream_st* stream) {
  constexpr auto kernel = tf32_filter_kernel<Channels>;
  constexpr int bytes = ring<Channels>::bytes;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  kernel<<<d.grid(), threads, bytes, stream>>>(a);
  start_filter_total<Channels>(a.partial, d, a.c, dw, stream);
}

}  // namespace

bool tf32_filter_serves(halo_channels c) {
  const int channels = channels_of_block(c);
  return c.out % block_filters == 0 && (channels == few_channels || c.in % channels == 0) &&
         filter_division::pairs_of(c, channels) <= filter_division::most_blocks / 2;
}

long tf32_filter_workspace(images size, halo_channels c) { return division_of(size, c).bytes(); }

void tf32_backward_filter(const float* x, const float* dy, float* dw, void* workspace, images size,
                          halo_channels c, CUstream_st* stream) {
  if (strips{size}.count() == 0 || size.h == 0) return;
  const filter_division d = division_of(size, c);
  const arguments a{x, dy, size, c, d.in_blocks, static_cast<float*>(workspace)};
  d.channels == few_channels ? start<few_channels>(a, d, dw, stream)
                             : start<block_channels>(a, d, dw, stream);
}

}  // namespace slim::cuda
