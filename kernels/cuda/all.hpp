// Which function of the library of CUDA kernels each op runs: backend::gpu<P>. Users' own
// activations, losses and regularizers run by kernels of their own (own.hpp), ops of their own by a
// specialisation of kernel_of.
#pragma once

#include "batch_norm.hpp"
#include "contraction.hpp"
#include "elementwise.hpp"
#include "losses.hpp"
#include "pool.hpp"

#undef SLIM_CUDA_KERNEL
#undef SLIM_CUDA_KERNEL_WITH
