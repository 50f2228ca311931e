// The order in which examples are read: a function of the seed alone.
#pragma once

#include <bit>
#include <cstdint>

#include "../random.hpp"

namespace slim::data {

/// A random permutation of [0, size) that is computed, not stored: a Feistel network over the next
/// even number of bits, applied again while its result lies outside (cycle walking: Black and
/// Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002).
class random_permutation {
 public:
  constexpr random_permutation(std::uint64_t size, std::uint64_t key)
      : size_(size), key_(mix(key)), half_((std::bit_width(size > 1 ? size - 1 : 1) + 1) / 2) {}

  constexpr std::uint64_t operator()(std::uint64_t i) const {
    do i = permuted(i);
    while (i >= size_);
    return i;
  }

 private:
  constexpr std::uint64_t permuted(std::uint64_t x) const {
    constexpr int rounds = 6;
    const std::uint64_t mask = (std::uint64_t{1} << half_) - 1;
    std::uint64_t left = x >> half_, right = x & mask;
    for (int r = 0; r < rounds; ++r) {
      const std::uint64_t keyed = random_of_mixed(key_ + static_cast<std::uint64_t>(r), right);
      const std::uint64_t next = left ^ (keyed & mask);
      left = right, right = next;
    }
    return left << half_ | right;
  }

  std::uint64_t size_, key_;
  int half_;
};

/// Which record the k-th example of a reader is. Readers that share a data set see disjoint parts
/// of each epoch, all of it together.
class example_order {
 public:
  /// `records` in all, of which reader `shard` of `shards` takes its part.
  constexpr example_order(std::int64_t records, bool shuffle, std::uint64_t seed, int shard,
                          int shards)
      : records_(records), shuffle_(shuffle), seed_(seed), shard_(shard), shards_(shards) {}

  /// Examples of an epoch.
  constexpr std::int64_t epoch_size() const { return (records_ - shard_ + shards_ - 1) / shards_; }
  constexpr std::int64_t record_of(std::int64_t example) const {
    const std::int64_t epoch = example / epoch_size();
    const std::int64_t i = example % epoch_size() * shards_ + shard_;
    if (!shuffle_) return i;
    const random_permutation order(static_cast<std::uint64_t>(records_),
                                   random_at(seed_, static_cast<std::uint64_t>(epoch)));
    return static_cast<std::int64_t>(order(static_cast<std::uint64_t>(i)));
  }
  /// The key of the random numbers that an example may use.
  constexpr std::uint64_t key_of(std::int64_t example) const {
    const auto reader = static_cast<std::uint64_t>(shard_);
    return random_at(random_at(~seed_, reader), static_cast<std::uint64_t>(example));
  }

 private:
  std::int64_t records_;
  bool shuffle_;
  std::uint64_t seed_;
  int shard_, shards_;
};

}  // namespace slim::data
