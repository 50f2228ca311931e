// What the choices of CUDA kernels share: the backend, a call's tensors as arrays, functions by
// their types.
#pragma once

#include <slim/accelerator.hpp>
#include <slim/activations.hpp>
#include <slim/compile.hpp>
#include <slim/graph/builder.hpp>

#include "library.hpp"
#include "own.hpp"

namespace slim {

/// Precisions of a model on the GPU, besides float.
struct tf32 {};
struct bfloat16 {};

namespace cuda {

template <class P>
constexpr math math_of() {
  if constexpr (std::is_same_v<P, bfloat16>)
    return math::bf16;
  else
    return std::is_same_v<P, tf32> ? math::tf32 : math::exact;
}

}  // namespace cuda

namespace backend {

/// Kernels of the library of CUDA kernels, in precision P: float, tf32 or bfloat16.
template <class P>
struct gpu {
  static_assert(std::is_same_v<P, float> || std::is_same_v<P, tf32> || std::is_same_v<P, bfloat16>,
                "a GPU model computes in float, tf32 or bfloat16");
  static constexpr graph_counts needs{};
  static constexpr backend_traits traits{.narrow = std::is_same_v<P, bfloat16>,
                                         .prepares_training = true,
                                         .apart = true,
                                         .pools_sum_biases = true};
  static std::unique_ptr<accelerator> make_accelerator(long bytes) {
    return cuda::make_accelerator(cuda::math_of<P>(), bytes);
  }
};

}  // namespace backend

namespace cuda {

static_assert(static_cast<int>(number::i32) == static_cast<int>(element::int32) &&
              static_cast<int>(number::u8) == static_cast<int>(element::byte) &&
              static_cast<int>(number::bf16) == static_cast<int>(element::bfloat16));

// A call's tensors as arrays.

inline array array_of(const tensor& t) {
  return {t.data, static_cast<number>(t.type), t.dims.count()};
}
inline array in(const kernel_call& call, int i) {
  return i >= 0 && i < call.inputs() ? array_of(call.in(i)) : array{};
}
inline array out(const kernel_call& call, int i = 0) {
  return i < call.outputs() ? array_of(call.out(i)) : array{};
}
inline stream& on(const kernel_call& call) { return *static_cast<stream*>(call.stream()); }

/// A kernel_choice of the library.
constexpr kernel_choice kernel(std::string_view name, void (*run)(const kernel_call&),
                               long workspace = 0) {
  return {name, run, workspace};
}

// Functions by their types: -1 where the library has none.

template <class F>
constexpr int function_number() {
  if constexpr (std::is_same_v<F, identity_function>) return int(function::identity);
  if constexpr (std::is_same_v<F, relu_fn>) return int(function::relu);
  if constexpr (std::is_same_v<F, relu6_fn>) return int(function::relu6);
  if constexpr (std::is_same_v<F, elu_fn>) return int(function::elu);
  if constexpr (std::is_same_v<F, sigmoid_fn>) return int(function::sigmoid);
  if constexpr (std::is_same_v<F, tanh_fn>) return int(function::tanh);
  if constexpr (std::is_same_v<F, softplus_fn>) return int(function::softplus);
  return -1;
}
template <class A>
inline constexpr int number_of = function_number<std::remove_cvref_t<decltype(A::value)>>();
template <class A>
inline constexpr function function_of = static_cast<function>(number_of<A> < 0 ? 0 : number_of<A>);

/// A kernel of any shape; `Known`: the library has the op's function.
template <void (*Run)(const kernel_call&), bool Known = true>
struct plain {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return Known ? kernel("cuda", Run) : kernel_choice{};
  }
};

}  // namespace cuda

// Each op's kernel in a line or two; undefined again by all.hpp.
#define SLIM_CUDA_KERNEL(Op, ...)                                \
  namespace cuda {                                               \
  inline void run_##Op(const kernel_call& call) { __VA_ARGS__; } \
  }                                                              \
  template <class P>                                             \
  struct kernel_of<op::Op, float, backend::gpu<P>> : cuda::plain<&cuda::run_##Op> {};
/// The same of an op with an activation A; none where the library does not have A.
#define SLIM_CUDA_KERNEL_WITH(Op, ...)                \
  namespace cuda {                                    \
  template <class A>                                  \
  void run_##Op(const kernel_call& call) {            \
    constexpr function f = function_of<A>;            \
    __VA_ARGS__;                                      \
  }                                                   \
  }                                                   \
  template <class A, class P>                         \
  struct kernel_of<op::Op<A>, float, backend::gpu<P>> \
      : cuda::plain<&cuda::run_##Op<A>, (cuda::number_of<A> >= 0)> {};

}  // namespace slim
