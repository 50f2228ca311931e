// Bytes beside registers of numbers: one a channel, such as which element of a window won.
// Compilers take generic conversions of vectors apart, element by element, hence the machine's own.
#pragma once

#include <cstdint>
#include <cstring>

#include "simd.hpp"

namespace slim::cpu {

namespace detail {

template <class T>
using integer_of = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
template <class T>
struct byte_vectors {
  typedef T numbers __attribute__((vector_size(width<T> * sizeof(T))));
  typedef integer_of<T> integers __attribute__((vector_size(width<T> * sizeof(T))));
  typedef std::uint8_t bytes __attribute__((vector_size(width<T>)));
};

/// width<T> bytes as integers of T's size.
template <class T>
typename byte_vectors<T>::integers widen(const std::uint8_t* p) {
  using integers = typename byte_vectors<T>::integers;
#if defined(EIGEN_VECTORIZE_AVX512)
  if constexpr (sizeof(T) == 4)
    return (integers)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  else
    return (integers)_mm512_cvtepu8_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
#elif defined(EIGEN_VECTORIZE_AVX2)
  if constexpr (sizeof(T) == 4)
    return (integers)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  std::int32_t four;
  std::memcpy(&four, p, 4);
  if constexpr (sizeof(T) == 8) return (integers)_mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four));
#else
  typename byte_vectors<T>::bytes bytes;
  std::memcpy(&bytes, p, sizeof(bytes));
  return __builtin_convertvector(bytes, integers);
#endif
}

/// Whole numbers from 0 to 255 as width<T> bytes.
template <class T>
void narrow(vec<T> x, std::uint8_t* p) {
#if defined(EIGEN_VECTORIZE_AVX2) && !defined(EIGEN_VECTORIZE_AVX512)
  if constexpr (sizeof(T) == 4) {
    const __m256i numbers = _mm256_cvttps_epi32(x.value);
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(numbers), _mm256_extracti128_si256(numbers, 1));
    return _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
  }
#endif
  using vectors = byte_vectors<T>;
  const auto integers = __builtin_convertvector((typename vectors::numbers)x.value,
                                                typename vectors::integers);
  const auto bytes = __builtin_convertvector(integers, typename vectors::bytes);
  std::memcpy(p, &bytes, sizeof(bytes));
}

}  // namespace detail

/// Where the first `count` of width<T> bytes equal `number`; elements beyond are of no meaning.
template <class T>
mask<T> equal_bytes(const std::uint8_t* p, int number, int count) {
  std::uint8_t some[width<T>] = {};
  if (count < width<T>) {
    for (int i = 0; i < count; ++i) some[i] = p[i];
    p = some;
  }
  const auto bytes = detail::widen<T>(p);
#ifdef EIGEN_VECTORIZE_AVX512
  if constexpr (sizeof(T) == 4)
    return {_mm512_cmpeq_epi32_mask((__m512i)bytes, _mm512_set1_epi32(number))};
  else
    return {_mm512_cmpeq_epi64_mask((__m512i)bytes, _mm512_set1_epi64(number))};
#else
  return {(typename vec<T>::packet)(bytes == detail::integer_of<T>(number))};
#endif
}

/// Stores the first `count` elements, whole numbers from 0 to 255, as bytes.
template <class T>
void store_bytes(vec<T> numbers, std::uint8_t* p, int count) {
  if (count >= width<T>) return detail::narrow(numbers, p);
  std::uint8_t some[width<T>];
  detail::narrow(numbers, some);
  for (int i = 0; i < count; ++i) p[i] = some[i];
}

}  // namespace slim::cpu
