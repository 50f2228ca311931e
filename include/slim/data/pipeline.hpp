// Threads that decode, augment and batch examples ahead of a training step.
//
//   data::record_set records(data::get_data_files({"train-*"}));
//   data::pipeline batches(records, {.batch_size = 32, .seed = 1},
//     [](std::span<const std::byte> record, random_stream& random,
//        std::span<float> image, std::span<int> label) { ... },
//     data::field<float>{28, 28, 1}, data::field<int>{});
//   while (auto* batch = batches.next()) {
//     auto [images, labels] = batch->inputs();
//     m.backward(images, labels);
//     ...
//   }
//
// Batches depend on the options and the records alone, never on the number of threads or their
// timing: which record an example is, and every random number it uses, follow from the seed and the
// example's number. So position() is all that an exact resume needs.
#pragma once

#include <algorithm>
#include <array>
#include <limits>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "../error.hpp"
#include "../memory.hpp"
#include "example_order.hpp"
#include "ring.hpp"

namespace slim::data {

/// An example that could not be made; names the record.
struct pipeline_error : error {
  using error::error;
};

struct pipeline_options {
  int batch_size = 32;
  bool shuffle = true;  ///< every epoch in another order; else as the source has them
  std::uint64_t seed = 1;
  std::optional<std::int64_t> num_epochs{};  ///< endless if there is none
  int threads = 2;
  int prefetch = 2;                        ///< batches that are made ahead
  int shard = 0, num_shards = 1;           ///< this reader's part of the records
  bool allow_smaller_final_batch = false;  ///< else what is left over is dropped
  /// An example that cannot be decoded is replaced by the record behind it in the source.
  bool skip_undecodable = false;
};

/// What an example has one of: elements of T, of these extents. field<int>{} is a single int.
template <class T>
struct field {
  using type = T;
  field(std::initializer_list<int> extents) {
    for (const int e : extents) count *= static_cast<std::size_t>(e);
  }
  std::size_t count = 1;  // elements an example
};

/// Examples side by side, in memory aligned to 64 bytes.
template <class... T>
class batch {
 public:
  batch(int capacity, const std::array<std::size_t, sizeof...(T)>& counts) : counts_(counts) {
    for_each_field([&]<std::size_t I, class E>() {
      memory_[I] = aligned_buffer(static_cast<std::size_t>(capacity) * counts_[I] * sizeof(E));
      return 0;
    });
  }

  /// The fields of its examples: spans of size() times a field's elements.
  std::tuple<std::span<T>...> inputs() {
    return for_each_field([&]<std::size_t I, class E>() { return elements<I, E>(0, size_); });
  }
  int size() const { return size_; }

 private:
  template <class, class, class...>
  friend class pipeline;

  template <std::size_t I, class E>
  std::span<E> elements(int first, int count) {
    E* const all = reinterpret_cast<E*>(memory_[I].data());
    return {all + static_cast<std::size_t>(first) * counts_[I],
            static_cast<std::size_t>(count) * counts_[I]};
  }
  template <class F>
  auto for_each_field(F f) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return std::tuple(f.template operator()<I, T>()...);
    }
    (std::index_sequence_for<T...>());
  }
  std::tuple<std::span<T>...> example(int i) {
    return for_each_field([&]<std::size_t I, class E>() { return elements<I, E>(i, 1); });
  }

  std::array<std::size_t, sizeof...(T)> counts_;
  std::array<aligned_buffer, sizeof...(T)> memory_;
  int size_ = 0;
};

/// Source has size(), and record(i) and key(i) that many threads may call at once; Decode is called
/// with what record(i) gives, a random_stream of the example's own and a span for each field, by
/// many threads at once.
template <class Source, class Decode, class... T>
class pipeline {
 public:
  using batch_type = batch<T...>;

  /// The source outlives the pipeline. Throws std::invalid_argument if the options make no sense or
  /// there is nothing to read.
  pipeline(const Source& source, const pipeline_options& options, Decode decode,
           const field<T>&... fields)
      : source_(source), options_(checked(options, source.size())), decode_(std::move(decode)) {
    for (int i = 0; i <= options_.prefetch; ++i)
      slots_.emplace_back(options_.batch_size,
                          std::array<std::size_t, sizeof...(T)>{fields.count...});
    ring_.start();
  }

