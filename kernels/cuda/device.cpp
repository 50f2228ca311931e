// The accelerator of one CUDA device: memory, copies, and runs of steps that are recorded as CUDA
// graphs.
#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <optional>
#include <tuple>

#include <slim/accelerator.hpp>

#include "optimizers.hpp"
#include "plans.hpp"

namespace slim::cuda {

stream::stream(math precision, int which) : precision(precision), device(which) {
  int count = 0;
  if (const cudaError_t e = cudaGetDeviceCount(&count); e != cudaSuccess || count == 0)
    throw error(std::string("no CUDA device can be used: ") +
                (e != cudaSuccess ? cudaGetErrorString(e) : "there is none"));
  if (which < 0) cuda::check(cudaGetDevice(&device), "cudaGetDevice");
  use();
  cudaDeviceProp properties;
  cuda::check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  multiprocessors = properties.multiProcessorCount;
  device_name = properties.name;
  if (properties.major < 9)
    throw error("the CUDA device " + device_name +
                " is older than the kernels: they are for compute "
                "capability 9.0");
  owned_handle_ = make_stream(), handle = owned_handle_.get();
  cuda::check(cublasLtCreate(&blas), "cublasLtCreate");
  owned_blas_.reset(blas);
  plans = std::make_unique<plan_book>(device_name);
  plans->cudnn = make_cudnn(*this);
}

stream::~stream() {
  cudaSetDevice(device);
  cudaStreamSynchronize(handle);
  plans.reset();
}

void* stream::scratch(std::size_t bytes) {
  if (bytes > scratch_bytes_) {
    if (recording_) throw error("CUDA: scratch memory would have to grow while work is recorded");
    scratch_.push_back(make_memory(bytes, "scratch memory"));
    scratch_bytes_ = bytes;
  }
  return scratch_.empty() ? nullptr : scratch_.back().get();
}

void* stream::product_memory(std::size_t bytes) {
  if (product_memory_ == nullptr) product_memory_ = make_memory(bytes, "scratch memory");
  return product_memory_.get();
}

bool stream::settled(const array& a) const {
  // Outside of a recording the kernel before may be one of the work before, which prepared weights.
  return recording_ && std::any_of(constant.begin(), constant.end(), [&](const memory_range& r) {
           const auto* first = static_cast<const std::byte*>(r.first);
           const auto* data = static_cast<const std::byte*>(a.data);
           return std::less_equal<>()(first, data) && std::less<>()(data, first + r.bytes);
         });
}

namespace {

/// What recorded work reads anew each time it is replayed; in device memory.
struct parameters {
  unsigned long long random_key;
  float numbers[8];
  bool operator==(const parameters&) const = default;
};

/// What tells recorded pieces of work apart.
using work_key = std::tuple<const void*, int, int, int, std::array<const void*, 6>, int,
                            std::vector<std::pair<long, long>>>;

struct recording {
  bool ran = false;  // before it was recorded
  owned_recording graph;
};

std::string megabytes(std::size_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

class cuda_accelerator : public accelerator {
 public:
  cuda_accelerator(math precision, long bytes, int device = -1) : stream_(precision, device) {
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    if (static_cast<std::size_t>(bytes) > free)
      throw error("the model needs " + megabytes(static_cast<std::size_t>(bytes)) +
                  " of device memory; of the " + megabytes(total) + " of the " +
                  stream_.device_name + " " + megabytes(free) + " are free");
    copies_ = make_stream();
    parameters_ = make_memory(sizeof(parameters), "parameters");
    stream_.random_key = &now()->random_key;
  }
  ~cuda_accelerator() override {
    cudaSetDevice(stream_.device);
    cudaStreamSynchronize(stream_.handle);
    cudaStreamSynchronize(copies_.get());
  }

  std::byte* allocate(std::size_t bytes, std::string_view what) override {
    stream_.use();
    void* memory = nullptr;
    if (const cudaError_t e = cudaMalloc(&memory, bytes); e != cudaSuccess) {
      cudaGetLastError();
      std::size_t free = 0, total = 0;
      cudaMemGetInfo(&free, &total);
      throw error("no device memory for " + std::string(what) + ": " + megabytes(bytes) +
                  " are needed, " + megabytes(free) + " of " + megabytes(total) + " are free");
    }
    owned_memory made(memory);
    check(cudaMemsetAsync(memory, 0, bytes, stream_.handle), "cudaMemset");
    return static_cast<std::byte*>(made.release());
  }
  void release(std::byte* memory) noexcept override {
    cudaSetDevice(stream_.device);
    cudaStreamSynchronize(stream_.handle);
    cudaFree(memory);
  }
  void pin(std::byte* memory, std::size_t bytes) override {
    stream_.use();
    check(cudaHostRegister(memory, bytes, cudaHostRegisterDefault), "pinned host memory");
  }
  void unpin(std::byte* memory) noexcept override {
    cudaSetDevice(stream_.device);
    cudaStreamSynchronize(stream_.handle);
    cudaHostUnregister(memory);
  }
  void upload(std::byte* to, const void* from, std::size_t bytes) override {
    stream_.use();
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_.handle), "an upload");
  }
  void download(void* to, const std::byte* from, std::size_t bytes) override {
    stream_.use();
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_.handle), "a download");
    wait();
  }

  void feed(int input, std::byte* to, element type, const void* from, long elements,
            bool there) override {
    stream_.use();
    const number wanted = static_cast<number>(type);
    const number given = wanted == number::i32 ? number::i32 : number::f32;
    if (there) {
      must_be_here(from, "an input");
      return take_over(to, wanted, from, given, elements);
    }
    staging& s = staging_[input];
    const std::size_t bytes = static_cast<std::size_t>(elements) * 4;
    if (s.bytes < bytes) grow(s, bytes);
    s.turn ^= 1;
    void* const memory = s.memory[s.turn].get();
    check(cudaStreamWaitEvent(copies_.get(), s.read[s.turn].get(), 0), "cudaStreamWaitEvent");
    check(cudaMemcpyAsync(memory, from, bytes, cudaMemcpyHostToDevice, copies_.get()), "an input");
    check(cudaEventRecord(s.copied.get(), copies_.get()), "cudaEventRecord");
    check(cudaStreamWaitEvent(stream_.handle, s.copied.get(), 0), "cudaStreamWaitEvent");
    take_over(to, wanted, memory, given, elements);
    check(cudaEventRecord(s.read[s.turn].get(), stream_.handle), "cudaEventRecord");
  }
  void hand_over(float* to, const std::byte* from, element type, long elements) override {
    stream_.use();
    must_be_here(to, "the memory for the output");
    take_over(to, number::f32, from, static_cast<number>(type), elements);
  }

  void run(const program& p, const execution& e, int first, int last,
           const update_call* then) override {
    if (first == last && then == nullptr) return;
    stream_.use();
    set_parameters(e, then);
    recording& r = recorded_[key_of(p, e, first, last, then)];
    if (!r.ran) {
      start(p, e, first, last, then);
      r.ran = true;
      return;
    }
    if (r.graph == nullptr) r.graph = record(stream_, [&] { start(p, e, first, last, then); });
    check(cudaGraphLaunch(r.graph.get(), stream_.handle), "cudaGraphLaunch");
  }
  void run_step(const program& p, const execution& e, int step) override {
    stream_.use();
    set_parameters(e, nullptr);
    start(p, e, step, step + 1, nullptr);
  }
  void wait() override {
    stream_.use();
    check(cudaStreamSynchronize(stream_.handle), "a kernel");
  }
  std::unique_ptr<accelerator> another() const override {
    auto made = std::make_unique<cuda_accelerator>(stream_.precision, 0, stream_.device);
    made->stream_.plans->share(*stream_.plans);
    return made;
  }
  void keep_plans(const std::string& file) override { stream_.plans->keep_in(file); }
  std::string plans() const override { return stream_.plans->report(); }

 private:
  /// Where an input from host memory waits, while the one before it may still be read.
  struct staging {
    owned_memory memory[2];
    owned_event copied = make_event(), read[2] = {make_event(), make_event()};
    std::size_t bytes = 0;
    int turn = 0;
  };
  void grow(staging& s, std::size_t bytes) {
    check(cudaStreamSynchronize(stream_.handle), "a kernel");
    s.bytes = 0;
    for (owned_memory& each : s.memory) {
      each.reset();
      each = make_memory(bytes, "memory for inputs");
    }
    s.bytes = bytes;
  }
  void take_over(void* to, number wanted, const void* from, number given, long elements) {
    if (given == wanted)
      check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(elements) * bytes_of(given),
                            cudaMemcpyDeviceToDevice, stream_.handle),
            "a copy");
    else
      copy(stream_, {const_cast<void*>(from), given, elements}, {to, wanted, elements});
  }
  /// Throws unless this is memory of the device.
  void must_be_here(const void* memory, const char* what) const {
    cudaPointerAttributes where{};
    check(cudaPointerGetAttributes(&where, memory), what);
    const bool here = where.type == cudaMemoryTypeManaged ||
                      (where.type == cudaMemoryTypeDevice && where.device == stream_.device);
    if (!here)
      throw error(std::string(what) + " is not in the memory of CUDA device " +
                  std::to_string(stream_.device));
  }

  parameters* now() const { return static_cast<parameters*>(parameters_.get()); }
  /// Copies them only if they are others than last time: a copy takes as long as a kernel.
  void set_parameters(const execution& e, const update_call* then) {
    parameters values{e.random_key, {}};
    if (then != nullptr) std::copy_n(then->step.numbers, 8, values.numbers);
    if (sent_ == values) return;
    // So small a copy is taken at once, whatever becomes of `values`.
    check(cudaMemcpyAsync(now(), &values, sizeof values, cudaMemcpyHostToDevice, stream_.handle),
          "parameters");
    sent_ = values;
  }

  static work_key key_of(const program& p, const execution& e, int first, int last,
                         const update_call* then) {
    std::array<const void*, 6> memory{e.arena, e.variables, e.prepared};
    std::vector<std::pair<long, long>> ranges;
    if (then != nullptr) {
      std::copy_n(then->memory.slots, 3, memory.begin() + 3);
      for (const element_range& r : then->memory.ranges) ranges.emplace_back(r.first, r.last);
    }
    return {p.steps.begin(),
            first,
            last,
            e.n,
            memory,
            then == nullptr ? -1 : static_cast<int>(then->step.kind),
            std::move(ranges)};
  }

  void start(const program& p, execution e, int first, int last, const update_call* then) {
    e.stream = &stream_;
    stream_.constant = constant_memory(p, e, first, last, then);
    // Steps that prepare come first, and read none of each other's weights.
    int i = first;
    stream_.gathered.clear();
    stream_.gathering = true;
    for (; i < last && p.steps[i].prepare; ++i) p.steps[i].run(kernel_call(p, p.steps[i], e));
    stream_.prepare_all();
    // None of the averages that the last steps move is read by another.
    const int averages = std::max(i, first_average(p, last));
    run_steps(p, e, i, averages);
    stream_.gathered_motions.clear();
    stream_.gathering = true;
    run_steps(p, e, averages, last);
    stream_.move_all();
    if (then != nullptr) update(stream_, then->step.kind, now()->numbers, then->memory);
  }

  /// Variables and their prepared forms, where steps change neither.
  static std::vector<stream::memory_range> constant_memory(const program& p, const execution& e,
                                                           int first, int last,
                                                           const update_call* then) {
    if (then != nullptr || first < p.first_run || last > p.first_update) return {};
    return {{e.variables, p.kernel_elements * long{sizeof(float)}},
            {e.prepared, p.memory.prepared_bytes}};
  }

  /// The first of the last steps that all move averages.
  static int first_average(const program& p, int last) {
    while (last > 0 && p.steps[last - 1].op == "update_moving_average") --last;
    return last;
  }

  stream stream_;
  owned_stream copies_;
  owned_memory parameters_;
  std::optional<parameters> sent_;
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
