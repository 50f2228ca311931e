#pragma once

// One SIMD register as a value, on Eigen's packet math: the same source serves SSE2, AVX2, AVX-512
// and NEON.

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>

#include <slim/eigen.hpp>

// g++ 12 takes the deliberately undefined registers inside its own AVX-512 header for mistakes.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace slim::cpu {

template <class T>
inline constexpr int width = Eigen::internal::packet_traits<T>::size;

/// Vector registers of the machine this translation unit is compiled for.
inline constexpr int vector_registers = EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS;

/// The answer of an element-wise comparison; see select. Eigen's are registers of ones and zeros,
/// which on AVX-512 would be made of the machine's own masks, and taken apart again.
#ifdef EIGEN_VECTORIZE_AVX512
template <class T>
struct mask {
  std::conditional_t<std::is_same_v<T, float>, __mmask16, __mmask8> bits;
};
#else
template <class T>
struct mask {
  typename Eigen::internal::packet_traits<T>::type bits;
};
#endif

/// `width` elements of type T, computed with element by element. T is float or double.
template <class T>
struct vec {
  using packet = typename Eigen::internal::packet_traits<T>::type;
  static constexpr int width = slim::cpu::width<T>;

  packet value;

  vec() = default;
  vec(packet p) : value(p) {}
  vec(T x) : value(Eigen::internal::pset1<packet>(x)) {}

  /// From memory aligned to the width of the register.
  static vec load(const T* p) { return Eigen::internal::pload<packet>(p); }
  /// From memory aligned to T.
  static vec loadu(const T* p) { return Eigen::internal::ploadu<packet>(p); }
  static vec broadcast(const T* p) { return Eigen::internal::pset1<packet>(*p); }
  static vec zero() { return Eigen::internal::pzero(packet()); }

  /// The first `count` elements from memory, zero in the others.
  static vec load_partial(const T* p, int count) {
#ifdef EIGEN_VECTORIZE_AVX512
    if constexpr (std::is_same_v<T, float>)
      return packet(_mm512_maskz_loadu_ps(first(count), p));
    else
      return packet(_mm512_maskz_loadu_pd(first(count), p));
#endif
    alignas(64) T buffer[width] = {};
    for (int i = 0; i < count; ++i) buffer[i] = p[i];
    return load(buffer);
  }

  void store(T* p) const { Eigen::internal::pstore(p, value); }
  void storeu(T* p) const { Eigen::internal::pstoreu(p, value); }

  void store_partial(T* p, int count) const {
#ifdef EIGEN_VECTORIZE_AVX512
    if constexpr (std::is_same_v<T, float>)
      return _mm512_mask_storeu_ps(p, first(count), value);
    else
      return _mm512_mask_storeu_pd(p, first(count), value);
#endif
    alignas(64) T buffer[width];
    store(buffer);
    for (int i = 0; i < count; ++i) p[i] = buffer[i];
  }

#ifdef EIGEN_VECTORIZE_AVX512
  /// The mask of the first `count` elements.
  static auto first(int count) {
    return static_cast<std::conditional_t<width == 16, __mmask16, __mmask8>>((1u << count) - 1);
  }
#endif

  T sum() const { return Eigen::internal::predux(value); }

