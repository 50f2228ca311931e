// Compiles kernels of the user's functions, in a file that nvcc compiles (--extended-lambda
// --expt-relaxed-constexpr, C++20):
//
//   #include <slim/kernels/cuda/own.cuh>
//   #include "swish.hpp"
//   template struct slim::cuda::own_activation<slim::constant<mine::swish_fn{}>>;
//
// The functions' members are constexpr, or __host__ __device__; they are called with floats. What
// is instantiated is what networks are given: a function of other values is another one.
#pragma once

#include <slim/constant.hpp>

#include "own.hpp"
#include "rows.cuh"

namespace slim::cuda {

template <class A>
void own_activation<A>::forward(stream& s, array x, array y) {
  map(
      s, y,
      [] __device__(float v, long) {
        constexpr auto f = A::value;
        return static_cast<float>(f(v));
      },
      x);
}
template <class A>
void own_activation<A>::backward(stream& s, array saved, array dy, array dx) {
  map(
      s, dx,
      [] __device__(float v, float d, long) {
        constexpr auto f = A::value;
        return d * static_cast<float>(f.gradient(v));
      },
      saved, dy);
}

template <class F>
void own_loss<F>::forward(stream& s, array p, array y, array losses) {
  map(
      s, losses,
      [] __device__(float a, float b, long) {
        constexpr auto f = F::value;
        return static_cast<float>(f(a, b));
      },
      p, y);
}
template <class F>
void own_loss<F>::backward(stream& s, array p, array y, array dlosses, bool by_labels, array dx) {
  if (!by_labels)
    return map(
        s, dx,
        [] __device__(float a, float b, float d, long) {
          constexpr auto f = F::value;
          return d * static_cast<float>(f.gradient(a, b));
        },
        p, y, dlosses);
  if constexpr (requires { F::value.label_gradient(1.0f, 1.0f); })
    map(
        s, dx,
        [] __device__(float a, float b, float d, long) {
          constexpr auto f = F::value;
          return d * static_cast<float>(f.label_gradient(a, b));
        },
        p, y, dlosses);
}

template <class R>
void own_regularizer<R>::forward(stream& s, array w, array sum) {
  const elements in(w), out(sum);
  sum_all(
      s, w.count,
      [=] __device__(long i) {
        constexpr auto r = R::value;
        return static_cast<double>(r(in[i]));
      },
      [=] __device__(double total) { out.put(0, static_cast<float>(total)); });
}
template <class R>
void own_regularizer<R>::backward(stream& s, array w, array dloss, array running, array dw) {
  const elements by(dloss), before(running);
  map(
      s, dw,
      [=] __device__(float v, long i) {
        constexpr auto r = R::value;
        const float part = by[0] * static_cast<float>(r.gradient(v));
        return before.there() ? before[i] + part : part;
      },
      w);
}

}  // namespace slim::cuda
