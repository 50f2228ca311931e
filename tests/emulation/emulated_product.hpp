// What exact_product.cuh says of tensor cores, for the emulation: behind what it says of shares.
#pragma once

#include <array>
#include <cstring>

namespace slim::cuda {

inline void show_factor() { __syncthreads(); }

/// The lanes' shares of the left side are gathered first.
template <int Columns>
void start_product(product_share<Columns>& d, const left_share& left,
                   const right_factor<Columns>& right) {
  static left_share of_all[product_threads / 32][32];  // by warp and lane
  const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  std::memcpy(of_all[warp][lane], left, sizeof left);
  double nothing = 0;
  emulation::exchange(&nothing, 0);
  for (int i = 0; i < Columns / 2; ++i) {
    const unsigned column = unsigned(i) / 4 * 8 + lane % 4 * 2 + unsigned(i) % 2;
    d[i] = 0;
    for (unsigned term = 0; term < product_depth; ++term) {
      const unsigned half = term / 16, four = term / 4 % 4, rest = term % 4;
      const auto part = [&](const auto& of) {
        const float4& piece = of[half][rest][column];
        return std::array{piece.x, piece.y, piece.z, piece.w}[four];
      };
      d[i] += of_all[warp][lane / 4 * 4 + four][i / 2 % 2][half][rest] *
              (part(right.high) + part(right.low));
    }
  }
  emulation::exchange(&nothing, 0);
}
template <class Share>
void wait_products(Share&) {}

}  // namespace slim::cuda