  /// A source that is gone with the call would not outlive it.
  pipeline(const Source&&, const pipeline_options&, Decode, const field<T>&...) = delete;

  /// The next batch, which is good until the next call; null when there is no more. Throws
  /// pipeline_error, each time it is called, where an example of the batch could not be made.
  batch_type* next() {
    const std::optional<std::int64_t> number = ring_.next();
    if (!number) return nullptr;
    batch_type& b = slots_[ring_.slot(*number)];
    b.size_ = size_of(*number);
    return &b;
  }

  /// Batches that were taken.
  std::int64_t position() const { return ring_.position(); }
  /// Goes on as if so many batches had been taken. Throws std::invalid_argument if that is
  /// negative.
  void seek(std::int64_t position) {
    if (position < 0)
      throw std::invalid_argument("pipeline: seek to batch " + std::to_string(position));
    ring_.seek(position);
    ring_.start();
  }
  /// Ends the threads, which next() or start() start again; the batches stay the same.
  void stop() { ring_.stop(); }
  /// Makes batches ahead again; the batch that was taken last is given back.
  void start() { ring_.start(); }
  /// Batches there are in all; the largest number if there is no end.
  std::int64_t batches() const {
    if (!options_.num_epochs) return std::numeric_limits<std::int64_t>::max();
    return (examples() + (options_.allow_smaller_final_batch ? options_.batch_size - 1 : 0)) /
           options_.batch_size;
  }
  /// Seconds that next() has waited: near zero where the training step is what takes the time.
  double seconds_waited() const { return ring_.seconds_waited(); }

 private:
  static pipeline_options checked(const pipeline_options& o, std::int64_t records) {
    const auto refuse = [](const std::string& what) { throw std::invalid_argument(what); };
    if (o.batch_size < 1) refuse("pipeline: batch_size is " + std::to_string(o.batch_size));
    if (o.threads < 1) refuse("pipeline: threads is " + std::to_string(o.threads));
    if (o.prefetch < 1) refuse("pipeline: prefetch is " + std::to_string(o.prefetch));
    if (o.num_epochs && *o.num_epochs < 1)
      refuse("pipeline: num_epochs is " + std::to_string(*o.num_epochs));
    if (o.num_shards < 1 || o.shard < 0 || o.shard >= o.num_shards)
      refuse("pipeline: shard " + std::to_string(o.shard) + " of " + std::to_string(o.num_shards));
    if (records <= o.shard)
      refuse("pipeline: there are " + std::to_string(records) + " records, too few for reader " +
             std::to_string(o.shard) + " of " + std::to_string(o.num_shards));
    return o;
  }

  // ---- what a batch holds ----
  std::int64_t examples() const { return *options_.num_epochs * order_.epoch_size(); }
  int size_of(std::int64_t number) const {  // 0: there is no such batch
    if (number >= batches()) return 0;
    if (!options_.num_epochs) return options_.batch_size;
    const std::int64_t left = examples() - number * options_.batch_size;
    return static_cast<int>(std::min<std::int64_t>(left, options_.batch_size));
  }
  void make_example(std::int64_t number, int i) {
    make(number * options_.batch_size + i, slots_[ring_.slot(number)].example(i));
  }
  void make(std::int64_t example, const std::tuple<std::span<T>...>& to) {
    const std::int64_t first = order_.record_of(example), records = source_.size();
    const std::int64_t attempts = options_.skip_undecodable ? records : 1;
    for (std::int64_t i = 0;; ++i) {
      const std::int64_t record = (first + i) % records;
      try {
        random_stream random(order_.key_of(example));
        std::apply(
            [&](const auto&... fields) { decode_(source_.record(record), random, fields...); }, to);
        return;
      } catch (const std::bad_alloc&) {
        throw;  // which is no fault of the record's
      } catch (const std::exception& e) {
        if (i + 1 == attempts) throw pipeline_error(source_.key(record) + ": " + e.what());
      }
    }
  }

  const Source& source_;
  pipeline_options options_;
  example_order order_{source_.size(), options_.shuffle, options_.seed, options_.shard,
                       options_.num_shards};
  Decode decode_;
  std::vector<batch_type> slots_;
  work_ring ring_{options_.threads, options_.prefetch + 1,
                  [this](std::int64_t number) { return size_of(number); },
                  [this](std::int64_t number, int i) { make_example(number, i); }};
};

}  // namespace slim::data
