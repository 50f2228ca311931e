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

/// V neighbours as they lie in memory: so several can be under way at once in few registers, where
/// a kernel fetches them all before it uses the first.
template <class T, int V>
struct piece {
  static constexpr int bytes = sizeof(T) * V;
  using part = std::conditional_t<bytes % sizeof(uint4) == 0, uint4,
                                  std::conditional_t<bytes == sizeof(uint2), uint2, T>>;
  static constexpr int parts = static_cast<int>(bytes / sizeof(part));

  part at[parts];
};
template <int V, class T>
__device__ inline piece<T, V> fetch(const T* from) {
  piece<T, V> x;
#pragma unroll
  for (int i = 0; i < x.parts; ++i)
    x.at[i] = reinterpret_cast<const typename piece<T, V>::part*>(from)[i];
  return x;
}
template <class T, int V>
__device__ inline void widen(const piece<T, V>& from, float (&x)[V]) {
  using part = typename piece<T, V>::part;
#pragma unroll
  for (int i = 0; i < from.parts; ++i) {
    if constexpr (std::is_same_v<part, T>) {
      x[i] = to_float(from.at[i]);
    } else {
      constexpr int words = sizeof(part) / sizeof(unsigned);
      unsigned word[words];
      memcpy(word, &from.at[i], sizeof word);
#pragma unroll
      for (int k = 0; k < words; ++k) {
        if constexpr (sizeof(T) == 2) {
          x[2 * (i * words + k)] = __uint_as_float(word[k] << 16);
          x[2 * (i * words + k) + 1] = __uint_as_float(word[k] & 0xffff0000u);
        } else {
          x[i * words + k] = __uint_as_float(word[k]);
        }
      }
    }
  }
}

/// V neighbours as floats, aligned to their size.
template <int V, class T>
__device__ inline void load(const T* from, float (&x)[V]) {
  widen(fetch<V>(from), x);
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
  if constexpr (V % 4 == 0) {
    using part = typename piece<__nv_bfloat16, V>::part;
    unsigned words[V / 2];
#pragma unroll
    for (int i = 0; i < V / 2; ++i) {
      const __nv_bfloat162 both = __floats2bfloat162_rn(x[2 * i], x[2 * i + 1]);
      memcpy(words + i, &both, sizeof both);
    }
    part all;
    memcpy(&all, words, sizeof all);
    *reinterpret_cast<part*>(to) = all;
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
  /// Eight from an aligned place on.
  __device__ void load_from(long i, float (&x)[lanes]) const {
    if (type == number::bf16)
      load(static_cast<const __nv_bfloat16*>(data) + i, x);
    else
      load(static_cast<const float*>(data) + i, x);
  }
  __device__ void store_to(long i, const float (&x)[lanes]) const {
    if (type == number::bf16)
      store(x, static_cast<__nv_bfloat16*>(data) + i);
    else
      store(x, static_cast<float*>(data) + i);
  }
};

template <int N>
struct several {
  elements x[N > 0 ? N : 1];
};

/// f(x0, x1, ..., i) of the numbers in x.
template <int N, class F>
__device__ inline float apply_to(const float (&x)[N > 0 ? N : 1], long i, const F& f) {
  if constexpr (N == 0)
    return f(i);
  else if constexpr (N == 1)
    return f(x[0], i);
  else if constexpr (N == 2)
    return f(x[0], x[1], i);
  else
    return f(x[0], x[1], x[2], i);
}

/// y[i] = f(x0[i], x1[i], ..., i) for every element, eight at a time but for the last.
template <int N, class F>
__global__ void map_kernel(several<N> in, elements y, long count, F f) {
  const long step = long{gridDim.x} * blockDim.x * lanes;
  long i = (long{blockIdx.x} * blockDim.x + threadIdx.x) * lanes;
  for (; i + lanes <= count; i += step) {
    float x[N > 0 ? N : 1][lanes], result[lanes];
#pragma unroll
    for (int k = 0; k < N; ++k) in.x[k].load_from(i, x[k]);
#pragma unroll
    for (int e = 0; e < lanes; ++e) {
      float one[N > 0 ? N : 1];
#pragma unroll
      for (int k = 0; k < N; ++k) one[k] = x[k][e];
      result[e] = apply_to<N>(one, i + e, f);
    }
    y.store_to(i, result);
  }
  for (; i < count; ++i) {
    float one[N > 0 ? N : 1];
#pragma unroll
    for (int k = 0; k < N; ++k) one[k] = in.x[k][i];
    y.put(i, apply_to<N>(one, i, f));
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
/// Functions as types, so that a kernel for one has no branches for the others.
template <function F>
struct fixed_function {
  __device__ float operator()(float x) const { return apply(F, x); }
};
struct any_function {
  function f;
  __device__ float operator()(float x) const { return apply(f, x); }
};
/// Calls g with the type of f: those of most layers have one of their own.
template <class G>
void with_function(function f, G g) {
  if (f == function::identity)
    g(fixed_function<function::identity>());
  else if (f == function::relu)
    g(fixed_function<function::relu>());
  else
    g(any_function{f});
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

template <function F>
struct fixed_slope {
  __device__ float operator()(float y) const { return slope(F, y); }
};
struct any_slope {
  function f;
  __device__ float operator()(float y) const { return slope(f, y); }
};
/// with_function for derivatives.
template <class G>
void with_slope(function f, G g) {
  if (f == function::identity)
    g(fixed_slope<function::identity>());
  else if (f == function::relu)
    g(fixed_slope<function::relu>());
  else
    g(any_slope{f});
}

}  // namespace slim::cuda
