// Pooling on the CPU: one pass over memory, a row of output pixels a task, channels in registers.
#pragma once

#include <limits>

#include "../eigen/pool.hpp"
#include "contraction.hpp"

namespace slim {
namespace cpu {

/// The elements of one axis of a window that lie inside the image: [first, last).
struct window_range {
  int first, last;
};
constexpr window_range inside(int out, int stride, int pad, int kernel, int rate, int in) {
  const int start = out * stride - pad;
  int first = 0, last = kernel;
  while (first < kernel && start + first * rate < 0) ++first;
  while (last > first && start + (last - 1) * rate >= in) --last;
  return {first, last};
}

/// f(row of an image's output, pointer to the image) for every row of every image.
template <class F>
void for_each_output_row(const kernel_call& call, const shape& out, F f) {
  call.device().parallel(out[0] * out[1], [&](int task, int) { f(task / out[1], task % out[1]); });
}

/// y = finish(join of each window's elements inside the image, their number), a register of
/// channels at a time; `join` starts from `start`.
template <class T, class Join, class Finish>
void pool_forward(const kernel_call& call, T start, Join join, Finish finish) {
  const tensor x = call.in(0), y = call.out();
  const window& w = call.a().win;
  const int in_h = x.dims[1], in_w = x.dims[2], c = x.dims[3];
  for_each_output_row(call, y.dims, [&](int image, int i) {
    const T* from = x.as<const T>() + long{image} * in_h * in_w * c;
    T* to = y.as<T>() + (long{image} * w.out_h + i) * w.out_w * c;
    const window_range rows = inside(i, w.stride_h, w.pad_top, w.kernel_h, w.rate_h, in_h);
    for (int j = 0; j < w.out_w; ++j, to += c) {
      const window_range columns = inside(j, w.stride_w, w.pad_left, w.kernel_w, w.rate_w, in_w);
      const int elements = (rows.last - rows.first) * (columns.last - columns.first);
      for_each_vec<T>(c, [&](int channel, int count) {
        vec<T> joined(start);
        for (int a = rows.first; a < rows.last; ++a)
          for (int b = columns.first; b < columns.last; ++b) {
            const long row = i * w.stride_h - w.pad_top + a * w.rate_h;
            const long column = j * w.stride_w - w.pad_left + b * w.rate_w;
            joined = join(load_some(from + (row * in_w + column) * c + channel, count), joined);
          }
        store_some(finish(joined, elements), to + channel, count);
      });
    }
  });
}

/// y = the maximum over each window.
template <class T>
void max_pool_forward(const kernel_call& call) {
  pool_forward<T>(
      call, -std::numeric_limits<T>::infinity(), [](vec<T> x, vec<T> top) { return max(x, top); },
      [](vec<T> top, int) { return top; });
}

/// y = the mean of each window's elements inside the image.
template <class T>
void avg_pool_forward(const kernel_call& call) {
  pool_forward<T>(
      call, T(0), [](vec<T> x, vec<T> sum) { return sum + x; },
      [](vec<T> sum, int elements) { return sum * vec<T>(T(1) / T(elements)); });
}

/// dx += dy / elements, for each element of each window. Windows may overlap: one task an image.
template <class T>
void avg_pool_backward(const kernel_call& call) {
  const tensor dy = call.in(0), dx = call.out();
  const window& w = call.a().win;
  const int in_h = dx.dims[1], in_w = dx.dims[2], c = dx.dims[3];
  call.device().parallel(dx.dims[0], [&](int image, int) {
    const T* gradient = dy.as<const T>() + long{image} * w.out_h * w.out_w * c;
    T* to = dx.as<T>() + long{image} * in_h * in_w * c;
    std::fill_n(to, long{in_h} * in_w * c, T(0));
    for (int i = 0; i < w.out_h; ++i)
      for (int j = 0; j < w.out_w; ++j, gradient += c) {
        const window_range rows = inside(i, w.stride_h, w.pad_top, w.kernel_h, w.rate_h, in_h);
        const window_range columns = inside(j, w.stride_w, w.pad_left, w.kernel_w, w.rate_w, in_w);
        const T share = T(1) / T((rows.last - rows.first) * (columns.last - columns.first));
        for (int a = rows.first; a < rows.last; ++a)
          for (int b = columns.first; b < columns.last; ++b) {
            const long row = i * w.stride_h - w.pad_top + a * w.rate_h;
            const long column = j * w.stride_w - w.pad_left + b * w.rate_w;
            T* pixel = to + (row * in_w + column) * c;
            for_each_vec<T>(c, [&](int channel, int count) {
              store_some(load_some(pixel + channel, count) +
                             load_some(gradient + channel, count) * vec<T>(share),
                         pixel + channel, count);
            });
          }
      }
  });
}

/// dx += dy at the first maximum of each window. Windows may overlap, so one task owns the channels
/// of an image that it adds to, in a fixed order.
template <class T>
void max_pool_backward(const kernel_call& call) {
  constexpr int channels_a_task = 64;
  const tensor x = call.in(0), dy = call.in(1), dx = call.out();
  const window& w = call.a().win;
  const int in_h = x.dims[1], in_w = x.dims[2], c = x.dims[3];
  const int blocks = divide_up(c, channels_a_task);
  call.device().parallel(x.dims[0] * blocks, [&](int task, int) {
    const int first = task % blocks * channels_a_task;
    const int channels = std::min(channels_a_task, c - first);
    const long image = long{task / blocks} * in_h * in_w * c + first;
    const T *from = x.as<const T>() + image, *gradient = dy.as<const T>() + first;
    gradient += long{task / blocks} * w.out_h * w.out_w * c;
    T* to = dx.as<T>() + image;
    for (long pixel = 0; pixel < long{in_h} * in_w; ++pixel)
      std::fill_n(to + pixel * c, channels, T(0));
    for (int i = 0; i < w.out_h; ++i)
      for (int j = 0; j < w.out_w; ++j, gradient += c) {
        const window_range rows = inside(i, w.stride_h, w.pad_top, w.kernel_h, w.rate_h, in_h);
        const window_range columns = inside(j, w.stride_w, w.pad_left, w.kernel_w, w.rate_w, in_w);
        for (int channel = 0; channel < channels; ++channel) {
          long best = -1;
          for (int a = rows.first; a < rows.last; ++a)
            for (int b = columns.first; b < columns.last; ++b) {
              const long row = i * w.stride_h - w.pad_top + a * w.rate_h;
              const long column = j * w.stride_w - w.pad_left + b * w.rate_w;
              const long at = (row * in_w + column) * c + channel;
              if (best < 0 || from[at] > from[best]) best = at;
            }
          if (best >= 0) to[best] += gradient[channel];
        }
      }
  });
}

/// dx = dy at the winner of each 2x2 window times the activation's derivative there, else 0. What
/// pooling left out (an odd last row or column) is 0.
template <class A, class T>
void max_pool_activation_backward(const kernel_call& call) {
  const tensor y = call.in(0), argmax = call.in(1), dy = call.in(2), dx = call.out();
  const int out_h = y.dims[1], out_w = y.dims[2], c = y.dims[3];
  const int in_h = dx.dims[1], in_w = dx.dims[2];
  const long line_length = long{in_w} * c;
  call.device().parallel(dx.dims[0] * divide_up(in_h, 2), [&](int task, int) {
    const int image = task / divide_up(in_h, 2), i = task % divide_up(in_h, 2);
    T* top = dx.as<T>() + (long{image} * in_h + 2 * i) * line_length;
    if (i >= out_h) {
      std::fill_n(top, line_length, T(0));
      return;
    }
    T* bottom = top + line_length;
    const long from = (long{image} * out_h + i) * out_w * c;
    const T *value = y.as<const T>() + from, *gradient = dy.as<const T>() + from;
    const std::uint8_t* winner = argmax.as<const std::uint8_t>() + from;
    for (int j = 0; j < out_w; ++j, value += c, gradient += c, winner += c) {
      T* corners[4] = {top + 2 * j * c, top + (2 * j + 1) * c, bottom + 2 * j * c,
                       bottom + (2 * j + 1) * c};
      for_each_vec<T>(c, [&](int channel, int count) {
        alignas(64) T number[width<T>];
        for (int l = 0; l < count; ++l) number[l] = T(winner[channel + l]);
        for (int l = count; l < width<T>; ++l) number[l] = T(0);
        const vec<T> won = vec<T>::load(number);
        const vec<T> slope = activate_backward<functor<A>, T>(load_some(gradient + channel, count),
                                                              load_some(value + channel, count));
        for (int k = 0; k < 4; ++k)
          store_some(select(won == vec<T>(T(k)), slope, vec<T>::zero()), corners[k] + channel,
                     count);
      });
    }
    for (T* line : {top, bottom})
      std::fill_n(line + 2L * out_w * c, line_length - 2L * out_w * c, T(0));
  });
}

}  // namespace cpu

template <class T>
struct kernel_of<op::max_pool, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::max_pool_forward<T>, 0};
  }
};
template <class T>
struct kernel_of<op::max_pool_backward, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::max_pool_backward<T>, 0};
  }
};
template <class T>
struct kernel_of<op::avg_pool, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::avg_pool_forward<T>, 0};
  }
};
template <class T>
struct kernel_of<op::avg_pool_backward, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::avg_pool_backward<T>, 0};
  }
};
template <class A, class T>
struct kernel_of<op::max_pool_activation_backward<A>, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::max_pool_activation_backward<A, T>, 0};
  }
};

}  // namespace slim
