// Hopper's own instructions, as the kernels of convolutions use them: barriers in shared memory,
// copies of boxes of NHWC images (TMA), products of warp groups. PTX ISA 8.0 has them.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

#include <slim/error.hpp>

#include "halo_convolution.hpp"
#include "stem_convolution.hpp"

namespace slim::cuda {

using std::uint32_t;
using std::uint64_t;

inline constexpr int warps_of_group = 4;  // which make a product together
inline constexpr int group_threads = 32 * warps_of_group;

// Tiles of 16 x 8 pixels of 64 channels, in shared memory with a border of one pixel: a pixel is a
// row of 128 bytes, whose pieces of 16 bytes are swizzled by the row's address.
inline constexpr int block_channels = 64, pixel_bytes = block_channels * 2;
inline constexpr int tile_h = 16, tile_w = 8, halo_h = tile_h + 2, halo_w = tile_w + 2;
inline constexpr int tile_bytes = tile_h * tile_w * pixel_bytes;
inline constexpr int halo_bytes = halo_h * halo_w * pixel_bytes;

constexpr int swizzled_bytes(int bytes) { return (bytes + 1023) / 1024 * 1024; }

// ---- Walking the tiles ----

struct place {
  int n, h, w;
};

__device__ inline place place_of(int tile, images size) {
  const int across = (size.w + tile_w - 1) / tile_w, down = (size.h + tile_h - 1) / tile_h;
  const int row = tile / across;
  return {row / down, row % down * tile_h, tile % across * tile_w};
}
__host__ __device__ constexpr int tiles_of(images size) {
  return size.n * ((size.w + tile_w - 1) / tile_w) * ((size.h + tile_h - 1) / tile_h);
}

// ---- Shared memory and its barriers ----

__device__ inline uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
__device__ inline void make_barrier(uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals));
}
/// Behind all make_barrier, before the block's __syncthreads: shows them to copies, too.
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ inline void arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
/// Arrives; the phase ends when so many bytes have come, too.
__device__ inline void arrive_expecting(uint64_t* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(bytes)
               : "memory");
}
/// Waits for the end of the phase of this parity.
__device__ inline void wait(uint64_t* barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}
/// A barrier of the 128 threads of a group, by its number.
__device__ inline void synchronize_group(int number) {
  asm volatile("bar.sync %0, %1;" ::"r"(1 + number), "n"(group_threads) : "memory");
}

/// Takes or gives back registers, so that each of the warp group's threads has so many.
template <int Count>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count));
}
template <int Count>
__device__ inline void keep_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count));
}

// ---- Copies of boxes ----

/// Brings a description of boxes near.
__device__ inline void prefetch_boxes(const CUtensorMap& boxes) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&boxes) : "memory");
}
/// Starts to copy a box of images into shared memory: from this channel and place on, zero outside
/// of the image.
__device__ inline void copy_box(uint32_t to, const CUtensorMap& from, uint64_t* barrier,
                                int channel, place p) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5}], [%6];" ::"r"(to),
      "l"(&from), "r"(channel), "r"(p.w), "r"(p.h), "r"(p.n), "r"(shared_address(barrier))
      : "memory");
}
/// Starts to copy bytes, in multiples of 16, into shared memory.
__device__ inline void copy_bytes(uint32_t to, const void* from, int bytes, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(to),
      "l"(from), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
}
/// Starts to copy a box back, but for what is outside of the image.
__device__ inline void store_box(const CUtensorMap& to, uint32_t from, int channel, place p) {
  asm volatile(
      "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%1, %2, %3, %4}], [%5];" ::"l"(
          &to),
      "r"(channel), "r"(p.w), "r"(p.h), "r"(p.n), "r"(from)
      : "memory");
}
__device__ inline void commit_stores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
/// Until the thread's stores have read shared memory.
__device__ inline void wait_stores_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
/// Shows what threads wrote into shared memory to copies.
__device__ inline void publish_to_copies() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// Stores four 8x8 matrices of bf16 that lie over a warp as sums of products do, or one, turned:
/// lanes name the places of the columns, eight lanes a matrix.
__device__ inline void store_turned(uint32_t to, const uint32_t (&matrices)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to),
               "r"(matrices[0]), "r"(matrices[1]), "r"(matrices[2]), "r"(matrices[3])
               : "memory");
}
__device__ inline void store_turned(uint32_t to, uint32_t matrix) {
  asm volatile("stmatrix.sync.aligned.m8n8.x1.trans.shared.b16 [%0], {%1};" ::"r"(to), "r"(matrix)
               : "memory");
}

