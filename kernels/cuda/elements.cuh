// What the kernels have in common: elements of either type as floats, eight at a time, and maps
// over them.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <initializer_list>

#include "launch.cuh"
#include "library.hpp"

namespace slim::cuda {

/// Elements a thread works on at once: 16 bytes of bfloat16.
inline constexpr int lanes = 8;

template <class T>
struct tag {
  using type = T;
};

/// Calls f(tag<T>) with the type of floating-point elements.
template <class F>
void with_type(number type, F f) {
  type == number::bf16 ? f(tag<__nv_bfloat16>()) : f(tag<float>());
}

/// For kernels that take the elements of several arrays, of which some may be missing, to be of one
/// type.
inline void expect_one_type(std::initializer_list<array> all) {
  for (const array& a : all)
    if (a && a.type != all.begin()->type)
      throw error("CUDA: a kernel was given arrays of two types");
}

/// Calls f(tag<T>, width) besides: 8 channels at once where they divide c, or one.
template <class F>
void with_width(number type, int c, F f) {
  with_type(type, [&](auto t) {
    if (c % lanes == 0)
      f(t, std::integral_constant<int, lanes>());
    else
      f(t, std::integral_constant<int, 1>());
  });
}

template <class T>
__device__ inline float to_float(T x) {
  return static_cast<float>(x);
}
template <class T>
__device__ inline T from_float(float x) {
  return static_cast<T>(x);
}
template <>
__device__ inline __nv_bfloat16 from_float(float x) {
  return __float2bfloat16_rn(x);
}

/// 8 elements of bfloat16 as floats.
__device__ inline void widen(const uint4& part, float (&x)[8]) {
  const unsigned words[4] = {part.x, part.y, part.z, part.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[2 * i] = __uint_as_float(words[i] << 16);
    x[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}

/// V neighbours, aligned to their size.
template <int V>
__device__ inline void load(const float* from, float (&x)[V]) {
  if constexpr (V % 4 == 0) {
#pragma unroll
    for (int i = 0; i < V; i += 4) {
      const float4 part = *reinterpret_cast<const float4*>(from + i);
      x[i] = part.x, x[i + 1] = part.y, x[i + 2] = part.z, x[i + 3] = part.w;
    }
  } else {
    for (int i = 0; i < V; ++i) x[i] = from[i];
  }
}
template <int V>
__device__ inline void load(const __nv_bfloat16* from, float (&x)[V]) {
  if constexpr (V == 8) {
    widen(*reinterpret_cast<const uint4*>(from), x);
  } else {
    for (int i = 0; i < V; ++i) x[i] = __bfloat162float(from[i]);
  }
}
/// The same of memory that the kernel does not write: such loads may go before its stores, so that
/// several are under way.
template <int V, class T>
__device__ inline void load_fixed(const T* from, float (&x)[V]) {
  if constexpr (V == 8 && sizeof(T) == 2) {
    widen(__ldg(reinterpret_cast<const uint4*>(from)), x);
  } else if constexpr (V % 4 == 0 && sizeof(T) == 4) {
#pragma unroll
    for (int i = 0; i < V; i += 4) {
      const float4 part = __ldg(reinterpret_cast<const float4*>(from + i));
      x[i] = part.x, x[i + 1] = part.y, x[i + 2] = part.z, x[i + 3] = part.w;
    }
  } else {
    for (int i = 0; i < V; ++i) x[i] = to_float(__ldg(from + i));
  }
}
template <int V>
__device__ inline void store(const float (&x)[V], float* to) {
  if constexpr (V % 4 == 0) {
#pragma unroll
    for (int i = 0; i < V; i += 4)
      *reinterpret_cast<float4*>(to + i) = make_float4(x[i], x[i + 1], x[i + 2], x[i + 3]);
  } else {
    for (int i = 0; i < V; ++i) to[i] = x[i];
  }
}
template <int V>
__device__ inline void store(const float (&x)[V], __nv_bfloat16* to) {
  if constexpr (V == 8) {
    const auto pair = [&](int i) {
      const __nv_bfloat162 both = __floats2bfloat162_rn(x[i], x[i + 1]);
      unsigned bits;
      memcpy(&bits, &both, sizeof bits);
      return bits;
    };
    *reinterpret_cast<uint4*>(to) = make_uint4(pair(0), pair(2), pair(4), pair(6));
  } else {
    for (int i = 0; i < V; ++i) to[i] = __float2bfloat16_rn(x[i]);
  }
}

/// Elements of a type known at run time; all threads take the same branch.
struct elements {
  void* data;
  number type;

  elements() = default;
  elements(array a) : data(a.data), type(a.type) {}

  __device__ bool there() const { return data != nullptr; }
  __device__ float operator[](long i) const {
    if (type == number::bf16) return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[i]);
    return static_cast<const float*>(data)[i];
  }
  __device__ void put(long i, float x) const {
    if (type == number::bf16)
      static_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16_rn(x);
    else
      static_cast<float*>(data)[i] = x;
  }
  __device__ void load_from(long i, int n, float (&x)[lanes]) const {
    if (n < lanes) {
      for (int k = 0; k < n; ++k) x[k] = (*this)[i + k];
    } else if (type == number::bf16) {
      load(static_cast<const __nv_bfloat16*>(data) + i, x);
    } else {
      load(static_cast<const float*>(data) + i, x);
    }
  }
  __device__ void store_to(long i, int n, const float (&x)[lanes]) const {
    if (n < lanes) {
      for (int k = 0; k < n; ++k) put(i + k, x[k]);
    } else if (type == number::bf16) {
      store(x, static_cast<__nv_bfloat16*>(data) + i);
    } else {
      store(x, static_cast<float*>(data) + i);
    }
  }
};

template <int N>
struct several {
  elements x[N > 0 ? N : 1];
};

/// y[i] = f(x0[i], x1[i], ..., i) for every element.
template <int N, class F>
__global__ void map_kernel(several<N> in, elements y, long count, F f) {
  const long step = long{gridDim.x} * blockDim.x * lanes;
  for (long i = (long{blockIdx.x} * blockDim.x + threadIdx.x) * lanes; i < count; i += step) {
    const int n = count - i < lanes ? static_cast<int>(count - i) : lanes;
    float x[N > 0 ? N : 1][lanes], result[lanes];
#pragma unroll
    for (int k = 0; k < N; ++k) in.x[k].load_from(i, n, x[k]);
#pragma unroll
    for (int e = 0; e < lanes; ++e) {
      if (e >= n) break;  // f may read where i + e points
      if constexpr (N == 0)
        result[e] = f(i + e);
      else if constexpr (N == 1)
        result[e] = f(x[0][e], i + e);
      else if constexpr (N == 2)
        result[e] = f(x[0][e], x[1][e], i + e);
      else
        result[e] = f(x[0][e], x[1][e], x[2][e], i + e);
    }
    y.store_to(i, n, result);
  }
}

inline constexpr int block_threads = 256;

/// Blocks for so many pieces of work of one thread each; a grid-stride loop does the rest.
inline int blocks_for(const stream& s, long pieces) {
  const long wanted = (pieces + block_threads - 1) / block_threads;
  const long most = long{s.multiprocessors} * 16;
  return static_cast<int>(wanted < 1 ? 1 : wanted < most ? wanted : most);
}

template <class... Input, class F>
void map(stream& s, array y, F f, Input... input) {
  constexpr int n = sizeof...(Input);
  several<n> in{{elements(input)...}};
  launch(s, "a map", &map_kernel<n, F>, blocks_for(s, (y.count + lanes - 1) / lanes), block_threads,
         0, in, elements(y), y.count, f);
}

/// Calls f(i) for every i in [0, count).
template <class F>
__global__ void each_kernel(long count, F f) {
  const long step = long{gridDim.x} * blockDim.x;
  for (long i = long{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) f(i);
}
template <class F>
void for_each(stream& s, long count, F f) {
  if (count < 1) return;
  launch(s, "a loop", &each_kernel<F>, blocks_for(s, count), block_threads, 0, count, f);
}

__device__ inline float apply(function f, float x) {
  switch (f) {
    case function::identity:
      return x;
    case function::relu:
      return x <= 0 ? 0.0f : x;
    case function::relu6:
      return x <= 0 ? 0.0f : x >= 6 ? 6.0f : x;
    case function::elu:
      return x > 0 ? x : expm1f(x);
    case function::sigmoid:
      return 1.0f / (1.0f + expf(-x));
    case function::tanh:
      return tanhf(x);
    case function::softplus:
      return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x)));
  }
  return x;
}
/// The derivative where the output is y.
__device__ inline float slope(function f, float y) {
  switch (f) {
    case function::identity:
      return 1.0f;
    case function::relu:
      return y > 0 ? 1.0f : 0.0f;
    case function::relu6:
      return y > 0 && y < 6 ? 1.0f : 0.0f;
    case function::elu:
      return y > 0 ? 1.0f : y + 1.0f;
    case function::sigmoid:
      return y * (1.0f - y);
    case function::tanh:
      return 1.0f - y * y;
    case function::softplus:
      return -expm1f(-y);
  }
  return 1.0f;
}

}  // namespace slim::cuda
