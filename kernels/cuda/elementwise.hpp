// CUDA kernels of element-wise ops and of regularizers.
#pragma once

#include <slim/op/concat.hpp>
#include <slim/op/dropout.hpp>
#include <slim/op/one_hot.hpp>
#include <slim/op/regularizer.hpp>
#include <slim/regularizers.hpp>

#include "support.hpp"

namespace slim {
namespace cuda {

/// What a regularizer comes to; `known` where it is one of the library's.
struct known_penalty {
  penalty p{};
  bool known = true;
};
template <class R>
constexpr known_penalty penalty_of(const R& r) {
  if constexpr (std::is_same_v<R, l1_regularizer>)
    return {{float(r.scale), 0}};
  else if constexpr (std::is_same_v<R, l2_regularizer>)
    return {{0, float(r.scale)}};
  else if constexpr (std::is_same_v<R, l1_l2_regularizer>)
    return {{float(r.scale_l1), float(r.scale_l2)}};
  else if constexpr (requires { r.a, r.b; }) {
    const known_penalty a = penalty_of(r.a), b = penalty_of(r.b);
    return {{a.p.l1 + b.p.l1, a.p.l2 + b.p.l2}, a.known && b.known};
  } else {
    return {{}, false};
  }
}

}  // namespace cuda

// Element by element.
SLIM_CUDA_KERNEL(add, add(on(call), in(call, 0), in(call, 1), function::identity, out(call)))
SLIM_CUDA_KERNEL(bring, bring(on(call), call.in(0).data, out(call)))
SLIM_CUDA_KERNEL(copy, copy(on(call), in(call, 0), out(call)))
SLIM_CUDA_KERNEL(one, fill(on(call), out(call), 1))
SLIM_CUDA_KERNEL(scale, scale(on(call), in(call, 0), in(call, 1), out(call)))
SLIM_CUDA_KERNEL(bias_add,
                 add_bias(on(call), in(call, 0), in(call, 1), {}, function::identity, out(call)))
SLIM_CUDA_KERNEL(bias_backward, sum_rows(on(call), in(call, 0), out(call)))
SLIM_CUDA_KERNEL(dropout,
                 dropout(on(call), in(call, 0), call.a().integer, call.a().number, out(call)))
SLIM_CUDA_KERNEL(dropout_backward,
                 dropout(on(call), in(call, 0), call.a().integer, call.a().number, out(call)))
SLIM_CUDA_KERNEL(one_hot, one_hot(on(call), in(call, 0), call.a().integer, float(call.a().number),
                                  float(call.a().second), out(call)))
namespace cuda {
template <class A>
void run_activation(const kernel_call& call) {
  if constexpr (is_own<A>)
    own_activation<A>::forward(on(call), in(call, 0), out(call));
  else
    activate(on(call), in(call, 0), function_of<A>, out(call));
}
template <class A>
void run_activation_backward(const kernel_call& call) {
  if constexpr (is_own<A>)
    own_activation<A>::backward(on(call), in(call, 0), in(call, 1), out(call));
  else
    activate_backward(on(call), in(call, 0), in(call, 1), function_of<A>, out(call));
}
}  // namespace cuda
template <class A, class P>
struct kernel_of<op::activation<A>, float, backend::gpu<P>>
    : cuda::plain<&cuda::run_activation<A>, cuda::is_own<A> || (cuda::number_of<A> >= 0)> {};
template <class A, class P>
struct kernel_of<op::activation_backward<A>, float, backend::gpu<P>>
    : cuda::plain<&cuda::run_activation_backward<A>, cuda::is_own<A> || (cuda::number_of<A> >= 0)> {
};
SLIM_CUDA_KERNEL_WITH(fused_add, add(on(call), in(call, 0), in(call, 1), f, out(call)))
SLIM_CUDA_KERNEL_WITH(add_activation_backward,
                      add_activate_backward(on(call), in(call, 0), in(call, 1), in(call, 2), f,
                                            out(call)))
SLIM_CUDA_KERNEL_WITH(fused_scale_shift,
                      scale_shift(on(call), in(call, 0), in(call, 1), in(call, 2), f, out(call)))
SLIM_CUDA_KERNEL(scale_shift, scale_shift(on(call), in(call, 0), in(call, 1), in(call, 2),
                                          function::identity, out(call)))
SLIM_CUDA_KERNEL(tile_channels, tile_channels(on(call), in(call, 0), call.a().integer, out(call)))
SLIM_CUDA_KERNEL(tile_channels_backward,
                 tile_channels_backward(on(call), in(call, 0), call.in(0).dims[2], out(call)))

SLIM_CUDA_KERNEL(concat, {
  const int to = call.out().dims.back();
  for (int i = 0, first = 0; i < call.inputs(); ++i) {
    const int from = call.in(i).dims.back();
    copy_columns(on(call), in(call, i), from, 0, out(call), to, first, from);
    first += from;
  }
})
SLIM_CUDA_KERNEL(channel_slice, {
  const int to = call.out().dims.back();
  copy_columns(on(call), in(call, 0), call.in(0).dims.back(), call.a().integer, out(call), to, 0,
               to);
})

// Regularizers.
namespace cuda {
template <class R>
void run_regularizer(const kernel_call& call) {
  if constexpr (is_own<R>)
    own_regularizer<R>::forward(on(call), in(call, 0), out(call));
  else
    regularizer(on(call), in(call, 0), penalty_of(R::value).p, out(call));
}
template <class R>
void run_regularizer_backward(const kernel_call& call) {
  if constexpr (is_own<R>)
    own_regularizer<R>::backward(on(call), in(call, 0), in(call, 1), in(call, 2), out(call));
  else
    regularizer_backward(on(call), in(call, 0), in(call, 1), in(call, 2), penalty_of(R::value).p,
                         out(call));
}
template <class R>
inline constexpr bool has_penalty = is_own<R> || penalty_of(R::value).known;
}  // namespace cuda
template <class R, class P>
struct kernel_of<op::regularizer<R>, float, backend::gpu<P>>
    : cuda::plain<&cuda::run_regularizer<R>, cuda::has_penalty<R>> {};
template <class R, class P>
struct kernel_of<op::regularizer_backward<R>, float, backend::gpu<P>>
    : cuda::plain<&cuda::run_regularizer_backward<R>, cuda::has_penalty<R>> {};

}  // namespace slim