  friend vec operator+(vec a, vec b) { return Eigen::internal::padd(a.value, b.value); }
  friend vec operator-(vec a, vec b) { return Eigen::internal::psub(a.value, b.value); }
  friend vec operator-(vec a) { return Eigen::internal::pnegate(a.value); }
  friend vec operator*(vec a, vec b) { return Eigen::internal::pmul(a.value, b.value); }
  friend vec operator/(vec a, vec b) { return Eigen::internal::pdiv(a.value, b.value); }
  vec& operator+=(vec b) { return *this = *this + b; }

#ifdef EIGEN_VECTORIZE_AVX512
  template <int How>
  static mask<T> compare(vec a, vec b) {
    if constexpr (std::is_same_v<T, float>)
      return {_mm512_cmp_ps_mask(a.value, b.value, How)};
    else
      return {_mm512_cmp_pd_mask(a.value, b.value, How)};
  }
  friend mask<T> operator<(vec a, vec b) { return compare<_CMP_LT_OQ>(a, b); }
  friend mask<T> operator<=(vec a, vec b) { return compare<_CMP_LE_OQ>(a, b); }
  friend mask<T> operator==(vec a, vec b) { return compare<_CMP_EQ_OQ>(a, b); }
  /// a where the mask is set, b elsewhere.
  friend vec select(mask<T> m, vec a, vec b) {
    if constexpr (std::is_same_v<T, float>)
      return packet(_mm512_mask_blend_ps(m.bits, b.value, a.value));
    else
      return packet(_mm512_mask_blend_pd(m.bits, b.value, a.value));
  }
#else
  friend mask<T> operator<(vec a, vec b) { return {Eigen::internal::pcmp_lt(a.value, b.value)}; }
  friend mask<T> operator<=(vec a, vec b) { return {Eigen::internal::pcmp_le(a.value, b.value)}; }
  friend mask<T> operator==(vec a, vec b) { return {Eigen::internal::pcmp_eq(a.value, b.value)}; }
  /// a where the mask is set, b elsewhere.
  friend vec select(mask<T> m, vec a, vec b) {
    return Eigen::internal::pselect(m.bits, a.value, b.value);
  }
#endif
  friend mask<T> operator>(vec a, vec b) { return b < a; }
  friend mask<T> operator>=(vec a, vec b) { return b <= a; }

  friend vec max(vec a, vec b) { return Eigen::internal::pmax(a.value, b.value); }
  friend vec min(vec a, vec b) { return Eigen::internal::pmin(a.value, b.value); }
  friend vec abs(vec a) { return Eigen::internal::pabs(a.value); }
  /// 1 where a is above 0, else 0.
  friend vec positive(vec a) { return select(a > zero(), vec(T(1)), zero()); }
  /// a * b + c, rounded once where the machine can.
  friend vec multiply_add(vec a, vec b, vec c) {
    return Eigen::internal::pmadd(a.value, b.value, c.value);
  }
};

// The same for single numbers, so that one functor body serves T and vec<T>.
template <class T>
requires std::is_arithmetic_v<T> T max(T a, std::type_identity_t<T> b) { return a < b ? b : a; }
template <class T>
requires std::is_arithmetic_v<T> T min(T a, std::type_identity_t<T> b) { return b < a ? b : a; }
template <class T>
requires std::is_arithmetic_v<T> T select(bool m, T a, std::type_identity_t<T> b) {
  return m ? a : b;
}

/// f(integral_constant<int, 0>), …, f(integral_constant<int, N - 1>): unrolled at any -O level.
template <int N, class F>
[[gnu::always_inline]] inline void unroll(F&& f) {
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, i>{}), ...);
  }
  (std::make_integer_sequence<int, N>{});
}

/// Act::forward on a register; element by element if Act takes only single numbers (constrain its
/// template parameter to say so).
template <class Act, class T>
vec<T> activate(vec<T> x) {
  if constexpr (requires { Act::forward(x); }) {
    return Act::forward(x);
  } else {
    alignas(64) T buffer[width<T>];
    x.store(buffer);
    for (T& value : buffer) value = Act::forward(value);
    return vec<T>::load(buffer);
  }
}

/// Act::backward(dy, y) on a register, like activate: the gradient to what the activation read.
template <class Act, class T>
vec<T> activate_backward(vec<T> dy, vec<T> y) {
  if constexpr (requires { Act::backward(dy, y); }) {
    return Act::backward(dy, y);
  } else {
    alignas(64) T buffer[width<T>], outputs[width<T>];
    dy.store(buffer);
    y.store(outputs);
    for (int i = 0; i < width<T>; ++i) buffer[i] = Act::backward(buffer[i], outputs[i]);
    return vec<T>::load(buffer);
  }
}

