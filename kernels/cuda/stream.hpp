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

/// Handles and memory of CUDA's that end with what holds them.
template <auto Destroy>
struct destroyer {
  template <class T>
  void operator()(T* held) const {
    Destroy(held);
  }
};
using owned_stream = std::unique_ptr<CUstream_st, destroyer<cudaStreamDestroy>>;
using owned_event = std::unique_ptr<CUevent_st, destroyer<cudaEventDestroy>>;
using owned_blas = std::unique_ptr<cublasLtContext, destroyer<cublasLtDestroy>>;
using owned_memory = std::unique_ptr<void, destroyer<cudaFree>>;
using owned_graph = std::unique_ptr<CUgraph_st, destroyer<cudaGraphDestroy>>;
using owned_recording = std::unique_ptr<CUgraphExec_st, destroyer<cudaGraphExecDestroy>>;

inline owned_stream make_stream() {
  cudaStream_t made = nullptr;
  check(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "cudaStreamCreate");
  return owned_stream(made);
}
inline owned_event make_event(unsigned flags = cudaEventDisableTiming) {
  cudaEvent_t made = nullptr;
  check(cudaEventCreateWithFlags(&made, flags), "cudaEventCreate");
  return owned_event(made);
}
inline owned_memory make_memory(std::size_t bytes, const char* what) {
  void* made = nullptr;
  check(cudaMalloc(&made, bytes), what);
  return owned_memory(made);
}

class stream {
 public:
  /// On a device by its number; -1: that which is current.
  explicit stream(math precision, int device = -1);
  ~stream();
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;

  /// Makes the device current for this thread, as all calls but those of the constructor need.
  void use() const { cuda::check(cudaSetDevice(device), "cudaSetDevice"); }

  const math precision;
  int device = 0;
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
  /// Memory that the work now being started does not write.
  struct memory_range {
    const void* first = nullptr;
    long bytes = 0;
  };
  std::vector<memory_range> constant;
  /// Whether recorded work may read an array while the kernel before it runs.
  bool settled(const array& a) const;
  struct preparation {
    array from, scale, to;
    int k;
    bool turned;
  };
  struct motion {
    array from, batch, to;
    float unbiased, pull;
  };
  /// While gathering, weights to prepare wait for `prepare_all`, which brings all into their forms
  /// at once, and averages to move for `move_all`.
  bool gathering = false;
  std::vector<preparation> gathered;
  std::vector<motion> gathered_motions;
  void prepare_all();
  void move_all();
  /// Throws if the kernel that was just launched could not be.
  void check(const char* what) const { cuda::check(cudaGetLastError(), what); }

 private:
  owned_stream owned_handle_;
  owned_blas owned_blas_;
  std::vector<owned_memory> scratch_;  // grown: earlier pieces may be in recorded work
  std::size_t scratch_bytes_ = 0;
  owned_memory product_memory_;
  bool recording_ = false;
};

/// Records the work that a function starts on the stream, which must have run before: what it needs
/// is there.
template <class Work>
owned_recording record(stream& s, Work work) {
  check(cudaStreamBeginCapture(s.handle, cudaStreamCaptureModeThreadLocal), "recording");
  s.set_recording(true);
  cudaGraph_t graph = nullptr;
  try {
    work();
  } catch (...) {
    s.set_recording(false);
    cudaStreamEndCapture(s.handle, &graph);
    owned_graph(graph).reset();
    throw;
  }
  s.set_recording(false);
  check(cudaStreamEndCapture(s.handle, &graph), "recording");
  const owned_graph recorded(graph);
  cudaGraphExec_t made = nullptr;
  check(cudaGraphInstantiate(&made, graph, 0), "cudaGraphInstantiate");
  return owned_recording(made);
}

}  // namespace slim::cuda
