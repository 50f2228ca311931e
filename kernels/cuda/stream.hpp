// A stream and what its kernels need: library handles, scratch memory, plans of contractions.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include <slim/error.hpp>

#include "library.hpp"

namespace slim::cuda {

class plan_book;

/// Throws slim::error for a failed call of CUDA's.
inline void check(cudaError_t e, const char* what) {
  if (e != cudaSuccess) throw error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(e));
}
inline void check(cublasStatus_t e, const char* what) {
  if (e != CUBLAS_STATUS_SUCCESS)
    throw error(std::string("cuBLASLt: ") + what + ": " + cublasLtGetStatusName(e));
}

class stream {
 public:
  explicit stream(math precision);
  ~stream();
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;

  math precision;
  cudaStream_t handle = nullptr;
  cublasLtHandle_t blas = nullptr;
  int multiprocessors = 0;
  std::string device_name;
  const unsigned long long* random_key = nullptr;  ///< in device memory: this run's
  std::unique_ptr<plan_book> plans;

  /// Memory that the next kernel may use; what an earlier call gave may be the same.
  void* scratch(std::size_t bytes);
  /// Memory of its own for products, which are parts of other work that has scratch memory.
  void* product_memory(std::size_t bytes);
  /// Whether work is being recorded: then nothing may be timed or allocated.
  bool recording() const { return recording_; }
  void set_recording(bool on) { recording_ = on; }
  /// Gathers weights to prepare until `prepare_all`, which brings all into their forms at once.
  struct preparation {
    array from, scale, to;
    int k;
    bool turned;
  };
  bool gathering = false;
  std::vector<preparation> gathered;
  void prepare_all();
  /// Throws if the kernel that was just launched could not be.
  void check(const char* what) const { cuda::check(cudaGetLastError(), what); }

 private:
  std::vector<void*> scratch_;  // grown: earlier pieces may be in recorded work
  std::size_t scratch_bytes_ = 0;
  void* product_memory_ = nullptr;
  bool recording_ = false;
};

}  // namespace slim::cuda
