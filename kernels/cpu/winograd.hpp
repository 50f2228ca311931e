#pragma once

// 3 x 3 convolutions of stride 1 by Winograd's minimal filtering (Lavin & Gray 2015,
// arXiv:1509.09308) on tiles of M x M outputs, M = 2, 4 or 6: 2.25, 4 or 5.06 times fewer
// multiplications than the direct sum. All tensors are row-major: x [n, h, w, c], w [3, 3, c, k],
// y [n, out_h, out_w, k]. Results are the same bits for any number of threads.

#include <cstdint>

#include <slim/kernels/cpu/winograd_outputs.hpp>
#include <slim/kernels/cpu/winograd_product.hpp>
#include <slim/kernels/cpu/winograd_tiles.hpp>

namespace slim::cpu {

namespace detail {

// Runs a convolution and hands its outputs to one of the kinds in winograd_outputs.hpp.
template <int M, class T, class Output>
void winograd_run(const convolution_shape& s, const T* x, const T* w, const Output& output, T* v,
                  cpu_device& device) {
  constexpr int size = winograd<M>::size, panel = tile_columns<T>;
  constexpr int plane = winograd_plan<M, T>::product_plane;
  const tile_grid<M> grid(s);
  winograd_product<M, T> product(s, x, w, v, device);
  product.run([&](int first, int tiles, int k, const T* from) {
    for (int tile = 0; tile < tiles; ++tile, from += panel) {
      const auto at = grid.at(first + tile), next = grid.at(first + tile + 1);
      if (tile + 1 < tiles) output.prefetch(s, next.image, next.row, next.column, k);
      for (int l = 0; l < panel; l += width<T>) {
        auto place = output.at(s, at.image, at.row, at.column, k + l);
        transform_square<typename winograd<M>::output, T>(
            [&](int i, int j) { return vec<T>::loadu(from + (i * size + j) * plane + l); },
            [&](int i, const vec<T>(&row)[M]) { place.row(i, row); });
      }
    }
  });
}

// The convolution of dy that yields the gradient to x: the taps turned round, c and k exchanged.
constexpr convolution_shape winograd_gradient_shape(const convolution_shape& s) {
  return {s.n, s.out_h,       s.out_w,        s.k, 3,   3,  1, 1, 1,
          1,   2 - s.pad_top, 2 - s.pad_left, s.h, s.w, s.c};
}

// to [3, 3, k, c] = the weights w [3, 3, c, k], turned round and transposed.
template <class T>
void turn_weights(const convolution_shape& s, const T* w, T* to, cpu_device& device) {
  constexpr int block = 64;
  const std::ptrdiff_t tap = std::ptrdiff_t(s.c) * s.k;
  const int blocks = divide_up(s.k, block);
  device.parallel(9 * blocks, [&](int task, int) {
    const int k = task % blocks * block;
    transpose(to + (8 - task / blocks) * tap + std::ptrdiff_t(k) * s.c, s.c,
              w + task / blocks * tap + k, s.k, std::min(block, s.k - k), s.c);
  });
}

}  // namespace detail

/// Elements of T that winograd_forward and winograd_forward_max_pool need as workspace.
template <int M, class T>
constexpr std::size_t winograd_forward_workspace(const convolution_shape& s) {
  return detail::winograd_plan<M, T>(s).workspace();
}

/// y = Act(convolution(x, w) + bias); bias [k] may be null.
template <int M, class Act, class T>
void winograd_forward(const convolution_shape& s, const T* x, const T* w, const T* bias, T* y,
                      T* workspace, cpu_device& device) {
  detail::winograd_run<M>(s, x, w, detail::winograd_activation<M, Act, T>{bias, y}, workspace,
                          device);
}

template <int M, class T>
constexpr std::size_t winograd_forward_max_pool_workspace(const convolution_shape& s) {
  return winograd_forward_workspace<M, T>(s);
}

/// pooled [n, out_h / 2, out_w / 2, k] = 2 x 2 max pooling of stride 2 (VALID: an odd last row or
/// column is left out) of Act(convolution(x, w) + bias), which is not written itself. argmax
/// (nullable, shaped like pooled) = which of the window's four was the first largest, in row-major
/// order.
template <int M, class Act, class T>
void winograd_forward_max_pool(const convolution_shape& s, const T* x, const T* w, const T* bias,
                               T* pooled, std::uint8_t* argmax, T* workspace, cpu_device& device) {
  detail::winograd_run<M>(s, x, w, detail::winograd_max_pool<M, Act, T>{bias, pooled, argmax},
                          workspace, device);
}

/// Elements of T that winograd_backward_data needs as workspace.
template <int M, class T>
constexpr std::size_t winograd_backward_data_workspace(const convolution_shape& s) {
  return round_up_size(s.weights(), line<T>) +
         detail::winograd_plan<M, T>(detail::winograd_gradient_shape(s)).workspace();
}

/// dx [n, h, w, c] = the gradient of the convolution (of shape s) to its input, given dy. If
/// y_previous (shaped like x: the output of the activation Act that made x) is not null,
/// dx = Act::backward(dx, y_previous).
template <int M, class Act, class T>
void winograd_backward_data(const convolution_shape& s, const T* dy, const T* w,
                            const T* y_previous, T* dx, T* workspace, cpu_device& device) {
  detail::turn_weights(s, w, workspace, device);
  detail::winograd_run<M>(detail::winograd_gradient_shape(s), dy, workspace,
                          detail::winograd_gradient<M, Act, T>{y_previous, dx},
                          workspace + round_up_size(s.weights(), line<T>), device);
}

}  // namespace slim::cpu
