// CUDA kernels of batch normalisation.
#pragma once

#include <slim/op/batch_norm.hpp>

#include "support.hpp"

namespace slim {
namespace cuda {

inline batch_norm_arrays norm_of(const kernel_call& call, const attributes& a, array mean,
                                 array variance, int fixed) {
  using parts = op::batch_norm_parts;
  const int gamma = op::detail::optional_input(a, fixed, parts::gamma);
  const int beta = op::detail::optional_input(a, fixed, parts::beta);
  return {mean, variance, in(call, gamma), in(call, beta), a.number};
}
inline batch_norm_arrays norm_of(const kernel_call& call, array mean, array variance, int fixed) {
  return norm_of(call, call.a(), mean, variance, fixed);
}

}  // namespace cuda

SLIM_CUDA_KERNEL(batch_norm,
                 batch_norm(on(call), in(call, 0), norm_of(call, out(call, 1), out(call, 2), 3),
                            function::identity, out(call)))
SLIM_CUDA_KERNEL_WITH(fused_batch_norm,
                      batch_norm(on(call), in(call, 0),
                                 norm_of(call, out(call, 1), out(call, 2), 3), f, out(call)))
SLIM_CUDA_KERNEL(batch_norm_statistics,
                 batch_norm_statistics(on(call), in(call, 0), out(call), out(call, 1)))
SLIM_CUDA_KERNEL_WITH(batch_norm_add, normalize_add(on(call), in(call, 0),
                                                    norm_of(call, in(call, 1), in(call, 2), 3),
                                                    in(call, call.inputs() - 1), f, out(call)))
SLIM_CUDA_KERNEL_WITH(batch_norms_add, {
  const int x = op::detail::second_batch_norm_input(call.a());
  const attributes second = op::detail::second_batch_norm(call.a());
  normalize_both(on(call), in(call, 0), norm_of(call, in(call, 1), in(call, 2), 3), in(call, x),
                 norm_of(call, second, in(call, x + 1), in(call, x + 2), x + 3), f, out(call));
})
SLIM_CUDA_KERNEL(batch_norm_inference,
                 normalize(on(call), in(call, 0), norm_of(call, in(call, 1), in(call, 2), 3),
                           function::identity, out(call)))
SLIM_CUDA_KERNEL(batch_norm_backward,
                 batch_norm_backward(on(call), in(call, 0), in(call, 1),
                                     norm_of(call, in(call, 2), in(call, 3), 4),
                                     function::identity, true, out(call), out(call, 1),
                                     out(call, 2)))
SLIM_CUDA_KERNEL_WITH(fused_batch_norm_backward,
                      batch_norm_backward(on(call), in(call, 0), in(call, 1),
                                          norm_of(call, in(call, 2), in(call, 3), 4), f, true,
                                          out(call), out(call, 1), out(call, 2)))
SLIM_CUDA_KERNEL_WITH(activation_batch_norm_backward, {
  const int x = call.inputs() - 3 - ((call.a().integer & op::batch_norm_parts::gamma) != 0);
  activation_batch_norm_backward(
      on(call), in(call, 0), x == 3 ? in(call, 1) : array{}, in(call, x - 1), f, in(call, x),
      norm_of(call, in(call, x + 1), in(call, x + 2), x + 3), out(call), out(call, 1), out(call, 2),
      out(call, 3));
})
SLIM_CUDA_KERNEL(batch_norm_inference_backward,
                 batch_norm_backward(on(call), in(call, 0), in(call, 1),
                                     norm_of(call, in(call, 2), in(call, 3), 4),
                                     function::identity, false, out(call), out(call, 1),
                                     out(call, 2)))
SLIM_CUDA_KERNEL(batch_norm_scale,
                 batch_norm_scale(on(call), in(call, 0),
                                  in(call, op::detail::optional_input(call.a(), 1,
                                                                      op::batch_norm_parts::gamma)),
                                  call.a().number, out(call)))
SLIM_CUDA_KERNEL(batch_norm_shift, {
  using parts = op::batch_norm_parts;
  batch_norm_shift(on(call), in(call, 0), in(call, 1),
                   in(call, op::detail::optional_input(call.a(), 2, parts::beta)),
                   in(call, op::detail::optional_input(call.a(), 2, parts::bias)), out(call));
})
SLIM_CUDA_KERNEL(scale_columns, scale_columns(on(call), in(call, 0), in(call, 1), out(call)))
SLIM_CUDA_KERNEL(update_moving_average, {
  const long count = long{call.n()} * call.a().dims.count();
  const float unbiased =
      call.a().integer == 0 ? 1.0f : float(count) / float(count > 2 ? count - 1 : 1);
  moving_average(on(call), in(call, 0), in(call, 1), unbiased, float(1.0 - call.a().number),
                 out(call));
})

}  // namespace slim
