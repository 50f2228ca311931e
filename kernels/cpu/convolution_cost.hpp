#pragma once

// Which algorithm runs a convolution, by its static shape: a model of the cycles each would take on
// one core. bench/cpu_kernels measures all candidates beside the model's choice.

#include <slim/kernels/cpu/convolution_direct_filter.hpp>
#include <slim/kernels/cpu/winograd_filter.hpp>
#include <slim/kernels/cpu/winograd_product.hpp>

namespace slim::cpu {

/// dense: a product of matrices as they lie. direct: one that reads windows where they lie.
/// patches: one whose left operand is gathered. The others: Winograd's F(M, R), tiles of M x M
/// outputs under R x R windows.
enum class algorithm { dense, direct, patches, f2_3, f4_3, f6_3, f2_5, f4_5 };

constexpr bool is_winograd(algorithm a) { return a >= algorithm::f2_3; }

/// How a convolution is run, and whether from weights brought into the kernel's own form
/// beforehand.
struct convolution_plan {
  algorithm kind = algorithm::patches;
  bool prepared = false;
  double cycles = 0;  ///< of one core, for the full batch
};

namespace detail {

// What the measurements behind the model say of one core.
inline constexpr double product_share = 0.88;  // of the multiply-add peak, in a Winograd product
inline constexpr double direct_share = 0.85;   // the same in other products
inline constexpr double gather_share = 0.8;    // the same of gathered patches
inline constexpr double plane_cycles = 10;     // a tile's element in a register of channels
inline constexpr double weight_cycles = 6;     // the same of transformed weights
inline constexpr double bytes_a_cycle = 8;     // from memory, with the other cores at it, too
inline constexpr double not_hidden = 0.3;      // of the shorter of computing and reading weights

template <class T>
constexpr double multiply_cycles(double multiply_adds, double share) {
  return multiply_adds / (2.0 * width<T> * share);
}

constexpr double together(double a, double b) {
  return a < b ? b + not_hidden * a : a + not_hidden * b;
}

template <class W, class T>
constexpr convolution_plan winograd_cost(algorithm kind, const convolution_shape& s,
                                         bool may_prepare) {
  const int tiles = tile_grid<W>(s).tiles();
  const double c = round_up(s.c, width<T>), k = round_up(s.k, tile_columns<T>);
  const double transforms = plane_cycles * W::planes * tiles * (c + k) / width<T>;
  const auto product = [&](const winograd_plan<W, T>& plan) {
    const int chunks = divide_up(tiles, plan.chunk);
    const int chunk = divide_up(tiles, chunks);
    const double rows = chunks * rows_cost(chunk, best_height(chunk));
    return multiply_cycles<T>(W::planes * rows * c * k, product_share);
  };
  const winograd_plan<W, T> own(s, false), ready(s, true);
  const double weights = weight_cycles * W::planes * divide_up(tiles, own.chunk) * c * k / width<T>;
  const double raw = together(product(own) + transforms + weights,
                              double(s.weights()) * sizeof(T) / bytes_a_cycle);
  const double prepared =
      together(product(ready) + transforms, W::planes * c * k * sizeof(T) / bytes_a_cycle);
  if (may_prepare && prepared < raw) return {kind, true, prepared};
  return {kind, false, raw};
}

template <class T>
constexpr convolution_plan direct_cost(const convolution_shape& s, bool may_prepare) {
  const double k = round_up(s.k, tile_columns<T>), patch = s.patch();
  const bool direct = direct_supports<T>(s);
  const double rows = direct ? s.n * s.out_h * rows_cost(s.out_w, best_height(s.out_w))
                             : rows_cost(s.output_pixels(), tile_rows);
  const double gather = direct ? 0 : 2 * rows * patch / width<T> * divide_up(s.k, gemm_columns);
  const double product =
      multiply_cycles<T>(rows * patch * k, direct ? direct_share : gather_share) + gather;
  const double memory = double(s.weights()) * sizeof(T) / bytes_a_cycle;
  const double packing = may_prepare ? 0 : memory + 4 * patch * k / width<T>;
  return {direct ? algorithm::direct : algorithm::patches, may_prepare,
          together(product, memory) + packing};
}

}  // namespace detail

/// Whether a convolution is a product of matrices as they lie: a window that covers its whole
/// input, or a single element at stride 1.
constexpr bool is_dense(const convolution_shape& s) {
  const bool covers = s.out_h == 1 && s.out_w == 1 && s.pad_top == 0 && s.pad_left == 0 &&
                      s.kernel_h == s.h && s.kernel_w == s.w && s.rate_h == 1 && s.rate_w == 1;
  const bool pointwise = s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1;
  return covers || pointwise;
}

/// Calls f(algorithm, W{}) for each Winograd variant that can run the convolution.
template <class F>
constexpr void for_each_winograd(const convolution_shape& s, F&& f) {
  const auto offer = [&](algorithm kind, auto w) {
    if (winograd_supports<decltype(w)>(s)) f(kind, w);
  };
  offer(algorithm::f2_3, winograd<2, 3>{});
  offer(algorithm::f4_3, winograd<4, 3>{});
  offer(algorithm::f6_3, winograd<6, 3>{});
  offer(algorithm::f2_5, winograd<2, 5>{});
  offer(algorithm::f4_5, winograd<4, 5>{});
}

/// The cheapest way to run a convolution forward, or that of a gradient to its input as the
/// convolution that it is. `exact` leaves Winograd out.
template <class T>
constexpr convolution_plan plan_convolution(const convolution_shape& s, bool may_prepare,
                                            bool exact) {
  if (is_dense(s)) return {algorithm::dense, may_prepare, 0};
  convolution_plan best = detail::direct_cost<T>(s, may_prepare);
  if (exact) return best;
  for_each_winograd(s, [&](algorithm kind, auto w) {
    const auto cost = detail::winograd_cost<decltype(w), T>(kind, s, may_prepare);
    if (cost.cycles < best.cycles) best = cost;
  });
  return best;
}

/// The cheapest Winograd variant of a convolution, if one can run it at all.
template <class T>
constexpr convolution_plan plan_winograd(const convolution_shape& s, bool may_prepare) {
  convolution_plan best{};
  for_each_winograd(s, [&](algorithm kind, auto w) {
    const auto cost = detail::winograd_cost<decltype(w), T>(kind, s, may_prepare);
    if (best.cycles == 0 || cost.cycles < best.cycles) best = cost;
  });
  return best;
}

/// The cheapest way to the gradient of a convolution's weights. F(6,3) is left out: it rounds three
/// times as much as F(4,3) and was measured to be no faster.
template <class T>
constexpr convolution_plan plan_filter_gradient(const convolution_shape& s, bool exact) {
  using namespace detail;
  if (is_dense(s)) return {algorithm::dense, false, 0};
  const double k = round_up(s.k, tile_columns<T>);
  const bool direct = direct_filter_supports<T>(s);
  const double gather = direct ? 0 : 2.0 * s.output_pixels() * s.patch() / width<T>;
  convolution_plan best{direct ? algorithm::direct : algorithm::patches, false,
                        multiply_cycles<T>(s.output_pixels() * double(s.patch()) * k,
                                           direct ? direct_share : gather_share) +
                            gather};
  if (exact) return best;
  for_each_winograd(s, [&](algorithm kind, auto w) {
    using W = decltype(w);
    if (W::size > 6 && W::taps == 3) return;
    const double tiles = tile_grid<W>(s).tiles(), c = round_up(s.c, width<T>);
    const double cycles = multiply_cycles<T>(W::planes * tiles * c * k, product_share) +
                          plane_cycles * W::planes * (tiles * (c + k) + c * k) / width<T> +
                          2 * W::planes * c * k * sizeof(T) / bytes_a_cycle;
    if (cycles < best.cycles) best = {kind, false, cycles};
  });
  return best;
}

}  // namespace slim::cpu
