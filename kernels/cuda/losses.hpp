// CUDA kernels of softmax, losses and their reduction, and of normalisation without variables.
#pragma once

#include <slim/losses/functions.hpp>
#include <slim/op/losses.hpp>
#include <slim/op/normalize.hpp>
#include <slim/op/softmax.hpp>

#include "support.hpp"

namespace slim {
namespace cuda {

struct known_loss {
  elementwise_loss l{};
  bool known = true;
};
template <class F>
constexpr known_loss loss_of(const F& f) {
  if constexpr (std::is_same_v<F, absolute_difference_fn>)
    return {{loss_function::absolute_difference}};
  else if constexpr (std::is_same_v<F, squared_error_fn>)
    return {{loss_function::squared_error}};
  else if constexpr (std::is_same_v<F, log_loss_fn>)
    return {{loss_function::log_loss, float(f.epsilon)}};
  else if constexpr (std::is_same_v<F, sigmoid_cross_entropy_fn>)
    return {{loss_function::sigmoid_cross_entropy, float(f.smoothing)}};
  else if constexpr (std::is_same_v<F, hinge_fn>)
    return {{loss_function::hinge}};
  else
    return {{}, false};
}

inline reduction reduction_of(const kernel_call& call, int weights) {
  return {in(call, weights), call.a().number, call.a().integer == 1};
}

inline axis axis_of(const shape& s, int at) {
  axis a{1, s[at], 1};
  for (int i = 0; i < at; ++i) a.outer *= s[i];
  for (int i = at + 1; i < s.rank; ++i) a.inner *= s[i];
  return a;
}

}  // namespace cuda

SLIM_CUDA_KERNEL(softmax, softmax(on(call), in(call, 0), call.in(0).dims.back(), out(call)))
SLIM_CUDA_KERNEL(log_softmax, log_softmax(on(call), in(call, 0), call.in(0).dims.back(), out(call)))
SLIM_CUDA_KERNEL(softmax_backward, softmax_backward(on(call), in(call, 0), in(call, 1),
                                                    call.in(0).dims.back(), out(call)))
SLIM_CUDA_KERNEL(log_softmax_backward, log_softmax_backward(on(call), in(call, 0), in(call, 1),
                                                            call.in(0).dims.back(), out(call)))
SLIM_CUDA_KERNEL(cross_entropy_rows,
                 cross_entropy_rows(on(call), in(call, 0), in(call, 1), call.in(0).dims.back(),
                                    float(call.a().number), out(call)))
SLIM_CUDA_KERNEL(cross_entropy_rows_backward,
                 cross_entropy_rows_backward(on(call), in(call, 1), in(call, 2),
                                             call.in(0).dims.back(), float(call.a().number),
                                             out(call)))
namespace cuda {
inline void run_softmax_cross_entropy(const kernel_call& call) {
  softmax_cross_entropy(on(call), in(call, 0), in(call, 1), in(call, 2), call.in(0).dims.back(),
                        float(call.a().number), float(call.a().second),
                        {call.workspace<void>(), number::f32, call.in(0).dims[0]}, out(call),
                        out(call, 1));
}
}  // namespace cuda
template <class P>
struct kernel_of<op::softmax_cross_entropy, float, backend::gpu<P>> {
  static constexpr kernel_choice choose(const graph& g, const node_row& n) {
    return cuda::kernel("cuda", &cuda::run_softmax_cross_entropy, long{g.input_shape(n, 0)[0]} * 4);
  }
};
SLIM_CUDA_KERNEL(weighted_mean,
                 weighted_mean(on(call), in(call, 0), reduction_of(call, 1), out(call)))
SLIM_CUDA_KERNEL(weighted_mean_backward,
                 weighted_mean_backward(on(call), in(call, 1), reduction_of(call, 2), out(call)))
SLIM_CUDA_KERNEL(weighted_mean_weights_backward,
                 weighted_mean_weights_backward(on(call), in(call, 0), in(call, 1),
                                                reduction_of(call, 2), out(call)))
namespace cuda {
template <class F>
void run_loss(const kernel_call& call) {
  if constexpr (is_own<F>)
    own_loss<F>::forward(on(call), in(call, 0), in(call, 1), out(call));
  else
    losses(on(call), loss_of(F::value).l, in(call, 0), in(call, 1), out(call));
}
template <class F, op::wrt By>
void run_loss_backward(const kernel_call& call) {
  constexpr bool labels = By == op::wrt::labels;
  if constexpr (is_own<F>)
    own_loss<F>::backward(on(call), in(call, 0), in(call, 1), in(call, 2), labels, out(call));
  else
    losses_backward(on(call), loss_of(F::value).l, in(call, 0), in(call, 1), in(call, 2), labels,
                    out(call));
}
template <class F>
inline constexpr bool has_loss = is_own<F> || loss_of(F::value).known;
}  // namespace cuda
template <class F, class P>
struct kernel_of<op::elementwise_loss<F>, float, backend::gpu<P>>
    : cuda::plain<&cuda::run_loss<F>, cuda::has_loss<F>> {};
template <class F, op::wrt By, class P>
struct kernel_of<op::elementwise_loss_backward<F, By>, float, backend::gpu<P>>
    : cuda::plain<&cuda::run_loss_backward<F, By>, cuda::has_loss<F>> {};
SLIM_CUDA_KERNEL(cosine_distance,
                 cosine_distance(on(call), axis_of(call.in(0).dims, call.a().integer), in(call, 0),
                                 in(call, 1), out(call)))
SLIM_CUDA_KERNEL(cosine_distance_backward,
                 cosine_distance_backward(on(call), axis_of(call.in(0).dims, call.a().integer),
                                          in(call, 0), in(call, 1), out(call)))
SLIM_CUDA_KERNEL(pairwise_squared_error, pairwise_squared_error(on(call), in(call, 0), in(call, 1),
                                                                call.out().dims[0], out(call)))
SLIM_CUDA_KERNEL(pairwise_squared_error_backward,
                 pairwise_squared_error_backward(on(call), in(call, 0), in(call, 1), in(call, 2),
                                                 call.in(2).dims[0], out(call)))

// Normalisation without variables.
SLIM_CUDA_KERNEL(unit_norm, unit_norm(on(call), axis_of(call.in(0).dims, call.a().integer),
                                      in(call, 0), float(call.a().number), out(call)))
SLIM_CUDA_KERNEL(unit_norm_backward,
                 unit_norm_backward(on(call), axis_of(call.in(0).dims, call.a().integer),
                                    in(call, 0), in(call, 1), float(call.a().number), out(call)))
namespace cuda {

template <class R>
constexpr response response_of() {
  constexpr op::response_options o = R::value;
  return {o.depth_radius, float(o.bias), float(o.alpha), float(o.beta)};
}
template <class R>
void run_response(const kernel_call& call) {
  local_response_normalization(on(call), response_of<R>(), in(call, 0), call.in(0).dims.back(),
                               out(call));
}
template <class R>
void run_response_backward(const kernel_call& call) {
  local_response_normalization_backward(on(call), response_of<R>(), in(call, 0), in(call, 1),
                                        call.in(0).dims.back(), out(call));
}

}  // namespace cuda
template <class R, class P>
struct kernel_of<op::local_response_normalization<R>, float, backend::gpu<P>>
    : cuda::plain<&cuda::run_response<R>> {};
template <class R, class P>
struct kernel_of<op::local_response_normalization_backward<R>, float, backend::gpu<P>>
    : cuda::plain<&cuda::run_response_backward<R>> {};

}  // namespace slim
