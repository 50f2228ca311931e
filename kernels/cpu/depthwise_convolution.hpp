// Depthwise convolutions on the CPU: channels in registers, a row of pixels a task. Forward and the
// gradient of the images both gather, for each pixel, the taps that lie inside the other image;
// the gradient of the weights keeps the sums of one tap and some channels in registers.
#pragma once

#include "../eigen/depthwise_convolution.hpp"
#include "pool.hpp"

namespace slim {
namespace cpu {

/// One element of a window: the pixel it reads, and its weights [c * multiplier].
template <class T>
struct tap {
  const T* pixel;
  const T* weights;
};

/// Taps that fit the scratch memory of a worker.
template <class T>
inline constexpr long most_taps = long(cpu_device::scratch_bytes / sizeof(tap<T>));

/// Outputs [first, first + count), each the number of its input channel, from one pixel: the input
/// channel of output o is o / multiplier.
template <class T>
vec<T> load_channels(const T* pixel, int first, int count, int multiplier) {
  if (multiplier == 1) return load_some(pixel + first, count);
  alignas(64) T buffer[width<T>] = {};
  for (int i = 0; i < count && i < width<T>; ++i) buffer[i] = pixel[(first + i) / multiplier];
  return vec<T>::load(buffer);
}

/// store(o, sum over the taps of pixel[o / multiplier] * weights[o], elements) for each register of
/// `outputs`; four at a time where the pixel's channels are the outputs.
template <class T, class Store>
void sum_taps(const tap<T>* taps, int count, int outputs, int multiplier, Store store) {
  constexpr int w = width<T>, registers = 4;
  int first = 0;
  for (; multiplier == 1 && first + registers * w <= outputs; first += registers * w) {
    vec<T> sum[registers] = {vec<T>::zero(), vec<T>::zero(), vec<T>::zero(), vec<T>::zero()};
    for (int t = 0; t < count; ++t)
      unroll<registers>([&](auto r) {
        const int at = first + r * w;
        sum[r] = multiply_add(vec<T>::loadu(taps[t].pixel + at),
                              vec<T>::loadu(taps[t].weights + at), sum[r]);
      });
    unroll<registers>([&](auto r) { store(first + r * w, sum[r], w); });
  }
  for_each_vec<T>(outputs - first, [&](int i, int elements) {
    vec<T> sum = vec<T>::zero();
    for (int t = 0; t < count; ++t)
      sum = multiply_add(load_channels(taps[t].pixel, first + i, elements, multiplier),
                         load_some(taps[t].weights + first + i, elements), sum);
    store(first + i, sum, elements);
  });
}

/// y [n, h', w', c * multiplier].
template <class T>
void depthwise_forward(const kernel_call& call) {
  const tensor x = call.in(0), weights = call.in(1), y = call.out();
  const window& w = call.a().win;
  const int in_h = x.dims[1], in_w = x.dims[2], c = x.dims[3];
  const int multiplier = weights.dims[3], outputs = c * multiplier;
  call.device().parallel(y.dims[0] * w.out_h, [&](int task, int worker) {
    const int image = task / w.out_h, i = task % w.out_h;
    auto* taps = reinterpret_cast<tap<T>*>(call.device().scratch(worker));
    const window_range rows = inside(i, w.stride_h, w.pad_top, w.kernel_h, w.rate_h, in_h);
    T* to = y.as<T>() + long{task} * w.out_w * outputs;
    for (int j = 0; j < w.out_w; ++j, to += outputs) {
      const window_range columns = inside(j, w.stride_w, w.pad_left, w.kernel_w, w.rate_w, in_w);
      int count = 0;
      for (int a = rows.first; a < rows.last; ++a)
        for (int b = columns.first; b < columns.last; ++b) {
          const long row = i * w.stride_h - w.pad_top + a * w.rate_h;
          const long column = j * w.stride_w - w.pad_left + b * w.rate_w;
          taps[count++] = {x.as<const T>() + ((long{image} * in_h + row) * in_w + column) * c,
                           weights.as<const T>() + (long{a} * w.kernel_w + b) * outputs};
        }
      sum_taps(taps, count, outputs, multiplier,
               [&](int o, vec<T> sum, int elements) { store_some(sum, to + o, elements); });
    }
  });
}

/// The output along one axis whose element `offset` beyond its start is the input's `in`, or -1.
constexpr int output_reading(int in, int stride, int pad, int offset, int out) {
  const int start = in + pad - offset;
  return start < 0 || start % stride != 0 || start / stride >= out ? -1 : start / stride;
}

/// dx [n, h, w, c]: each pixel gathers from the outputs that read it.
template <class T>
void depthwise_backward_data(const kernel_call& call) {
  const tensor dy = call.in(0), weights = call.in(1), dx = call.out();
  const window& w = call.a().win;
  const int in_h = dx.dims[1], in_w = dx.dims[2], c = dx.dims[3];
  const int multiplier = weights.dims[3], outputs = c * multiplier;
  call.device().parallel(dx.dims[0] * in_h, [&](int task, int worker) {
    const int image = task / in_h, i = task % in_h;
    auto* taps = reinterpret_cast<tap<T>*>(call.device().scratch(worker));
    T* to = dx.as<T>() + long{task} * in_w * c;
    std::fill_n(to, long{in_w} * c, T(0));
    for (int j = 0; j < in_w; ++j, to += c) {
      int count = 0;
      for (int a = 0; a < w.kernel_h; ++a) {
        const int row = output_reading(i, w.stride_h, w.pad_top, a * w.rate_h, w.out_h);
        if (row < 0) continue;
        for (int b = 0; b < w.kernel_w; ++b) {
          const int column = output_reading(j, w.stride_w, w.pad_left, b * w.rate_w, w.out_w);
          if (column < 0) continue;
          const long pixel = (long{image} * w.out_h + row) * w.out_w + column;
          taps[count++] = {dy.as<const T>() + pixel * outputs,
                           weights.as<const T>() + (long{a} * w.kernel_w + b) * outputs};
        }
      }
      sum_taps(taps, count, outputs, 1, [&](int o, vec<T> sum, int elements) {
        if (multiplier == 1) return store_some(sum, to + o, elements);
        alignas(64) T buffer[width<T>];
        sum.store(buffer);
        for (int l = 0; l < elements; ++l) to[(o + l) / multiplier] += buffer[l];
      });
    }
  });
}

/// The outputs [first, last) along one axis whose element, `offset` beyond their start, lies inside
/// the input.
constexpr window_range outputs_inside(int out, int stride, int offset, int in) {
  int first = 0, last = out;
  while (first < last && first * stride + offset < 0) ++first;
  while (last > first && (last - 1) * stride + offset >= in) --last;
  return {first, last};
}

/// The registers in which a task sums the gradients of some weights of one tap.
template <class T>
struct weight_sums {
  static constexpr int registers = 4, block = registers * width<T>;

