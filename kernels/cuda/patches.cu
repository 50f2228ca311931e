// Patches of images, for convolutions that no library has a kernel for.
#include "elements.cuh"
#include "plans.hpp"

namespace slim::cuda {
namespace {

template <class T, int V>
void gather_patches_as(stream& s, const convolution_shape& c, const T* x, int images, T* patches) {
  const int groups = c.c / V, taps = c.kernel_h * c.kernel_w;
  for_each(s, long{images} * c.out_h * c.out_w * taps * groups, [=] __device__(long i) {
    const int channel = static_cast<int>(i % groups) * V;
    long at = i / groups;
    const int tap = static_cast<int>(at % taps);
    at /= taps;
    const int column =
        static_cast<int>(at % c.out_w) * c.stride_w - c.pad_left + tap % c.kernel_w * c.rate_w;
    at /= c.out_w;
    const int row =
        static_cast<int>(at % c.out_h) * c.stride_h - c.pad_top + tap / c.kernel_w * c.rate_h;
    const long image = at / c.out_h;
    float values[V] = {};
    if (row >= 0 && row < c.h && column >= 0 && column < c.w)
      load(x + ((image * c.h + row) * c.w + column) * c.c + channel, values);
    store(values, patches + i * V);
  });
}

template <class T, int V>
void gather_gradients_as(stream& s, const convolution_shape& c, const T* patches, int images,
                         T* dx) {
  const int groups = c.c / V, taps = c.kernel_h * c.kernel_w;
  for_each(s, long{images} * c.h * c.w * groups, [=] __device__(long i) {
    const int channel = static_cast<int>(i % groups) * V;
    long at = i / groups;
    const int column = static_cast<int>(at % c.w);
    at /= c.w;
    const int row = static_cast<int>(at % c.h);
    const long image = at / c.h;
    float sum[V] = {};
    for (int a = 0; a < c.kernel_h; ++a) {
      const int h = row + c.pad_top - a * c.rate_h;
      if (h < 0 || h % c.stride_h != 0 || h / c.stride_h >= c.out_h) continue;
      for (int b = 0; b < c.kernel_w; ++b) {
        const int w = column + c.pad_left - b * c.rate_w;
        if (w < 0 || w % c.stride_w != 0 || w / c.stride_w >= c.out_w) continue;
        const long pixel = (image * c.out_h + h / c.stride_h) * c.out_w + w / c.stride_w;
        float values[V];
        load(patches + (pixel * taps + a * c.kernel_w + b) * c.c + channel, values);
#pragma unroll
        for (int k = 0; k < V; ++k) sum[k] += values[k];
      }
    }
    store(sum, dx + i * V);
  });
}

}  // namespace

void gather_patches(stream& s, const convolution_shape& c, array x, int first, int count,
                    array patches) {
  with_width(x.type, c.c, [&](auto t, auto width) {
    using T = typename decltype(t)::type;
    gather_patches_as<T, decltype(width)::value>(
        s, c, static_cast<const T*>(x.data) + long{first} * c.h * c.w * c.c, count,
        static_cast<T*>(patches.data));
  });
}
void gather_gradients(stream& s, const convolution_shape& c, array patches, int first, int count,
                      array dx) {
  with_width(dx.type, c.c, [&](auto t, auto width) {
    using T = typename decltype(t)::type;
    gather_gradients_as<T, decltype(width)::value>(
        s, c, static_cast<const T*>(patches.data), count,
        static_cast<T*>(dx.data) + long{first} * c.h * c.w * c.c);
  });
}

}  // namespace slim::cuda
