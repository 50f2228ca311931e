// Blocks of threads as fibers: each runs until it waits for the others of its block or warp.
#include <setjmp.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "cuda_on_cpu.hpp"

namespace emulation {

uint3 thread_index, block_index;
dim3 block_extents, grid_extents;

namespace {

constexpr unsigned warp = 32;
constexpr std::size_t stack_bytes = 64 << 10;

/// Threads that wait for one another: those that have ended count as having come.
struct meeting {
  unsigned members = 0, arrived = 0, round = 0;

  void arrive() {
    if (++arrived >= members) arrived = 0, ++round;
  }
  void leave() {
    --members;
    if (members > 0 && arrived >= members) arrived = 0, ++round;
  }
};

/// A stack on which threads run, one after another. Switches jump: unlike swapcontext that takes no
/// call of the system, of which there would be millions.
class fiber {
 public:
  explicit fiber(void (*run)()) : stack_(std::make_unique<char[]>(stack_bytes)) {
    getcontext(&begin_);
    begin_.uc_stack.ss_sp = stack_.get();
    begin_.uc_stack.ss_size = stack_bytes;
    makecontext(&begin_, run, 0);
  }
  fiber(const fiber&) = delete;
  fiber& operator=(const fiber&) = delete;

  /// From the scheduler, until the fiber pauses.
  void resume() {
    if (_setjmp(scheduler) != 0) return;
    if (started_) _longjmp(here_, 1);
    started_ = true;
    setcontext(&begin_);
  }
  void pause() {
    if (_setjmp(here_) == 0) _longjmp(scheduler, 1);
  }

 private:
  std::unique_ptr<char[]> stack_;
  ucontext_t begin_{};
  jmp_buf here_;
  bool started_ = false;
  static jmp_buf scheduler;
};
jmp_buf fiber::scheduler;

class block_of_threads {
 public:
  block_of_threads(const std::function<void()>& body, bool backwards)
      : body_(body), backwards_(backwards) {
    const unsigned count = block_extents.x * block_extents.y * block_extents.z;
    threads_.resize(count), slots_.resize(count), warps_.resize((count + warp - 1) / warp);
    all_.members = count;
    for (unsigned i = 0; i < count; ++i) {
      ++warps_[i / warp].members;
      threads_[i].index = {i % block_extents.x, i / block_extents.x % block_extents.y,
                           i / block_extents.x / block_extents.y};
    }
  }

  void run() {
    running = this;
    const auto count = static_cast<unsigned>(threads_.size());
    for (unsigned left = count; left > 0;)
      for (unsigned k = 0; k < count; ++k) {
        const unsigned i = backwards_ ? count - 1 - k : k;
        if (!threads_[i].done && resume(i)) --left;
      }
  }
  void wait_for_block() { wait(all_); }
  void exchange(void* bytes, int apart) {
    const unsigned mine = current_;
    meeting& m = warps_[mine / warp];
    std::memcpy(&slots_[mine], bytes, sizeof(double));
    wait(m);
    std::memcpy(bytes, &slots_[mine ^ static_cast<unsigned>(apart)], sizeof(double));
    wait(m);
  }

  static block_of_threads* running;

 private:
  struct thread {
    uint3 index{};
    std::unique_ptr<fiber> on;
    bool done = false;
  };

  /// Whether it ended.
  bool resume(unsigned i) {
    thread& t = threads_[i];
    current_ = i, thread_index = t.index;
    if (t.on == nullptr && spare.empty()) spare.push_back(std::make_unique<fiber>(&run_threads));
    if (t.on == nullptr) t.on = std::move(spare.back()), spare.pop_back();
    t.on->resume();
    if (!t.done) return false;
    spare.push_back(std::move(t.on));
    all_.leave(), warps_[i / warp].leave();
    return true;
  }
  /// What a fiber does, for ever.
  static void run_threads() {
    for (;;) {
      running->body_();
      thread& mine = running->threads_[running->current_];
      mine.done = true;
      mine.on->pause();
    }
  }
  void wait(meeting& m) {
    const unsigned round = m.round;
    fiber& mine = *threads_[current_].on;
    m.arrive();
    while (m.round == round) mine.pause();
  }

  const std::function<void()>& body_;
  bool backwards_;
  std::vector<thread> threads_;
  meeting all_;
  std::vector<meeting> warps_;
  std::vector<double> slots_;
  unsigned current_ = 0;
  static std::vector<std::unique_ptr<fiber>> spare;
};

block_of_threads* block_of_threads::running = nullptr;
std::vector<std::unique_ptr<fiber>> block_of_threads::spare;

std::vector<double> shared;
bool backwards = false;

}  // namespace

void* shared_memory() { return shared.data(); }
void exchange(void* bytes, int apart) { block_of_threads::running->exchange(bytes, apart); }

void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes,
              const std::function<void()>& thread) {
  if (grid.x * grid.y * grid.z == 0 || block.x * block.y * block.z > 1024 ||
      shared_bytes > (227 << 10)) {
    std::fprintf(stderr, "emulated CUDA: a launch that a GPU refuses\n");
    std::abort();
  }
  // Neither blocks nor threads come in an order: every other launch runs them from the last.
  backwards = !backwards;
  block_extents = block, grid_extents = grid;
  const unsigned blocks = grid.x * grid.y * grid.z;
  for (unsigned k = 0; k < blocks; ++k) {
    const unsigned i = backwards ? blocks - 1 - k : k;
    block_index = {i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y};
    shared.assign(shared_bytes / sizeof(double) + 1, 0.0 / 0.0);
    block_of_threads(thread, backwards).run();
  }
}

}  // namespace emulation

void __syncthreads() { emulation::block_of_threads::running->wait_for_block(); }