// ---- Products ----

/// A matrix in shared memory, swizzled by 128 bytes, as wgmma's descriptor. `groups_apart`: bytes
/// from eight rows of 128 bytes to the next eight; `pieces_apart`: from 64 columns to the next, of
/// a turned matrix. The swizzle follows the address, so that a matrix may begin at any row.
__device__ inline uint64_t matrix_at(uint32_t address, int groups_apart, int pieces_apart = 16) {
  constexpr uint64_t swizzled_by_128_bytes = uint64_t{1} << 62;
  return swizzled_by_128_bytes | uint64_t(groups_apart / 16) << 32 |
         uint64_t(pieces_apart / 16) << 16 | address >> 4;
}
/// Rows of 128 bytes, swizzled, as descriptors of the matrices that begin so many bytes behind.
class product_rows {
 public:
  __device__ explicit product_rows(uint32_t address)
      : low_(static_cast<uint32_t>(matrix_at(address, 0))) {}
  __device__ uint64_t at(int bytes) const {
    return (matrix_at(0, 8 * pixel_bytes) & ~uint64_t{0xffffffff}) | (low_ + bytes / 16);
  }

 private:
  uint32_t low_;
};
/// A matrix without swizzle, of pieces of 8 rows x 16 bytes: `groups_apart` bytes from eight rows
/// to the next, `pieces_apart` from 16 bytes of a row to the next.
__device__ inline uint64_t plain_matrix_at(uint32_t address, int groups_apart, int pieces_apart) {
  return uint64_t(groups_apart / 16) << 32 | uint64_t(pieces_apart / 16) << 16 | address >> 4;
}
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Operands "+f" of the sums d.
#define SLIM_4_SUMS(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SLIM_16_SUMS(i) SLIM_4_SUMS(i), SLIM_4_SUMS(i + 4), SLIM_4_SUMS(i + 8), SLIM_4_SUMS(i + 12)
#define SLIM_64_SUMS(i) \
  SLIM_16_SUMS(i), SLIM_16_SUMS(i + 16), SLIM_16_SUMS(i + 32), SLIM_16_SUMS(i + 48)
#define SLIM_SUMS_0_TO_31                                                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define SLIM_SUMS_0_TO_63                                                                \
  SLIM_SUMS_0_TO_31                                                                      \
      ", "                                                                               \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define SLIM_SUMS_0_TO_95                                                                \
  SLIM_SUMS_0_TO_63                                                                      \
      ", "                                                                               \
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"

#define SLIM_SUMS_0_TO_115                                                      \
  SLIM_SUMS_0_TO_95                                                             \
      ", "                                                                      \
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, "    \
      "%108, %109, %110, %111, %112, %113, %114, %115"

/// d [64, 64] = a [64, 16] * b [16, 64], plus d if `add`; a in registers, b [64, 16] in memory, or
/// turned [16, 64].
template <bool Turned>
__device__ inline void multiply_add(float (&d)[32], const uint32_t (&a)[4], uint64_t b, bool add) {
  asm volatile(
      "{\n"
      ".reg .pred adds;\n"
      "setp.ne.b32 adds, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" SLIM_SUMS_0_TO_31
      "}, {%32, %33, %34, %35}, %36, adds, 1, 1, %38;\n"
      "}\n"
      : SLIM_16_SUMS(0), SLIM_16_SUMS(16)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{add}), "n"(int{Turned}));
}
/// d [64, 128] = a [64, 16] * b [16, 128], plus d if `add`; a in registers, b [128, 16] in memory.
__device__ inline void multiply_add(float (&d)[64], const uint32_t (&a)[4], uint64_t b, bool add) {
  asm volatile(
      "{\n"
      ".reg .pred adds;\n"
      "setp.ne.b32 adds, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" SLIM_SUMS_0_TO_63
      "}, {%64, %65, %66, %67}, %68, adds, 1, 1, 0;\n"
      "}\n"
      : SLIM_64_SUMS(0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{add}));
}

