#pragma once

// Square convolutions of stride 1 by Winograd's minimal filtering (Lavin & Gray 2015,
// arXiv:1509.09308). W is winograd<M, R>: R x R windows on tiles of M x M outputs, with R^2 M^2 /
// (M + R - 1)^2 times fewer multiplications than the direct sum (3 x 3: 2.25, 4 or 5.06 for M = 2,
// 4, 6). All tensors are row-major: x [n, h, w, c], w [R, R, c, k], y [n, out_h, out_w, k]. Results
// are the same bits for any number of threads.

#include <cstdint>
#include <string_view>

#include <slim/kernels/cpu/winograd_outputs.hpp>
#include <slim/kernels/cpu/winograd_product.hpp>
#include <slim/kernels/cpu/winograd_tiles.hpp>

namespace slim::cpu {

namespace detail {

// Runs a convolution and hands its outputs to one of the kinds in winograd_outputs.hpp.
template <class W, class T, class Output>
void winograd_run(const convolution_shape& s, const T* x, const winograd_weights<T>& w,
                  const Output& output, T* v, cpu_device& device) {
  constexpr int size = W::size, panel = tile_columns<T>;
  constexpr int plane = winograd_plan<W, T>::product_plane;
  const tile_grid<W> grid(s);
  winograd_product<W, T> product(s, x, w, v, device);
  product.run([&](int first, int tiles, int k, const T* from) {
    for (int tile = 0; tile < tiles; ++tile, from += panel) {
      const auto at = grid.at(first + tile), next = grid.at(first + tile + 1);
      if (tile + 1 < tiles) output.prefetch(s, next.image, next.row, next.column, k);
      for (int l = 0; l < panel && k + l < s.k; l += width<T>) {
        auto place = output.at(s, at.image, at.row, at.column, k + l, s.k - k - l);
        transform_square<typename W::output, T>(
            [&](int i, int j) { return vec<T>::loadu(from + (i * size + j) * plane + l); },
            [&](int i, const vec<T>(&row)[W::outputs]) { place.row(i, row); });
      }
    }
  });
}

// The convolution of dy that yields the gradient to x: the taps turned round, c and k exchanged.
template <class W>
constexpr convolution_shape winograd_gradient_shape(const convolution_shape& s) {
  constexpr int last = W::taps - 1;
  return {s.n, s.out_h,          s.out_w,           s.k, W::taps, W::taps, 1, 1, 1,
          1,   last - s.pad_top, last - s.pad_left, s.h, s.w,     s.c};
}

// to [R, R, k, c] = the weights w [R, R, c, k], turned round and transposed.
template <class W, class T>
void turn_weights(const convolution_shape& s, const T* w, T* to, cpu_device& device) {
  constexpr int block = 64, taps = W::taps * W::taps;
  const std::ptrdiff_t tap = std::ptrdiff_t(s.c) * s.k;
  const int blocks = divide_up(s.k, block);
  device.parallel(taps * blocks, [&](int task, int) {
    const int k = task % blocks * block;
    transpose(to + (taps - 1 - task / blocks) * tap + std::ptrdiff_t(k) * s.c, s.c,
              w + task / blocks * tap + k, s.k, std::min(block, s.k - k), s.c);
  });
}

}  // namespace detail

/// How the report calls W's kernels.
template <class W>
constexpr std::string_view winograd_name(bool pool) {
  constexpr int m = W::outputs, r = W::taps;
  if (r == 5 && pool) return m == 2 ? "winograd F(2,5)+pool" : "winograd F(4,5)+pool";
  if (r == 5) return m == 2 ? "winograd F(2,5)" : "winograd F(4,5)";
  if (pool)
    return m == 2   ? "winograd F(2,3)+pool"
           : m == 4 ? "winograd F(4,3)+pool"
                    : "winograd F(6,3)+pool";
  return m == 2 ? "winograd F(2,3)" : m == 4 ? "winograd F(4,3)" : "winograd F(6,3)";
}

/// Elements of the transformed weights of a convolution from c to k channels.
template <class W, class T>
constexpr std::size_t winograd_prepared_size(const convolution_shape& s) {
  return std::size_t(divide_up(s.k, tile_columns<T>)) *
         std::size_t(detail::winograd_plan<W, T>(s, true).panel_size());
}

/// u [winograd_prepared_size] = the weights w [R, R, c, k], each column times its scale [k]
/// (nullable), transformed for winograd_forward.
template <class W, class T>
void winograd_prepare(const convolution_shape& s, const T* w, const T* scale, T* u,
                      cpu_device& device) {
  const detail::winograd_plan<W, T> plan(s, true);
  constexpr int panel = tile_columns<T>;
  device.parallel(divide_up(s.k, panel) * plan.channel_blocks, [&](int task, int) {
    const int column = task / plan.channel_blocks, block = task % plan.channel_blocks;
    const int channel = block * plan.block_channels, channels = plan.channels_of(block);
    T* to = u + column * plan.panel_size() + std::ptrdiff_t(channel) * W::planes * panel;
    detail::winograd_transform_weights<W>(s.c, s.k, w, scale, channel, channels, column * panel, to,
                                          std::ptrdiff_t(channels) * panel);
  });
}

/// Elements of T that winograd_forward and winograd_forward_max_pool need as workspace.
template <class W, class T>
constexpr std::size_t winograd_forward_workspace(const convolution_shape& s, bool prepared) {
  return detail::winograd_plan<W, T>(s, prepared).workspace();
}

/// y = Act(convolution(x, w) + bias + residual); bias [k] and residual (shaped like y) may be null.
template <class W, class Act, class T>
void winograd_forward(const convolution_shape& s, const T* x, const winograd_weights<T>& w,
                      const T* bias, const T* residual, T* y, T* workspace, cpu_device& device) {
  detail::winograd_run<W>(s, x, w,
                          detail::winograd_activation<W::outputs, Act, T>{bias, residual, y},
                          workspace, device);
}

/// pooled [n, out_h / 2, out_w / 2, k] = 2 x 2 max pooling of stride 2 (VALID: an odd last row or
/// column is left out) of Act(convolution(x, w) + bias), which is not written itself. argmax
/// (nullable, shaped like pooled) = which of the window's four was the first largest, in row-major
/// order.
template <class W, class Act, class T>
void winograd_forward_max_pool(const convolution_shape& s, const T* x, const winograd_weights<T>& w,
                               const T* bias, T* pooled, std::uint8_t* argmax, T* workspace,
                               cpu_device& device) {
  detail::winograd_run<W>(s, x, w,
                          detail::winograd_max_pool<W::outputs, Act, T>{bias, pooled, argmax},
                          workspace, device);
}

/// Elements of T that winograd_backward_data needs as workspace.
template <class W, class T>
constexpr std::size_t winograd_backward_data_workspace(const convolution_shape& s) {
  return round_up_size(s.weights(), line<T>) +
         detail::winograd_plan<W, T>(detail::winograd_gradient_shape<W>(s), false).workspace();
}

/// dx [n, h, w, c] = the gradient of the convolution (of shape s) to its input, given dy. If
/// y_previous (shaped like x: the output of the activation Act that made x) is not null,
/// dx = Act::backward(dx, y_previous).
template <class W, class Act, class T>
void winograd_backward_data(const convolution_shape& s, const T* dy, const T* w,
                            const T* y_previous, T* dx, T* workspace, cpu_device& device) {
  detail::turn_weights<W>(s, w, workspace, device);
  detail::winograd_run<W>(detail::winograd_gradient_shape<W>(s), dy, winograd_weights<T>{workspace},
                          detail::winograd_gradient<W::outputs, Act, T>{y_previous, dx},
                          workspace + round_up_size(s.weights(), line<T>), device);
}

}  // namespace slim::cpu