/// A whole register from memory, or the first `count` elements of it.
template <class T>
vec<T> load_some(const T* p, int count) {
  return count >= width<T> ? vec<T>::loadu(p) : vec<T>::load_partial(p, count);
}

template <class T>
void store_some(vec<T> x, T* p, int count) {
  count >= width<T> ? x.storeu(p) : x.store_partial(p, count);
}

/// f(i, elements) for each register of a row of `count` elements; the last may be partial.
template <class T, class F>
[[gnu::always_inline]] inline void for_each_vec(int count, F&& f) {
  int i = 0;
  for (; i + width<T> <= count; i += width<T>) f(i, width<T>);
  if (i < count) f(i, count - i);
}

/// Copies a row, a register at a time: may write up to a register's width beyond the row's end, and
/// reads beyond it only below `source_end`.
template <class T>
void copy_row(T* to, const T* from, int count, const T* source_end) {
  for (int i = 0; i < count; i += width<T>) {
    if (source_end - (from + i) >= width<T>) {
      vec<T>::loadu(from + i).storeu(to + i);
    } else {
      std::copy(from + i, from + count, to + i);
      return;
    }
  }
}

/// Zeros a row, may write up to a register's width beyond its end.
template <class T>
void clear_row(T* to, int count) {
  for (int i = 0; i < count; i += width<T>) vec<T>::zero().storeu(to + i);
}

/// Elements 0, …, width/2 - 1 of a and b in turn (half 0), or the others (half 1).
template <int half, class T>
[[gnu::always_inline]] inline vec<T> interleave(vec<T> a, vec<T> b) {
  constexpr int w = width<T>;
  return [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
    return vec<T>(
        __builtin_shufflevector(a.value, b.value, (i / 2 + half * (w / 2) + i % 2 * w)...));
  }
  (std::make_integer_sequence<int, w>{});
}

/// Transposes a square of registers: each perfect shuffle of the rows turns one bit of the index.
template <class T>
void transpose_registers(vec<T> (&block)[width<T>]) {
  constexpr int w = width<T>;
  for (int bit = 1; bit < w; bit *= 2) {
    vec<T> next[w];
    unroll<w / 2>([&](auto i) {
      next[2 * i] = interleave<0>(block[i], block[i + w / 2]);
      next[2 * i + 1] = interleave<1>(block[i], block[i + w / 2]);
    });
    unroll<w>([&](auto i) { block[i] = next[i]; });
  }
}

/// to[i * to_step + j] = from[j * from_step + i] for i < rows, j < columns.
template <class T>
void transpose(T* to, std::ptrdiff_t to_step, const T* from, std::ptrdiff_t from_step, int rows,
               int columns) {
  constexpr int w = width<T>;
  const int whole_rows = rows / w * w, whole_columns = columns / w * w;
  for (int j = 0; j < whole_columns; j += w) {
    for (int i = 0; i < whole_rows; i += w) {
      vec<T> block[w];
      for (int l = 0; l < w; ++l) block[l] = vec<T>::loadu(from + (j + l) * from_step + i);
      transpose_registers(block);
      for (int l = 0; l < w; ++l) block[l].storeu(to + (i + l) * to_step + j);
    }
  }
  for (int i = 0; i < rows; ++i) {
    for (int j = i < whole_rows ? whole_columns : 0; j < columns; ++j) {
      to[i * to_step + j] = from[j * from_step + i];
    }
  }
}

constexpr int divide_up(int a, int b) { return (a + b - 1) / b; }
constexpr int round_up(int a, int b) { return divide_up(a, b) * b; }

/// A cache line's worth of elements: parts of a workspace begin at multiples of it.
template <class T>
inline constexpr int line = int(64 / sizeof(T));

constexpr std::size_t round_up_size(std::size_t a, std::size_t b) { return (a + b - 1) / b * b; }

}  // namespace slim::cpu

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
