// How kernels are started, and how they get shared memory: the two places where CUDA's own syntax
// is not C++'s. tests/emulation has both for a CPU.
#pragma once

#include "early.cuh"
#include "stream.hpp"

#ifndef SLIM_EMULATED_CUDA

namespace slim::cuda {

/// Starts a kernel on the stream; throws, naming `what` it does, if it cannot be started.
template <class... Parameter, class... Argument>
void launch(stream& s, const char* what, void (*kernel)(Parameter...), dim3 grid, dim3 block,
            std::size_t shared_bytes, const Argument&... argument) {
  kernel<<<grid, block, shared_bytes, s.handle>>>(argument...);
  s.check(what);
}

/// The same for a kernel that may begin before the one before it has ended.
template <class... Parameter, class... Argument>
void launch_early(stream& s, const char* what, void (*kernel)(Parameter...), dim3 grid, dim3 block,
                  std::size_t shared_bytes, const Argument&... argument) {
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid, config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes, config.stream = s.handle;
  config.attrs = &early, config.numAttrs = 1;
  check(cudaLaunchKernelEx(&config, kernel, Parameter(argument)...), what);
}

/// The bytes of shared memory that the kernel was started with.
__device__ inline float* shared_floats() {
  extern __shared__ float4 launched_with[];
  return reinterpret_cast<float*>(launched_with);
}

}  // namespace slim::cuda

#endif