/// Both in memory: d [64, 64], a [64, 16], b [64, 16].
__device__ inline void multiply_add(float (&d)[32], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{\n"
      ".reg .pred adds;\n"
      "setp.ne.b32 adds, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" SLIM_SUMS_0_TO_31
      "}, %32, %33, adds, 1, 1, 0, 0;\n"
      "}\n"
      : SLIM_16_SUMS(0), SLIM_16_SUMS(16)
      : "l"(a), "l"(b), "r"(int{add}));
}
/// Both in memory: d [64, 128], a [64, 16], b [128, 16].
__device__ inline void multiply_add(float (&d)[64], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{\n"
      ".reg .pred adds;\n"
      "setp.ne.b32 adds, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" SLIM_SUMS_0_TO_63
      "}, %64, %65, adds, 1, 1, 0, 0;\n"
      "}\n"
      : SLIM_64_SUMS(0)
      : "l"(a), "l"(b), "r"(int{add}));
}

/// Both in memory: d [64, 232], a [64, 16], b [232, 16].
__device__ inline void multiply_add(float (&d)[116], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{\n"
      ".reg .pred adds;\n"
      "setp.ne.b32 adds, %118, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n232k16.f32.bf16.bf16 {" SLIM_SUMS_0_TO_115
      "}, %116, %117, adds, 1, 1, 0, 0;\n"
      "}\n"
      : SLIM_64_SUMS(0), SLIM_16_SUMS(64), SLIM_16_SUMS(80), SLIM_16_SUMS(96), SLIM_4_SUMS(112)
      : "l"(a), "l"(b), "r"(int{add}));
}

/// d [64, 192] = a [64, 16] * b [16, 192], plus d if `add`; both turned in memory: a [16, 64], b
/// [16, 192].
__device__ inline void multiply_add_turned(float (&d)[96], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{\n"
      ".reg .pred adds;\n"
      "setp.ne.b32 adds, %98, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {" SLIM_SUMS_0_TO_95
      "}, %96, %97, adds, 1, 1, 1, 1;\n"
      "}\n"
      : SLIM_64_SUMS(0), SLIM_16_SUMS(64), SLIM_16_SUMS(80)
      : "l"(a), "l"(b), "r"(int{add}));
}

/// d [64, n] = a [64, 8] * b [8, n] in TF32, plus d if `add`; a in registers, b [n, 8] in memory.
/// d has n / 2 sums of a lane; the operands behind them are numbered from there.
#define SLIM_MULTIPLY_ADD_TF32(n, numbers, a0, a1, a2, a3, at, adds, ...)                       \
  __device__ inline void multiply_add_tf32(float(&d)[n / 2], const uint32_t(&a)[4], uint64_t b, \
                                           bool add) {                                          \
    asm volatile(                                                                               \
        "{\n"                                                                                   \
        ".reg .pred adds;\n"                                                                    \
        "setp.ne.b32 adds, " adds                                                               \
        ", 0;\n"                                                                                \
        "wgmma.mma_async.sync.aligned.m64n" #n "k8.f32.tf32.tf32 {" numbers                     \
        "}, "                                                                                   \
        "{" a0 ", " a1 ", " a2 ", " a3 "}, " at                                                 \
        ", adds, 1, 1;\n"                                                                       \
        "}\n"                                                                                   \
        : __VA_ARGS__                                                                           \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{add}));                   \
  }
SLIM_MULTIPLY_ADD_TF32(24, "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11", "%12", "%13", "%14",
                       "%15", "%16", "%17", SLIM_4_SUMS(0), SLIM_4_SUMS(4), SLIM_4_SUMS(8))
SLIM_MULTIPLY_ADD_TF32(32, "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15",
                       "%16", "%17", "%18", "%19", "%20", "%21", SLIM_16_SUMS(0))
SLIM_MULTIPLY_ADD_TF32(64, SLIM_SUMS_0_TO_31, "%32", "%33", "%34", "%35", "%36", "%37",
                       SLIM_16_SUMS(0), SLIM_16_SUMS(16))
SLIM_MULTIPLY_ADD_TF32(192, SLIM_SUMS_0_TO_95, "%96", "%97", "%98", "%99", "%100", "%101",
                       SLIM_64_SUMS(0), SLIM_16_SUMS(64), SLIM_16_SUMS(80))