  vec<T> sum[registers] = {vec<T>::zero(), vec<T>::zero(), vec<T>::zero(), vec<T>::zero()};

  /// Adds pixel[o / multiplier] * gradient[o] for the outputs o in [first, first + count).
  void add(const T* pixel, const T* gradient, int first, int count, int multiplier) {
    if (count == block && multiplier == 1)
      unroll<registers>([&](auto r) {
        const int o = first + r * width<T>;
        sum[r] = multiply_add(vec<T>::loadu(pixel + o), vec<T>::loadu(gradient + o), sum[r]);
      });
    else
      for_each_vec<T>(count, [&](int i, int elements) {
        vec<T>& one = sum[i / width<T>];
        one = multiply_add(load_channels(pixel, first + i, elements, multiplier),
                           load_some(gradient + first + i, elements), one);
      });
  }
  void add(const weight_sums& other) {
    unroll<registers>([&](auto r) { sum[r] += other.sum[r]; });
  }
  void store(T* to, int count) const {
    for_each_vec<T>(count, [&](int i, int elements) {
      store_some(sum[i / width<T>], to + i, elements);
    });
  }
};

/// The gradients of the weights of tap (a, b) for the outputs [first, first + count). Rows are
/// summed by themselves, which costs little and keeps long sums accurate.
template <class T>
weight_sums<T> sum_of_tap(const kernel_call& call, int a, int b, int first, int count) {
  const tensor x = call.in(0), dy = call.in(1);
  const window& w = call.a().win;
  const int in_h = x.dims[1], in_w = x.dims[2], c = x.dims[3], outputs = dy.dims[3];
  const int down = a * w.rate_h - w.pad_top, right = b * w.rate_w - w.pad_left;
  const window_range rows = outputs_inside(w.out_h, w.stride_h, down, in_h);
  const window_range columns = outputs_inside(w.out_w, w.stride_w, right, in_w);
  weight_sums<T> total;
  for (int image = 0; image < dy.dims[0]; ++image)
    for (int i = rows.first; i < rows.last; ++i) {
      const long row = long{image} * in_h + i * w.stride_h + down;
      const T* pixels = x.as<const T>() + (row * in_w + right) * c;
      const T* gradient = dy.as<const T>() + (long{image} * w.out_h + i) * w.out_w * outputs;
      weight_sums<T> sums;
      for (int j = columns.first; j < columns.last; ++j)
        sums.add(pixels + long{j} * w.stride_w * c, gradient + long{j} * outputs, first, count,
                 outputs / c);
      total.add(sums);
    }
  return total;
}

/// dw [kernel_h, kernel_w, c, multiplier]: a task owns one tap of some outputs and walks all pixels
/// in order, so no sum depends on the number of threads.
template <class T>
void depthwise_backward_filter(const kernel_call& call) {
  constexpr int block = weight_sums<T>::block;
  const window& w = call.a().win;
  const int outputs = call.in(1).dims[3], blocks = divide_up(outputs, block);
  call.device().parallel(w.kernel_h * w.kernel_w * blocks, [&](int task, int) {
    const int t = task / blocks, first = task % blocks * block;
    const int count = std::min(block, outputs - first);
    sum_of_tap<T>(call, t / w.kernel_w, t % w.kernel_w, first, count)
        .store(call.out().as<T>() + long{t} * outputs + first, count);
  });
}

/// `run`, or the reference where the taps of a window do not fit the scratch memory.
template <class Op, class T>
constexpr kernel_choice choose_depthwise(const graph& g, const node_row& n,
                                         void (*run)(const kernel_call&)) {
  if (long{n.a.win.kernel_h} * n.a.win.kernel_w > most_taps<T>)
    return kernel_of<Op, T, backend::eigen>::choose(g, n);
  return {"taps", run, 0};
}

/// Each weight c times.
template <class T>
void tile_channels(const kernel_call& call) {
  const shape& to = call.out().dims;
  for (int t = 0; t < to[0] * to[1]; ++t)
    std::fill_n(call.out().as<T>() + long{t} * to[2], to[2], call.in(0).as<const T>()[t]);
}

}  // namespace cpu

template <class T>
struct kernel_of<op::depthwise_convolution, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::choose_depthwise<op::depthwise_convolution, T>(g, n, &cpu::depthwise_forward<T>);
  }
};
template <class T>
struct kernel_of<op::depthwise_convolution_backward_data, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cpu::choose_depthwise<op::depthwise_convolution_backward_data, T>(
        g, n, &cpu::depthwise_backward_data<T>);
  }
};
template <class T>
struct kernel_of<op::depthwise_convolution_backward_filter, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"tap by tap", &cpu::depthwise_backward_filter<T>, 0};
  }
};
template <class T>
struct kernel_of<op::tile_channels, T, backend::cpu> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"one pass", &cpu::tile_channels<T>, 0};
  }
};

}  // namespace slim
