#pragma once

// The CPU as a device: threads that share the tasks of a kernel, and scratch memory for each.

#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>

#include "eigen.hpp"

#include "memory.hpp"

namespace slim {

/// Runs the tasks of a kernel on the calling thread and on helpers from an Eigen thread pool.
/// Starting, running and finishing a job allocates nothing. One thread at a time may use a device.
class cpu_device {
 public:
  /// Bytes of scratch memory of each worker.
  static constexpr std::size_t scratch_bytes = std::size_t{2} << 20;

  /// A device with a pool of its own; 0 threads means as many as the hardware runs at once.
  explicit cpu_device(int threads = 0)
      : threads_(threads > 0 ? threads : hardware_threads()),
        scratch_(std::size_t(threads_) * scratch_bytes),
        ranges_(new range[std::size_t(threads_)]),
        own_pool_(threads_ > 1 ? new Eigen::ThreadPool(threads_ - 1) : nullptr),
        pool_(own_pool_.get()) {}

  /// A device that borrows up to `threads` - 1 threads of a pool, which must outlive it. The device
  /// must not be destroyed by the only thread of that pool.
  cpu_device(Eigen::ThreadPoolInterface& pool, int threads)
      : threads_(threads > 0 ? threads : 1),
        scratch_(std::size_t(threads_) * scratch_bytes),
        ranges_(new range[std::size_t(threads_)]),
        pool_(&pool) {}

  cpu_device(const cpu_device&) = delete;
  cpu_device& operator=(const cpu_device&) = delete;

  ~cpu_device() {
    // Helpers that were asked for but came too late hold a pointer to this device.
    while (alive_.load(std::memory_order_acquire) != 0) std::this_thread::yield();
  }

  int threads() const { return threads_; }

  /// 64-byte aligned memory of `scratch_bytes` that only this worker's running task may use.
  std::byte* scratch(int worker) {
    assert(worker >= 0 && worker < threads_);
    return scratch_.data() + std::size_t(worker) * scratch_bytes;
  }

  /// Calls f(task, worker) once for each task in [0, tasks), in any order and at once on several
  /// threads; `worker` in [0, threads()) tells whose scratch to use. Returns when all are done.
  /// f must not throw. A call from within f runs its tasks serially, on the same worker.
  template <class F>
  void parallel(int tasks, F&& f) {
    const identity caller = current();
    const bool nested = caller.device == this;
    const int worker = nested ? caller.worker : 0;
    current() = {this, worker};
    if (threads_ == 1 || tasks <= 1 || nested) {
      for (int task = 0; task < tasks; ++task) f(task, worker);
    } else {
      share(tasks, f);
    }
    current() = caller;
  }

 private:
  struct identity {
    const cpu_device* device = nullptr;
    int worker = 0;
  };

  // Tasks [next, end) that nobody has begun.
  struct alignas(64) range {
    std::atomic<int> next{0};
    int end = 0;
  };

  static constexpr std::uint32_t open = std::uint32_t{1} << 31;
  static constexpr int spins = 2000;

  template <class F>
  void share(int tasks, F& f) {
    run_ = [](void* context, int task, int worker) { (*static_cast<F*>(context))(task, worker); };
    context_ = const_cast<void*>(static_cast<const void*>(std::addressof(f)));
    start(tasks);
    work(0);
    finish();
  }

  static int hardware_threads() {
    const unsigned threads = std::thread::hardware_concurrency();
    return threads == 0 ? 1 : int(threads);
  }

  static identity& current() {
    thread_local identity here;
    return here;
  }

  void start(int tasks) {
    for (int i = 0; i < threads_; ++i) {
      ranges_[i].next.store(first_task(tasks, i), std::memory_order_relaxed);
      ranges_[i].end = first_task(tasks, i + 1);
    }
    next_worker_.store(1, std::memory_order_relaxed);
    entered_.fetch_or(open, std::memory_order_acq_rel);
    const int wanted = (tasks < threads_ ? tasks : threads_) - 1;
    // Helpers of earlier jobs that the pool has not run yet will serve this one.
    const int missing = wanted - queued_.load(std::memory_order_acquire);
    for (int i = 0; i < missing; ++i) {
      queued_.fetch_add(1, std::memory_order_relaxed);
      alive_.fetch_add(1, std::memory_order_relaxed);
      pool_->Schedule([this] { help(); });  // one word: fits std::function's own buffer
    }
  }

  // Every worker has a range of neighbouring tasks, the same in each kernel, so that it finds in its
  // own caches what it wrote before; when it is done it helps the others with theirs.
  void work(int worker) {
    for (int i = 0; i < threads_; ++i) {
      range& some = ranges_[(worker + i) % threads_];
      for (int task; (task = some.next.fetch_add(1, std::memory_order_relaxed)) < some.end;)
        run_(context_, task, worker);
    }
  }
  int first_task(int tasks, int worker) const {
    return static_cast<int>(static_cast<long long>(tasks) * worker / threads_);
  }

  // `entered_` counts the helpers inside the job and has the top bit set while the job is open.
  // A helper that finds it closed leaves without touching the job; one that found it open is
  // counted before the job can close, so finish() waits for it.
  void help() {
    queued_.fetch_sub(1, std::memory_order_acq_rel);
    if (entered_.fetch_add(1, std::memory_order_acq_rel) & open) serve();
    entered_.fetch_sub(1, std::memory_order_acq_rel);
    entered_.notify_all();
    alive_.fetch_sub(1, std::memory_order_release);  // the last touch: see the destructor
  }

  void serve() {
    const int worker = next_worker_.fetch_add(1, std::memory_order_relaxed);
    if (worker >= threads_) return;  // an early and a late helper met
    const identity before = current();
    current() = {this, worker};
    work(worker);
    current() = before;
  }

  // All tasks are claimed: waits for the helpers that are inside, not for those that never came.
  void finish() {
    entered_.fetch_and(~open, std::memory_order_acq_rel);
    for (int spin = 0; spin < spins; ++spin) {
      if (entered_.load(std::memory_order_acquire) == 0) return;
      pause();
    }
    while (const std::uint32_t inside = entered_.load(std::memory_order_acquire)) {
      entered_.wait(inside, std::memory_order_acquire);
    }
  }

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    std::this_thread::yield();
#endif
  }

  int threads_;
  aligned_buffer scratch_;
  void (*run_)(void*, int, int) = nullptr;
  void* context_ = nullptr;
  std::unique_ptr<range[]> ranges_;
  alignas(64) std::atomic<std::uint32_t> entered_{0};
  std::atomic<int> next_worker_{1};
  std::atomic<int> queued_{0};                   // helpers asked for and not yet begun
  std::atomic<int> alive_{0};                    // helpers asked for and not yet gone
  std::unique_ptr<Eigen::ThreadPool> own_pool_;  // destroyed before what its threads use
  Eigen::ThreadPoolInterface* pool_;
};

}  // namespace slim
