// TF-Slim's queues: prefetch_queue, parallel_reader, and the scope that starts and stops them.
//
//   data::parallel_reader reader(records, {.num_readers = 4, .seed = 1});
//   data::prefetch_queue<image> images([&](std::int64_t) -> std::optional<image> {
//     if (auto record = reader.read()) return decode_image(record->value, record->key);
//     return std::nullopt;
//   });
//   {
//     data::queue_runners running(reader, images);  // their threads work ahead from here on
//     while (std::optional<image> i = images.dequeue()) use(*i);
//   }                                               // and have ended here, also by an exception
//
// Unlike TensorFlow's, what comes out has one order whatever the number of threads, and an error in
// a thread is thrown to whoever asks for the element that it concerns.  For batches of examples see
// data::pipeline, which queue_runners starts and stops as well.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../error.hpp"
#include "example_order.hpp"
#include "ring.hpp"

namespace slim::data {

namespace detail {

/// The option's value; throws std::invalid_argument, which names it, unless it is positive.
inline int positive(const char* option, int value) {
  if (value >= 1) return value;
  throw std::invalid_argument(std::string(option) + " is " + std::to_string(value));
}

}  // namespace detail

struct prefetch_queue_options {
  int capacity = 8;     ///< elements that are made ahead
  int num_threads = 1;  ///< that make them
};

/// Elements that threads make ahead of their use, first in, first out.
template <class T>
class prefetch_queue {
 public:
  /// make(i) gives element i, and nothing from the sequence's end on.  With one thread it is called
  /// for 0, 1, 2 and so on; with several by all of them at once.  Throws std::invalid_argument if
  /// an option is not positive.
  template <class F>
  explicit prefetch_queue(F make, const prefetch_queue_options& options = {})
      : capacity_(detail::positive("prefetch_queue: capacity", options.capacity)),
        elements_(static_cast<std::size_t>(options.capacity) + 1),
        make_(std::move(make)),
        ring_(
            detail::positive("prefetch_queue: num_threads", options.num_threads),
            options.capacity + 1, [this](std::int64_t i) { return i < end_ ? 1 : 0; },
            [this](std::int64_t i, int) { make_element(i); }) {}

  /// The next element; none at the end.  Throws what make threw for it, each time it is called.
  std::optional<T> dequeue() {
    const std::optional<std::int64_t> i = ring_.next();
    if (!i) return std::nullopt;
    return std::exchange(elements_[ring_.slot(*i)], std::nullopt);
  }

  /// Elements that were taken.
  std::int64_t position() const { return std::min<std::int64_t>(ring_.position(), end_); }
  /// Goes on as if so many had been taken.
  void seek(std::int64_t position) { ring_.seek(position); }
  /// How full it is, from 0 to 1: TF-Slim's summary fraction_of_<capacity>_full.
  double fraction_full() const {
    return static_cast<double>(std::min(ring_.ready(), capacity_)) / capacity_;
  }

  /// Makes elements ahead; dequeue() starts that, too.
  void start() { ring_.start(); }
  /// Ends the threads.  Elements that nobody took are dropped, and asked for again should it go on.
  void stop() { ring_.stop(); }

 private:
  void make_element(std::int64_t i) {
    std::optional<T>& slot = elements_[ring_.slot(i)];
    slot.reset();
    slot = make_(i);
    if (slot) return;
    for (std::int64_t end = end_; i < end && !end_.compare_exchange_weak(end, i);) {
    }
  }

  int capacity_;
  std::vector<std::optional<T>> elements_;
  std::function<std::optional<T>(std::int64_t)> make_;
  // The first element that is known not to be there.
  std::atomic<std::int64_t> end_ = std::numeric_limits<std::int64_t>::max();
  work_ring ring_;
};

struct parallel_reader_options {
  int num_readers = 4;                       ///< threads that read and verify records
  std::optional<std::int64_t> num_epochs{};  ///< endless if there is none
  bool shuffle = true;                       ///< every epoch in another order
  std::uint64_t seed = 1;
  int capacity = 256;             ///< records that are read ahead
  int shard = 0, num_shards = 1;  ///< this reader's part of the records
};

/// Records and their keys, read ahead by several threads, in an order that follows from the seed:
/// each epoch is shuffled as a whole, where TensorFlow shuffles files and a window of records.
/// Source is as for data::pipeline, and outlives this.
template <class Source>
class parallel_reader {
 public:
  struct keyed_record {
    std::string key;  ///< "<file>:<byte>"
    decltype(std::declval<const Source&>().record(0)) value;
  };

