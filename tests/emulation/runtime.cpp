// The part of the CUDA runtime that the library calls, over host memory. Work runs when it is
// enqueued, or when the graph that records it is launched.
#include <cuda_runtime.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

struct CUgraph_st {
  std::vector<std::function<void()>> work;
};
struct CUgraphExec_st {
  std::vector<std::function<void()>> work;
};
struct CUstream_st {
  CUgraph_st* recorded = nullptr;
};
struct CUevent_st {
  std::chrono::steady_clock::time_point at{};
};

namespace emulation {

void enqueue(cudaStream_t stream, std::function<void()> work) {
  if (stream != nullptr && stream->recorded != nullptr)
    stream->recorded->work.push_back(std::move(work));
  else
    work();
}

namespace {

/// Device memory, each piece with a margin that nothing may write.
class memory {
 public:
  static constexpr std::size_t total = std::size_t{80} << 30, margin = 256;
  static constexpr unsigned char untouched = 0xd7;

  void* allocate(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (bytes > total - taken_) return nullptr;
    auto* made = static_cast<unsigned char*>(std::aligned_alloc(256, round_up(bytes) + margin));
    if (made == nullptr) return nullptr;
    std::memset(made, 0xff, bytes);  // not numbers
    std::memset(made + bytes, untouched, round_up(bytes) + margin - bytes);
    pieces_[made] = bytes, taken_ += bytes;
    return made;
  }
  void release(void* piece) {
    const std::lock_guard lock(mutex_);
    const auto found = pieces_.find(static_cast<unsigned char*>(piece));
    if (found == pieces_.end()) fail("memory is freed that was not allocated");
    const auto [first, bytes] = *found;
    for (std::size_t i = bytes; i < round_up(bytes) + margin; ++i)
      if (first[i] != untouched) fail("something was written behind its memory");
    taken_ -= bytes;
    pieces_.erase(found);
    std::free(first);
  }
  bool holds(const void* at) {
    const std::lock_guard lock(mutex_);
    auto after = pieces_.upper_bound(static_cast<unsigned char*>(const_cast<void*>(at)));
    if (after == pieces_.begin()) return false;
    const auto [first, bytes] = *--after;
    return at < first + bytes;
  }
  std::size_t free_bytes() {
    const std::lock_guard lock(mutex_);
    return total - taken_;
  }
  [[noreturn]] static void fail(const char* what) {
    std::fprintf(stderr, "emulated CUDA: %s\n", what);
    std::abort();
  }

 private:
  static std::size_t round_up(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

  std::mutex mutex_;
  std::map<unsigned char*, std::size_t> pieces_;
  std::size_t taken_ = 0;
};
memory device;

}  // namespace
}  // namespace emulation

using emulation::device;
using emulation::enqueue;

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
cudaError_t cudaGetDevice(int* which) { return *which = 0, cudaSuccess; }
cudaError_t cudaSetDevice(int which) { return which == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
  std::memset(p, 0, sizeof *p);
  std::strcpy(p->name, "emulated GPU");
  p->multiProcessorCount = 2;
  p->major = 9;
  return cudaSuccess;
}
const char* cudaGetErrorString(cudaError_t e) {
  return e == cudaErrorMemoryAllocation ? "out of memory" : "an error";
}
cudaError_t cudaGetLastError() { return cudaSuccess; }

cudaError_t cudaMalloc(void** made, std::size_t bytes) {
  *made = device.allocate(bytes);
  return *made == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaFree(void* piece) {
  if (piece != nullptr) device.release(piece);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = device.free_bytes(), *total = emulation::memory::total;
  return cudaSuccess;
}
cudaError_t cudaHostRegister(void*, std::size_t, unsigned) { return cudaSuccess; }
cudaError_t cudaHostUnregister(void*) { return cudaSuccess; }
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* a, const void* at) {
  std::memset(a, 0, sizeof *a);
  a->type = device.holds(at) ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered;
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (device.holds(to) != to_device || device.holds(from) != from_device)
    return cudaErrorInvalidValue;
  enqueue(stream, [=] { std::memcpy(to, from, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  enqueue(stream, [=] { std::memset(to, value, bytes); });
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* made, unsigned) {
  return *made = new CUstream_st, cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return delete stream, cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return stream->recorded == nullptr ? cudaSuccess : cudaErrorStreamCaptureUnsupported;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  return stream->recorded = new CUgraph_st, cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = std::exchange(stream->recorded, nullptr);
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
  return *made = new CUgraphExec_st{graph->work}, cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t) {
  for (const auto& work : graph->work) work();
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* made) { return *made = new CUevent_st, cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* made, unsigned) { return cudaEventCreate(made); }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete event, cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  return event->at = std::chrono::steady_clock::now(), cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->at - begin->at).count();
  return cudaSuccess;
}

}  // extern "C"
