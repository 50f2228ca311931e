// Kernels that begin while the one before them on the stream ends ("programmatic dependent launch",
// PTX ISA 7.8): what does not depend on that one, to bring weights, they do meanwhile.
#pragma once

namespace slim::cuda {

#ifdef SLIM_EMULATED_CUDA
inline void let_next_kernel_begin() {}
inline void wait_for_kernels_before() {}
#else
/// The next kernel, if it was started early, may begin when all blocks have come here.
__device__ inline void let_next_kernel_begin() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}
/// Waits until the kernels before have ended, whose memory may then be read, and written. Every
/// block of a kernel that is started early must do so: the next one counts on it.
__device__ inline void wait_for_kernels_before() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}
#endif

}  // namespace slim::cuda