#undef SLIM_MULTIPLY_ADD_TF32
/// The same, both in memory: d [64, 128], a [64, 8], b [128, 8].
__device__ inline void multiply_add_tf32(float (&d)[64], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{\n"
      ".reg .pred adds;\n"
      "setp.ne.b32 adds, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 {" SLIM_SUMS_0_TO_63
      "}, %64, %65, adds, 1, 1;\n"
      "}\n"
      : SLIM_64_SUMS(0)
      : "l"(a), "l"(b), "r"(int{add}));
}

/// Waits until at most the products that were committed last are unfinished.
__device__ inline void wait_products_before() {
  asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
}
/// Waits for all products, whose sums may then be read.
#define SLIM_WAIT_PRODUCTS(sums, ...)                                         \
  __device__ inline void wait_products(float(&d)[sums]) {                     \
    asm volatile("wgmma.wait_group.sync.aligned 0;" : __VA_ARGS__::"memory"); \
  }
SLIM_WAIT_PRODUCTS(12, SLIM_4_SUMS(0), SLIM_4_SUMS(4), SLIM_4_SUMS(8))
SLIM_WAIT_PRODUCTS(16, SLIM_16_SUMS(0))
SLIM_WAIT_PRODUCTS(32, SLIM_16_SUMS(0), SLIM_16_SUMS(16))
SLIM_WAIT_PRODUCTS(64, SLIM_64_SUMS(0))
SLIM_WAIT_PRODUCTS(96, SLIM_64_SUMS(0), SLIM_16_SUMS(64), SLIM_16_SUMS(80))
SLIM_WAIT_PRODUCTS(116, SLIM_64_SUMS(0), SLIM_16_SUMS(64), SLIM_16_SUMS(80), SLIM_16_SUMS(96),
                   SLIM_4_SUMS(112))
#undef SLIM_WAIT_PRODUCTS
#undef SLIM_SUMS_0_TO_115
#undef SLIM_SUMS_0_TO_95
#undef SLIM_SUMS_0_TO_63
#undef SLIM_SUMS_0_TO_31
#undef SLIM_64_SUMS
#undef SLIM_16_SUMS
#undef SLIM_4_SUMS

// ---- Host ----

using encode_function = decltype(&cuTensorMapEncodeTiled);

/// The driver's function, so that nothing links the driver.
inline encode_function box_encoder() {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result{};
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault,
                                       &result) != cudaSuccess ||
      result != cudaDriverEntryPointSuccess)
    throw error("CUDA: the driver has no cuTensorMapEncodeTiled");
  return reinterpret_cast<encode_function>(found);
}

/// Floats may be rounded to TF32 on their way.
enum class box_number { bf16, f32, tf32, byte };

/// How images [n, h, w, c] are cut into boxes of rows x columns of 128 bytes of channels, swizzled;
/// of bytes, of 64 channels, plain.
inline CUtensorMap boxes_of(const void* data, images size, int c, int rows, int columns,
                            box_number number = box_number::bf16) {
  static const encode_function encode = box_encoder();
  const auto u = [](long value) { return static_cast<cuuint64_t>(value); };
  const bool bytes = number == box_number::byte;
  const int each = bytes ? 1 : number == box_number::bf16 ? 2 : 4;
  const auto type = bytes                        ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                    : each == 2                  ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                    : number == box_number::tf32 ? CU_TENSOR_MAP_DATA_TYPE_TFLOAT32
                                                 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  const long pixel = long{c} * each;
  const cuuint64_t dims[] = {u(c), u(size.w), u(size.h), u(size.n)};
  const cuuint64_t strides[] = {u(pixel), u(size.w * pixel), u(long{size.h} * size.w * pixel)};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(bytes ? block_channels : pixel_bytes / each),
                            static_cast<cuuint32_t>(columns), static_cast<cuuint32_t>(rows), 1};
  const cuuint32_t steps[] = {1, 1, 1, 1};
  CUtensorMap map;
  if (encode(&map, type, 4, const_cast<void*>(data), dims, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE,
             bytes ? CU_TENSOR_MAP_SWIZZLE_NONE : CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) != CUDA_SUCCESS)
    throw error("CUDA: images of a convolution cannot be described to the driver");
  return map;
}

}  // namespace slim::cuda
