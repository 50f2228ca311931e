// CUDA kernels of pooling.
#pragma once

#include <slim/op/pool.hpp>

#include "contraction.hpp"

namespace slim {
namespace cuda {

/// A convolution's window over images as a pool: as many channels out as in.
inline convolution_shape pool_of(const kernel_call& call, const shape& x) {
  return shape_of(call.a().win, x, x[3]);
}

}  // namespace cuda

SLIM_CUDA_KERNEL(max_pool, max_pool(on(call), pool_of(call, call.in(0).dims), in(call, 0),
                                    out(call), out(call, 1)))
SLIM_CUDA_KERNEL(max_pool_backward,
                 max_pool_backward(on(call), pool_of(call, call.out().dims), in(call, 0),
                                   in(call, 1), {}, function::identity, in(call, 2), out(call)))
SLIM_CUDA_KERNEL_WITH(max_pool_backward_activation,
                      max_pool_backward(on(call), pool_of(call, call.out().dims), in(call, 0),
                                        in(call, 1), in(call, 2), f, in(call, 3), out(call)))
SLIM_CUDA_KERNEL(max_pool_search_backward,
                 max_pool_search_backward(on(call), pool_of(call, call.in(0).dims), in(call, 0),
                                          in(call, 1), out(call)))
SLIM_CUDA_KERNEL_WITH(max_pool_activation_backward, {
  const shape x = call.out().dims;
  const convolution_shape s{x[0], x[1], x[2], x[3], 2,        2,        2,   2,
                            1,    1,    0,    0,    x[1] / 2, x[2] / 2, x[3]};
  max_pool_activation_backward(on(call), s, in(call, 0), in(call, 1), in(call, 2), f, out(call),
                               out(call, 1));
})
SLIM_CUDA_KERNEL(avg_pool,
                 avg_pool(on(call), pool_of(call, call.in(0).dims), in(call, 0), out(call)))
SLIM_CUDA_KERNEL(avg_pool_backward, avg_pool_backward(on(call), pool_of(call, call.out().dims),
                                                      in(call, 0), out(call)))

}  // namespace slim
