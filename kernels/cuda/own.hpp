// Kernels of functions that are the user's: activations, losses of an element and regularizers.
// They are declared here, for programs, and compiled by nvcc in a file of the user's (own.cuh).
#pragma once

#include <type_traits>

#include "library.hpp"

namespace slim {

/// Whether an activation, a loss or a regularizer of this type has kernels on the GPU. Specialised
/// beside the type, where its users see it:
///
///   template <>
///   inline constexpr bool slim::on_gpu<mine::swish_fn> = true;
template <class Function>
inline constexpr bool on_gpu = false;

namespace cuda {

/// The same of what an op is given: a `constant<f>`.
template <class Constant>
inline constexpr bool is_own = on_gpu<std::remove_cvref_t<decltype(Constant::value)>>;

/// y = f(x); dx = dy f'(saved), where saved is f's output (its input, for gradient_from_input).
template <class A>
struct own_activation {
  static void forward(stream&, array x, array y);
  static void backward(stream&, array saved, array dy, array dx);
};
/// losses = f(p, y); dx = dlosses times its derivative by p, or by y.
template <class F>
struct own_loss {
  static void forward(stream&, array p, array y, array losses);
  static void backward(stream&, array p, array y, array dlosses, bool by_labels, array dx);
};
/// sum = the sum of r(w); dw = running + dloss r'(w), running may be missing.
template <class R>
struct own_regularizer {
  static void forward(stream&, array w, array sum);
  static void backward(stream&, array w, array dloss, array running, array dw);
};

}  // namespace cuda
}  // namespace slim
