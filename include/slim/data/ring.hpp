// Threads that make items ahead of whoever takes them, in the slots of a ring and in order: what
// the pipeline, prefetch_queue and parallel_reader have in common.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace slim::data {

/// Item i is made in slot(i), in parts that threads make at once and in any order.  Taking items is
/// for one thread; the threads that make them are started and stopped by that thread.
class work_ring {
 public:
  /// How many parts an item has; none ends the sequence.  A function of the item alone.
  using count_parts = std::function<int(std::int64_t item)>;
  /// Makes a part of an item; is called by many threads at once.
  using make_part = std::function<void(std::int64_t item, int part)>;

  /// Has `slots` items in memory, the one that was taken last among them.
  work_ring(int threads, int slots, count_parts parts, make_part make)
      : threads_(threads),
        states_(static_cast<std::size_t>(slots)),
        parts_(std::move(parts)),
        make_(std::move(make)) {}
  work_ring(const work_ring&) = delete;
  work_ring& operator=(const work_ring&) = delete;
  ~work_ring() { stop(); }

  std::size_t slot(std::int64_t item) const {
    return static_cast<std::size_t>(item) % states_.size();
  }

  /// Waits for the next item, which stays in its slot until the next call; none at the end.  What
  /// making it threw is thrown here, by each call until seek(): of several parts the first one's.
  std::optional<std::int64_t> next() {
    start();
    std::unique_lock lock(mutex_);
    released_ = position_;
    room_.notify_all();
    if (parts_(position_) <= 0) return std::nullopt;
    state& s = states_[slot(position_)];
    const auto begin = std::chrono::steady_clock::now();
    full_.wait(lock, [&] { return begun_ > position_ && s.done == s.parts; });
    waited_ += std::chrono::steady_clock::now() - begin;
    if (s.fault) std::rethrow_exception(s.fault);
    return position_++;
  }

  /// Items that were taken.
  std::int64_t position() const { return position_; }
  /// Goes on as if so many items had been taken.
  void seek(std::int64_t position) {
    stop();
    position_ = position;
  }
  /// Items that could be taken without waiting.
  int ready() const {
    const std::lock_guard lock(mutex_);
    std::int64_t i = position_;
    while (i < begun_ && states_[slot(i)].done == states_[slot(i)].parts) ++i;
    return static_cast<int>(i - position_);
  }
  double seconds_waited() const { return waited_.count(); }

  /// Starts the threads, unless they run; next() does so itself.  The item that was taken last may
  /// be overwritten from then on.  Throws std::system_error if the system has no threads left.
  void start() {
    if (!workers_.empty()) return;
    stopping_ = false;
    released_ = begun_ = position_;
    next_part_ = 0;
    try {
      for (int i = 0; i < threads_; ++i) workers_.emplace_back([this] { work(); });
    } catch (...) {
      stop();
      throw;
    }
  }
  /// Lets the threads finish the parts that they are making, and end.
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    room_.notify_all();
    for (std::thread& t : workers_) t.join();
    workers_.clear();
  }

 private:
  struct state {
    int parts = 0, done = 0;
    int first_fault = 0;  // the part whose fault is kept
    std::exception_ptr fault{};
  };
  struct task {
    std::int64_t item;
    int part;
  };

  /// A part of the item begun last or, once there is a slot for it, of the next one.
  std::optional<task> take() {
    std::unique_lock lock(mutex_);
    // The item that was taken last keeps its slot until the next is asked for.
    const auto has_room = [&] {
      return begun_ < released_ + static_cast<std::int64_t>(states_.size());
    };
    room_.wait(lock, [&] { return stopping_ || next_part_ > 0 || has_room(); });
    if (stopping_) return std::nullopt;
    if (next_part_ == 0) {
      const int parts = parts_(begun_);
      if (parts <= 0) return std::nullopt;
      states_[slot(begun_)] = {.parts = parts};
      ++begun_;
    }
    const task t{begun_ - 1, next_part_};
    next_part_ = t.part + 1 == states_[slot(t.item)].parts ? 0 : t.part + 1;
    return t;
  }

  void work() {
    while (const std::optional<task> t = take()) {
      std::exception_ptr fault;
      try {
        make_(t->item, t->part);
      } catch (...) {
        fault = std::current_exception();
      }
      const std::lock_guard lock(mutex_);
      state& s = states_[slot(t->item)];
      if (fault && (!s.fault || t->part < s.first_fault)) s.first_fault = t->part, s.fault = fault;
      if (++s.done == s.parts) full_.notify_all();
    }
  }

  const int threads_;
  std::vector<std::thread> workers_;
  mutable std::mutex mutex_;  // guards what follows, while there are workers
  std::condition_variable room_, full_;
  std::vector<state> states_;  // of the slots
  const count_parts parts_;
  const make_part make_;
  bool stopping_ = false;
  std::int64_t position_ = 0;  // items taken
  std::int64_t released_ = 0;  // items whose slots may be written again
  std::int64_t begun_ = 0;
  int next_part_ = 0;  // of item begun_ - 1; 0: all of it has been given out
  std::chrono::duration<double> waited_{0};
};

}  // namespace slim::data
