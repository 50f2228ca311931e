// The accelerator of one CUDA device: memory, copies, and runs of steps that are recorded as CUDA
// graphs.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <tuple>

#include <slim/accelerator.hpp>

#include "optimizers.hpp"
#include "plans.hpp"

namespace slim::cuda {

stream::stream(math precision) : precision(precision) {
  int count = 0;
  if (const cudaError_t e = cudaGetDeviceCount(&count); e != cudaSuccess || count == 0)
    throw error(std::string("no CUDA device can be used: ") +
                (e != cudaSuccess ? cudaGetErrorString(e) : "there is none"));
  cudaDeviceProp properties;
  cuda::check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  multiprocessors = properties.multiProcessorCount;
  device_name = properties.name;
  if (properties.major < 9)
    throw error("the CUDA device " + device_name +
                " is older than the kernels: they are for compute "
                "capability 9.0");
  cuda::check(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking), "cudaStreamCreate");
  cuda::check(cublasLtCreate(&blas), "cublasLtCreate");
  plans = std::make_unique<plan_book>();
  plans->cudnn = make_cudnn(*this);
}

stream::~stream() {
  cudaStreamSynchronize(handle);
  plans.reset();
  for (void* p : scratch_) cudaFree(p);
  cudaFree(product_memory_);
  cublasLtDestroy(blas);
  cudaStreamDestroy(handle);
}

void* stream::scratch(std::size_t bytes) {
  if (bytes > scratch_bytes_) {
    if (recording_) throw error("CUDA: scratch memory would have to grow while work is recorded");
    void* more = nullptr;
    cuda::check(cudaMalloc(&more, bytes), "scratch memory");
    scratch_.push_back(more);
    scratch_bytes_ = bytes;
  }
  return scratch_.empty() ? nullptr : scratch_.back();
}

void* stream::product_memory(std::size_t bytes) {
  if (product_memory_ == nullptr)
    cuda::check(cudaMalloc(&product_memory_, bytes), "scratch memory");
  return product_memory_;
}

