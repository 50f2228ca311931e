// A device besides the CPU, as the runner sees it: memory of its own, copies, and runs of a
// program's steps. gpu.hpp has the one there is.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "graph/program.hpp"
#include "memory.hpp"

namespace slim {

/// Elements [first, last) of the arena of variables.
struct element_range {
  long first, last;
};

/// An optimizer's update as plain numbers. What they mean is the optimizer's formula; the first is
/// the learning rate.
struct optimizer_step {
  enum class formula : int {
    gradient_descent,
    momentum,
    nesterov,
    adam,
    rmsprop,
    centered_rmsprop,
    adagrad,
    adadelta,
    proximal_gradient_descent,
    proximal_adagrad,
    ftrl
  };
  formula kind = formula::gradient_descent;
  float numbers[8]{};
};

/// Where an update works, in the accelerator's memory.
struct update_memory {
  float *variables = nullptr, *gradients = nullptr, *slots[3]{};
  std::span<const element_range> ranges{};
};

/// An update behind the steps of a run.
struct update_call {
  optimizer_step step{};
  update_memory memory{};
};

/// Memory and work of one stream of a device. All calls are in order; those that read back wait.
class accelerator {
 public:
  virtual ~accelerator() = default;

  /// Zero-filled memory. Throws slim::error, which says how much there is, naming `what` it is for.
  virtual std::byte* allocate(std::size_t bytes, std::string_view what) = 0;
  virtual void release(std::byte* memory) noexcept = 0;
  /// Host memory that kernels will read stays where it is from here on until `unpin`.
  virtual void pin(std::byte* memory, std::size_t bytes) = 0;
  virtual void unpin(std::byte* memory) noexcept = 0;
  virtual void upload(std::byte* to, const void* from, std::size_t bytes) = 0;
  virtual void download(void* to, const std::byte* from, std::size_t bytes) = 0;

  /// Brings an input of a run to `to`: elements of the type that the program wants, from floats or
  /// ints in the caller's memory, or on the device where `there`. The copy overlaps earlier runs;
  /// the caller's memory may be changed when the next run has been waited for.
  virtual void feed(int input, std::byte* to, element type, const void* from, long elements,
                    bool there) = 0;
  /// Starts to write floats to memory of the caller's on the device.
  virtual void hand_over(float* to, const std::byte* from, element type, long elements) = 0;
  /// Starts steps [first, last), and `then` an update. Runs of the same steps over the same memory
  /// are recorded once and replayed.
  virtual void run(const program& p, const execution& e, int first, int last,
                   const update_call* then = nullptr) = 0;
  /// Starts one step.
  virtual void run_step(const program& p, const execution& e, int step) = 0;
  /// Waits for all that was started. Throws slim::error if any of it failed.
  virtual void wait() = 0;
  /// Takes the choices of kernels that a file keeps, and adds those still to be made.
  virtual void keep_plans(const std::string& file) = 0;
  /// The choices made so far, a line each.
  virtual std::string plans() const = 0;
  /// A stream of its own on the same device, for a session.
  virtual std::unique_ptr<accelerator> another() const = 0;
};

/// Elements that live in host memory and, with an accelerator, in its memory: asking for one side
/// copies there what the other has written since. What lies behind the first `mirrored` bytes is in
/// host memory alone.
class mirrored_buffer {
 public:
  mirrored_buffer() = default;
  mirrored_buffer(std::size_t bytes, std::size_t mirrored, accelerator* on, std::string_view what)
      : mirrored_buffer() {  // so that it is taken down if what follows throws
    host_ = aligned_buffer(bytes), mirrored_ = mirrored, on_ = on;
    if (on == nullptr) return;
    if (mirrored > 0) there_ = on->allocate(mirrored, what);
    if (mirrored < bytes) on->pin(host_.data() + mirrored, bytes - mirrored);
  }
  mirrored_buffer(std::size_t bytes, accelerator* on, std::string_view what)
      : mirrored_buffer(bytes, bytes, on, what) {}
  mirrored_buffer(mirrored_buffer&& other) noexcept { *this = std::move(other); }
  mirrored_buffer& operator=(mirrored_buffer&& other) noexcept {
    std::swap(host_, other.host_), std::swap(mirrored_, other.mirrored_);
    std::swap(on_, other.on_), std::swap(there_, other.there_);
    std::swap(newest_, other.newest_);
    return *this;
  }
  ~mirrored_buffer() {
    if (there_ != nullptr) on_->release(there_);
    if (on_ != nullptr && mirrored_ < size()) on_->unpin(host_.data() + mirrored_);
  }

  std::size_t size() const { return host_.size(); }
  /// In host memory, where only what lies behind `mirrored` is sure to be of today.
  std::byte* host() { return host_.data(); }
  const std::byte* host() const { return host_.data(); }
  /// Copies bytes [first, last) to host memory, whoever has written last.
  void fetch(std::size_t first, std::size_t last) {
    if (newest_ == side::device) on_->download(host_.data() + first, there_ + first, last - first);
  }
  /// In host memory: to be read, and to be written until the next use by kernels.
  const std::byte* to_read() const {
    if (newest_ == side::device)
      on_->download(host_.data(), there_, mirrored_), newest_ = side::both;
    return host_.data();
  }
  std::byte* to_write() {
    to_read();
    if (there_ != nullptr) newest_ = side::host;
    return host_.data();
  }
  /// Where kernels find it, to be read.
  std::byte* for_kernels() {
    if (there_ == nullptr) return host_.data();
    if (newest_ == side::host) on_->upload(there_, host_.data(), mirrored_), newest_ = side::both;
    return there_;
  }
  /// Kernels have written it.
  void kernels_wrote() {
    if (there_ != nullptr) newest_ = side::device;
  }
  /// Gives bytes [first, last) in host memory back.
  void drop(std::size_t first, std::size_t last) {
    if (there_ == nullptr) host_.drop(first, last);
  }

 private:
  enum class side { both, host, device };

  mutable aligned_buffer host_;
  std::size_t mirrored_ = 0;
  accelerator* on_ = nullptr;
  std::byte* there_ = nullptr;
  mutable side newest_ = side::both;
};

}  // namespace slim