  /// Throws std::invalid_argument if an option makes no sense or there is nothing to read.
  explicit parallel_reader(const Source& source, const parallel_reader_options& options = {})
      : order_(checked(source.size(), options)),
        end_(options.num_epochs ? *options.num_epochs * order_.epoch_size()
                                : std::numeric_limits<std::int64_t>::max()),
        queue_([this, &source](std::int64_t i) { return read_one(source, i); },
               {.capacity = options.capacity, .num_threads = options.num_readers}) {}
  explicit parallel_reader(Source&&, const parallel_reader_options& = {}) = delete;

  /// The next record; none at the end.  Throws what the source throws for it, each time it is
  /// called: seek(num_records_produced() + 1) leaves it out.
  std::optional<keyed_record> read() { return queue_.dequeue(); }
  /// Up to so many.
  std::vector<keyed_record> read_up_to(int count) {
    std::vector<keyed_record> all;
    while (static_cast<int>(all.size()) < count) {
      std::optional<keyed_record> r = read();
      if (!r) break;
      all.push_back(std::move(*r));
    }
    return all;
  }

  std::int64_t num_records_produced() const { return queue_.position(); }
  /// Epochs of which every record was read.
  std::int64_t num_work_units_completed() const {
    return num_records_produced() / order_.epoch_size();
  }
  /// Goes on as if so many records had been read.
  void seek(std::int64_t records) { queue_.seek(records); }
  double fraction_full() const { return queue_.fraction_full(); }

  void start() { queue_.start(); }
  void stop() { queue_.stop(); }

 private:
  static example_order checked(std::int64_t records, const parallel_reader_options& o) {
    if (o.num_epochs && *o.num_epochs < 1)
      throw std::invalid_argument("parallel_reader: num_epochs is " +
                                  std::to_string(*o.num_epochs));
    if (o.num_shards < 1 || o.shard < 0 || o.shard >= o.num_shards || records <= o.shard)
      throw std::invalid_argument("parallel_reader: there is nothing to read for shard " +
                                  std::to_string(o.shard) + " of " + std::to_string(o.num_shards) +
                                  " of " + std::to_string(records) + " records");
    return {records, o.shuffle, o.seed, o.shard, o.num_shards};
  }
  std::optional<keyed_record> read_one(const Source& source, std::int64_t i) const {
    if (i >= end_) return std::nullopt;
    const std::int64_t record = order_.record_of(i);
    return keyed_record{source.key(record), source.record(record)};
  }

  example_order order_;
  std::int64_t end_;
  prefetch_queue<keyed_record> queue_;
};

/// A scope of queue_runners within another one.
struct nested_queue_runner_error : error {
  using error::error;
};

/// The scope within which queues work ahead: starts each of them, and has stopped them when it
/// ends, however that comes about.  There is one at a time in a process, as in TF-Slim.
class queue_runners {
 public:
  /// Queues are what has start() and stop(), and outlive the scope.  Throws
  /// nested_queue_runner_error within another scope; and as start() does: then none of them runs.
  template <class... Queue>
  explicit queue_runners(Queue&... queues) {
    if (running().exchange(true))
      throw nested_queue_runner_error("queue_runners: there is a scope of them already");
    try {
      (start(queues), ...);
    } catch (...) {
      stop();
      throw;
    }
  }
  queue_runners(const queue_runners&) = delete;
  queue_runners& operator=(const queue_runners&) = delete;
  ~queue_runners() { stop(); }

 private:
  static std::atomic<bool>& running() {
    static std::atomic<bool> is = false;
    return is;
  }
  template <class Queue>
  void start(Queue& queue) {
    stops_.push_back([&queue] { queue.stop(); });
    queue.start();
  }
  /// Those that read from others, which come first, stop first.
  void stop() {
    for (; !stops_.empty(); stops_.pop_back()) stops_.back()();
    running() = false;
  }

  std::vector<std::function<void()>> stops_;
};

}  // namespace slim::data