namespace {

/// What recorded work reads anew each time it is replayed; in device memory.
struct parameters {
  unsigned long long random_key;
  float numbers[8];
};

/// What tells recorded pieces of work apart.
using work_key = std::tuple<const void*, int, int, int, const void*, const void*, const void*,
                            const void*, int, std::vector<std::pair<long, long>>>;

struct recording {
  int runs = 0;  // before it was recorded
  cudaGraphExec_t graph = nullptr;
};

std::string megabytes(std::size_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

class cuda_accelerator : public accelerator {
 public:
  explicit cuda_accelerator(math precision, long bytes) : stream_(precision) {
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    if (static_cast<std::size_t>(bytes) > free)
      throw error("the model needs " + megabytes(static_cast<std::size_t>(bytes)) +
                  " of device memory; of the " + megabytes(total) + " of the " +
                  stream_.device_name + " " + megabytes(free) + " are free");
    check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "cudaStreamCreate");
    check(cudaMalloc(&parameters_, sizeof(parameters)), "cudaMalloc");
    stream_.random_key = &parameters_->random_key;
    for (cudaEvent_t* e : {&copied_, &read_[0], &read_[1]})
      check(cudaEventCreateWithFlags(e, cudaEventDisableTiming), "cudaEventCreate");
  }
  ~cuda_accelerator() override {
    cudaStreamSynchronize(stream_.handle);
    cudaStreamSynchronize(copies_);
    for (auto& [key, r] : recorded_)
      if (r.graph != nullptr) cudaGraphExecDestroy(r.graph);
    for (auto& [input, s] : staging_)
      for (void* p : s.memory) cudaFree(p);
    for (cudaEvent_t e : {copied_, read_[0], read_[1]}) cudaEventDestroy(e);
    cudaFree(parameters_);
    cudaStreamDestroy(copies_);
  }

  std::byte* allocate(std::size_t bytes, std::string_view what) override {
    void* memory = nullptr;
    if (const cudaError_t e = cudaMalloc(&memory, bytes); e != cudaSuccess) {
      cudaGetLastError();
      std::size_t free = 0, total = 0;
      cudaMemGetInfo(&free, &total);
      throw error("no device memory for " + std::string(what) + ": " + megabytes(bytes) +
                  " are needed, " + megabytes(free) + " of " + megabytes(total) + " are free");
    }
    check(cudaMemsetAsync(memory, 0, bytes, stream_.handle), "cudaMemset");
    return static_cast<std::byte*>(memory);
  }
  void release(std::byte* memory) noexcept override {
    cudaStreamSynchronize(stream_.handle);
    cudaFree(memory);
  }
  void pin(std::byte* memory, std::size_t bytes) override {
    check(cudaHostRegister(memory, bytes, cudaHostRegisterDefault), "pinned host memory");
  }
  void unpin(std::byte* memory) noexcept override {
    cudaStreamSynchronize(stream_.handle);
    cudaHostUnregister(memory);
  }
  void upload(std::byte* to, const void* from, std::size_t bytes) override {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_.handle), "an upload");
  }
  void download(void* to, const std::byte* from, std::size_t bytes) override {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_.handle), "a download");
    wait();
  }

  void feed(int input, std::byte* to, element type, const void* from, long elements,
            bool there) override {
    const number wanted = static_cast<number>(type);
    const number given = wanted == number::i32 ? number::i32 : number::f32;
    const std::size_t bytes = static_cast<std::size_t>(elements) * 4;
    const void* source = from;
    if (!there) {
      staging& s = staging_[input];
      s.turn ^= 1;
      if (s.bytes < bytes) grow(s, bytes);
      void* memory = s.memory[s.turn];
      check(cudaStreamWaitEvent(copies_, read_[s.turn]), "cudaStreamWaitEvent");
      check(cudaMemcpyAsync(memory, from, bytes, cudaMemcpyHostToDevice, copies_), "an input");
      check(cudaEventRecord(copied_, copies_), "cudaEventRecord");
      check(cudaStreamWaitEvent(stream_.handle, copied_), "cudaStreamWaitEvent");
      source = memory;
    }
    if (given == wanted)
      check(cudaMemcpyAsync(to, source, bytes, cudaMemcpyDeviceToDevice, stream_.handle),
            "an input");
    else
      copy(stream_, {const_cast<void*>(source), given, elements}, {to, wanted, elements});
    if (!there)
      check(cudaEventRecord(read_[staging_[input].turn], stream_.handle), "cudaEventRecord");
  }

  void hand_over(float* to, const std::byte* from, element type, long elements) override {
    const number given = static_cast<number>(type);
    if (given == number::f32)
      check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(elements) * sizeof(float),
                            cudaMemcpyDeviceToDevice, stream_.handle),
            "an output");
    else
      copy(stream_, {const_cast<std::byte*>(from), given, elements}, {to, number::f32, elements});
  }

  void run(const program& p, const execution& e, int first, int last,
           const update_call* then) override {
    set_parameters(e, then);
    if (first == last && then == nullptr) return;
    recording& r = recorded_[key_of(p, e, first, last, then)];
    if (r.graph == nullptr && r.runs++ == 0) return start(p, e, first, last, then);
    if (r.graph == nullptr) r.graph = record(p, e, first, last, then);
    check(cudaGraphLaunch(r.graph, stream_.handle), "cudaGraphLaunch");
  }
  void run_step(const program& p, const execution& e, int step) override {
    set_parameters(e, nullptr);
    start(p, e, step, step + 1, nullptr);
  }
  void wait() override { check(cudaStreamSynchronize(stream_.handle), "a kernel"); }
  std::unique_ptr<accelerator> another() const override {
    auto made = std::make_unique<cuda_accelerator>(stream_.precision, 0);
    made->stream_.plans->follow(*stream_.plans);
    return made;
  }
  void keep_plans(const std::string& file) override { stream_.plans->keep_in(file); }
  std::string plans() const override { return stream_.plans->report(); }

 private:
  struct staging {
    void* memory[2] = {};
    std::size_t bytes = 0;
    int turn = 0;
  };
  void grow(staging& s, std::size_t bytes) {
    check(cudaStreamSynchronize(stream_.handle), "a kernel");
    for (void*& p : s.memory) {
      cudaFree(p);
      check(cudaMalloc(&p, bytes), "memory for inputs");
    }
    s.bytes = bytes;
  }

  void set_parameters(const execution& e, const update_call* then) {
    parameters now{e.random_key, {}};
    if (then != nullptr) std::copy_n(then->step.numbers, 8, now.numbers);
    // So small a copy is taken at once, whatever becomes of `now`.
    check(cudaMemcpyAsync(parameters_, &now, sizeof now, cudaMemcpyHostToDevice, stream_.handle),
          "parameters");
  }

  static work_key key_of(const program& p, const execution& e, int first, int last,
                         const update_call* then) {
    std::vector<std::pair<long, long>> ranges;
    if (then != nullptr)
      for (const element_range& r : then->memory.ranges) ranges.emplace_back(r.first, r.last);
    return {p.steps.begin(),
            first,
            last,
            e.n,
            e.arena,
            e.variables,
            e.prepared,
            then == nullptr ? nullptr : then->memory.slots[0],
            then == nullptr ? -1 : static_cast<int>(then->step.kind),
            std::move(ranges)};
  }

  void start(const program& p, execution e, int first, int last, const update_call* then) {
    e.stream = &stream_;
    // Steps that prepare come first, and read none of each other's weights.
    int i = first;
    stream_.gathering = true;
    for (; i < last && p.steps[i].prepare; ++i) p.steps[i].run(kernel_call(p, p.steps[i], e));
    stream_.prepare_all();
    run_steps(p, e, i, last);
    if (then != nullptr) update(stream_, then->step.kind, parameters_->numbers, then->memory);
  }

  cudaGraphExec_t record(const program& p, const execution& e, int first, int last,
                         const update_call* then) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t made = nullptr;
    check(cudaStreamBeginCapture(stream_.handle, cudaStreamCaptureModeThreadLocal), "recording");
    stream_.set_recording(true);
    try {
      start(p, e, first, last, then);
    } catch (...) {
      stream_.set_recording(false);
      cudaStreamEndCapture(stream_.handle, &graph);
      throw;
    }
    stream_.set_recording(false);
    check(cudaStreamEndCapture(stream_.handle, &graph), "recording");
    check(cudaGraphInstantiate(&made, graph), "cudaGraphInstantiate");
    cudaGraphDestroy(graph);
    return made;
  }

  stream stream_;
  cudaStream_t copies_ = nullptr;
  parameters* parameters_ = nullptr;
  cudaEvent_t copied_ = nullptr, read_[2] = {};
  std::map<int, staging> staging_;
  std::map<work_key, recording> recorded_;
};

}  // namespace

void bring(stream& s, const void* host, array y) {
  check(cudaMemcpyAsync(y.data, host, static_cast<std::size_t>(y.count) * sizeof(float),
                        cudaMemcpyHostToDevice, s.handle),
        "a variable in host memory");
}

std::unique_ptr<accelerator> make_accelerator(math precision, long bytes) {
  return std::make_unique<cuda_accelerator>(precision, bytes);
}

}  // namespace slim::cuda
