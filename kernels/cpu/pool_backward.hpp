// Gradients of pooling: every element of the input gathers from the windows that hold it, so that
// it is written once, whoever computes its neighbours.
#pragma once

#include "contraction.hpp"
#include "pool_forward.hpp"

namespace slim::cpu {

/// f(the first element of a pixel, its row's windows, its column's) for every pixel of dx. What is
/// known of the columns is kept for several rows: finding it takes divisions.
template <class F>
void for_each_input_pixel(const kernel_call& call, const shape& dx, F f) {
  const window& w = call.a().win;
  const int in_h = dx[1], in_w = dx[2], c = dx[3];
  const int columns = std::min<int>(in_w, int(cpu_device::scratch_bytes / sizeof(holding_windows)));
  const int rows = std::min(in_h, 1 + (1 << 14) / (columns * c)), bands = divide_up(in_h, rows);
  const int parts = divide_up(in_w, columns);
  call.device().parallel(dx[0] * bands * parts, [&](int task, int worker) {
    const int image = task / parts / bands, first_row = task / parts % bands * rows;
    const int left = task % parts * columns, right = std::min(left + columns, in_w);
    auto* held = reinterpret_cast<holding_windows*>(call.device().scratch(worker));
    for (int j = left; j < right; ++j) held[j - left] = holding_column(w, j);
    for (int i = first_row; i < std::min(first_row + rows, in_h); ++i) {
      const holding_windows row = holding_row(w, i);
      for (int j = left; j < right; ++j)
        f(((long{image} * in_h + i) * in_w + j) * c, image, row, held[j - left]);
    }
  });
}

/// What dx is made of besides the windows' gradients: the running gradient it adds to (or null),
/// and the output of the activation A that the pooling read (without one it is not looked at).
template <class A, class T>
struct pool_gradient {
  const T *running, *saved;
  T* dx;

  void finish(vec<T> sum, long at, int count) const {
    if (running != nullptr) sum = load_some(running + at, count) + sum;
    if constexpr (!std::is_same_v<A, no_activation>)
      sum = activate_backward<functor<A>, T>(sum, load_some(saved + at, count));
    store_some(sum, dx + at, count);
  }
};

/// (winners, dy[, s][, running]) -> dx: the sum of the gradients of the windows that an element
/// won, plus the running gradient, times the derivative of the activation whose output is s.
template <class A, class T>
void max_pool_backward(const kernel_call& call) {
  constexpr int fixed = std::is_same_v<A, no_activation> ? 2 : 3;
  const window& w = call.a().win;
  const tensor dx = call.out();
  const int c = dx.dims[3];
  const std::uint8_t* winners = call.in(0).as<const std::uint8_t>();
  const T* dy = call.in(1).as<const T>();
  const pool_gradient<A, T> gradient{
      call.inputs() > fixed ? call.in(fixed).as<const T>() : nullptr,
      call.in(fixed - 1).as<const T>(), dx.as<T>()};
  for_each_input_pixel(call, dx.dims, [=](long to, int image, const holding_windows rows,
                                          const holding_windows columns) {
    const long corner = ((long{image} * w.out_h + rows.first) * w.out_w + columns.first) * c;
    const long row_step = long{rows.step} * w.out_w * c, column_step = long{columns.step} * c;
    const int number = rows.element * w.kernel_w + columns.element;
    const int row_numbers = rows.element_step * w.kernel_w;
    for_each_vec<T>(c, [=](int channel, int count) __attribute__((always_inline)) {
      vec<T> sum = vec<T>::zero();
      long row = corner + channel;
      for (int a = 0; a < rows.count; ++a, row += row_step) {
        long at = row;
        int element = number - a * row_numbers;
        for (int b = 0; b < columns.count; ++b, at += column_step) {
          sum += select(equal_bytes<T>(winners + at, element, count), load_some(dy + at, count),
                        vec<T>::zero());
          element -= columns.element_step;
        }
      }
      gradient.finish(sum, to + channel, count);
    });
  });
}

/// dx = the sum of the shares dy / elements of the windows that hold an element.
template <class T>
void avg_pool_backward(const kernel_call& call) {
  const window& w = call.a().win;
  const tensor dx = call.out();
  const int in_h = dx.dims[1], in_w = dx.dims[2], c = dx.dims[3];
  const T* dy = call.in(0).as<const T>();
  T* out = dx.as<T>();
  for_each_input_pixel(call, dx.dims, [=](long to, int image, const holding_windows& rows,
                                          const holding_windows& columns) {
    const auto each = [&](auto f) {
      for (int a = 0; a < rows.count; ++a)
        for (int b = 0; b < columns.count; ++b) {
          const int i = rows.first + a * rows.step, j = columns.first + b * columns.step;
          const int elements =
              rows_inside(w, i, in_h).count() * columns_inside(w, j, in_w).count();
          f(((long{image} * w.out_h + i) * w.out_w + j) * c, vec<T>(T(1) / T(elements)));
        }
    };
    if (rows.count * columns.count != 1) std::fill_n(out + to, c, T(0));
    each([&](long from, vec<T> share) {
      const bool only = rows.count * columns.count == 1;
      for_each_vec<T>(c, [&](int channel, int count) {
        const vec<T> part = load_some(dy + from + channel, count) * share;
        store_some(only ? part : load_some(out + to + channel, count) + part, out + to + channel,
                   count);
      });
    });
  });
}

/// dx += dy at the first maximum of each window. Windows may overlap, so one task owns the channels
/// of an image that it adds to, in a fixed order.
template <class T>
void max_pool_search_backward(const kernel_call& call) {
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
        const vec<T> slope = activate_backward<functor<A>, T>(load_some(gradient + channel, count),
                                                              load_some(value + channel, count));
        for (int k = 0; k < 4; ++k)
          store_some(select(equal_bytes<T>(winner + channel, k, count), slope, vec<T>::zero()),
                     corners[k] + channel, count);
      });
    }
    for (T* line : {top, bottom})
      std::fill_n(line + 2L * out_w * c, line_length - 2L * out_w * c, T(0));
  });
}

}  // namespace slim::cpu
