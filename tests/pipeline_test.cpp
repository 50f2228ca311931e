// The order of examples, and the threads that make them: batches are the same bytes for any number
// of threads and after any resume, and faults reach the caller where they belong.

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <cmath>
#include <deque>
#include <set>
#include <thread>

#include <slim/data/pipeline.hpp>
#include <slim/data/queues.hpp>

namespace {

using namespace slim;
using Catch::Contains;

/// Records that are their own numbers.
struct numbers {
  std::int64_t count;
  std::int64_t bad = -1;  // cannot be read
  std::int64_t size() const { return count; }
  std::int64_t record(std::int64_t i) const {
    if (i == bad) throw std::runtime_error("is bad");
    return i;
  }
  std::string key(std::int64_t i) const { return "file:" + std::to_string(i); }
};

/// The record's number twice, and a random number.
const auto decode = [](std::int64_t record, random_stream& random, std::span<int> twice,
                       std::span<double> noise) {
  twice[0] = twice[1] = static_cast<int>(record);
  noise[0] = random.uniform();
};

using examples = std::vector<std::pair<int, double>>;

template <class Pipeline>
void append(Pipeline& p, examples& all, int most = 1 << 20) {
  for (int i = 0; i < most; ++i) {
    auto* b = p.next();
    if (b == nullptr) return;
    const auto [twice, noise] = b->inputs();
    REQUIRE(twice.size() == 2 * noise.size());
    REQUIRE(noise.size() == static_cast<std::size_t>(b->size()));
    for (std::size_t k = 0; k < noise.size(); ++k) {
      CHECK(twice[2 * k] == twice[2 * k + 1]);
      all.emplace_back(twice[2 * k], noise[k]);
    }
  }
}

auto made(const numbers& source, const data::pipeline_options& options) {
  static std::deque<numbers> kept;  // a pipeline reads its source as long as it lives
  return data::pipeline<numbers, decltype(decode), int, double>(kept.emplace_back(source), options,
                                                                decode, {2}, {});
}
examples all_of(const numbers& source, const data::pipeline_options& options) {
  auto p = made(source, options);
  examples all;
  append(p, all);
  return all;
}
std::set<int> records(const examples& e, std::size_t first, std::size_t last) {
  std::set<int> found;
  for (std::size_t i = first; i < last; ++i) found.insert(e[i].first);
  return found;
}

}  // namespace

TEST_CASE("a random permutation is one, of any size, and another for each key") {
  for (const std::uint64_t n : {1u, 2u, 3u, 5u, 16u, 17u, 1000u, 65537u}) {
    const data::random_permutation p(n, 7);
    std::vector<bool> seen(n);
    for (std::uint64_t i = 0; i < n; ++i) {
      const std::uint64_t to = p(i);
      REQUIRE(to < n);
      REQUIRE_FALSE(seen[to]);
      seen[to] = true;
    }
  }
  int fixed = 0, same = 0;
  const data::random_permutation a(1000, 1), b(1000, 2);
  for (std::uint64_t i = 0; i < 1000; ++i) fixed += a(i) == i, same += a(i) == b(i);
  CHECK(fixed < 10);  // about one is expected
  CHECK(same < 10);
}

TEST_CASE("where a record comes in a shuffled epoch is uniform") {
  constexpr int n = 10, epochs = 20'000;
  const data::example_order order(n, true, 3, 0, 1);
  std::array<int, n> first{};
  for (int e = 0; e < epochs; ++e) ++first[static_cast<std::size_t>(order.record_of(e * n))];
  double chi2 = 0;
  for (const int f : first) chi2 += std::pow(f - epochs / n, 2) / (epochs / n);
  CHECK(chi2 < 27.9);  // 9 degrees of freedom, one in a thousand
}

TEST_CASE("batches are the same for any number of threads") {
  const numbers source{37};
  const data::pipeline_options options{.batch_size = 5, .seed = 9, .num_epochs = 7, .threads = 1};
  const examples one = all_of(source, options);
  REQUIRE(one.size() == 37 * 7 / 5 * 5);
  for (const int threads : {2, 5})
    for (const int prefetch : {1, 4}) {
      data::pipeline_options o = options;
      o.threads = threads, o.prefetch = prefetch;
      CHECK(all_of(source, o) == one);
    }
  CHECK(records(one, 0, 37).size() == 37);  // an epoch holds every record
  CHECK(records(one, 37, 74).size() == 37);
  CHECK_FALSE(std::equal(one.begin(), one.begin() + 37, one.begin() + 37));  // in its own order
  data::pipeline_options other = options;
  other.seed = 10;
  CHECK(all_of(source, other) != one);
}

TEST_CASE("after a resume come the batches that would have come") {
  const numbers source{10};
  const data::pipeline_options options{.batch_size = 4, .num_epochs = 5};
  const examples whole = all_of(source, options);
  for (const std::int64_t position : {0, 1, 5, 12, 13}) {
    auto p = made(source, options);
    examples rest;
    append(p, rest, 3);  // of which nothing may be left
    p.seek(position);
    CHECK(p.position() == position);
    rest.clear();
    append(p, rest);
    const auto first = std::min<std::size_t>(static_cast<std::size_t>(position) * 4, whole.size());
    CHECK(rest == examples(whole.begin() + static_cast<long>(first), whole.end()));
  }
}

TEST_CASE("readers that share a data set see disjoint parts, all of it together") {
  const numbers source{11};
  std::set<int> all;
  for (int shard = 0; shard < 3; ++shard) {
    const examples mine =
        all_of(source, {.batch_size = 1, .num_epochs = 1, .shard = shard, .num_shards = 3});
    for (const auto& [record, noise] : mine) CHECK(all.insert(record).second);
  }
  CHECK(all.size() == 11);
}

TEST_CASE("without shuffling records come as they lie") {
  const examples e = all_of({5}, {.batch_size = 5, .shuffle = false, .num_epochs = 2});
  for (std::size_t i = 0; i < 10; ++i) CHECK(e[i].first == static_cast<int>(i % 5));
}

TEST_CASE("a last batch that is not full is dropped or smaller, as asked") {
  CHECK(all_of({10}, {.batch_size = 4, .num_epochs = 1}).size() == 8);
  CHECK(
      all_of({10}, {.batch_size = 4, .num_epochs = 1, .allow_smaller_final_batch = true}).size() ==
      10);
  CHECK(all_of({3}, {.batch_size = 4, .num_epochs = 1}).empty());  // smaller than a batch
  const numbers three{3};
  auto endless = made(three, {.batch_size = 4, .shuffle = false});
  examples e;
  append(endless, e, 2);
  REQUIRE(e.size() == 8);
  CHECK(e[3].first == 0);  // batches go on over epochs
}

TEST_CASE("an example that cannot be made is reported in its place, each time") {
  const numbers source{10, 6};
  for (const int threads : {1, 3}) {
    auto p = made(source, {.batch_size = 4, .shuffle = false, .num_epochs = 1, .threads = threads});
    CHECK(p.next() != nullptr);
    for (int i = 0; i < 2; ++i) CHECK_THROWS_WITH(p.next(), "file:6: is bad");
    CHECK(p.position() == 1);
  }
}

TEST_CASE("an example that cannot be made is replaced by the record behind it, if asked") {
  const examples e = all_of(
      {10, 9}, {.batch_size = 5, .shuffle = false, .num_epochs = 1, .skip_undecodable = true});
  REQUIRE(e.size() == 10);
  CHECK(e[8].first == 8);
  CHECK(e[9].first == 0);
  CHECK_THROWS_WITH(all_of({1, 0}, {.batch_size = 1, .num_epochs = 1, .skip_undecodable = true}),
                    "file:0: is bad");
}

TEST_CASE("options that make no sense are refused") {
  const numbers none{0}, five{5};
  CHECK_THROWS_WITH(made(none, {}), Contains("there are 0 records"));
  CHECK_THROWS_WITH(made(five, {.batch_size = 0}), Contains("batch_size is 0"));
  CHECK_THROWS_WITH(made(five, {.threads = 0}), Contains("threads is 0"));
  CHECK_THROWS_WITH(made(five, {.num_epochs = 0}), Contains("num_epochs is 0"));
  CHECK_THROWS_WITH(made(five, {.shard = 2, .num_shards = 2}), Contains("shard 2 of 2"));
}

TEST_CASE("a pipeline can be left at any time") {
  const numbers hundred{100};
  for (int i = 0; i < 50; ++i) {
    auto p = made(hundred, {.batch_size = 3, .threads = 3, .prefetch = 2});
    examples e;
    append(p, e, i % 4);
  }
}

TEST_CASE("a pipeline that is stopped goes on where it was") {
  const data::pipeline_options options{.batch_size = 4, .num_epochs = 5, .threads = 3};
  const examples whole = all_of({10}, options);
  const numbers source{10};
  auto p = made(source, options);
  examples all;
  for (int i = 0; i < 12; ++i) {
    append(p, all, 1);
    p.stop();
    if (i % 3 == 1) p.start();
  }
  append(p, all);
  CHECK(all == whole);
  p.seek(3);
  CHECK_THROWS_WITH(p.seek(-1), "pipeline: seek to batch -1");
  CHECK(p.position() == 3);
}

TEST_CASE("a fault can be passed by, and memory that runs out is no record's fault") {
  const numbers ten{10, 6};
  auto p = made(ten, {.batch_size = 4, .shuffle = false, .threads = 3});
  CHECK(p.next() != nullptr);
  CHECK_THROWS_AS(p.next(), data::pipeline_error);
  p.seek(p.position() + 1);
  auto* third = p.next();
  REQUIRE(third != nullptr);
  CHECK(std::get<0>(third->inputs())[0] == 8);

  const auto greedy = [](std::int64_t, random_stream&, std::span<int>) { throw std::bad_alloc(); };
  const numbers source{3};
  data::pipeline<numbers, decltype(greedy), int> q(
      source, {.batch_size = 1, .num_epochs = 1, .skip_undecodable = true}, greedy, {});
  CHECK_THROWS_AS(q.next(), std::bad_alloc);
}

TEST_CASE("a prefetch queue gives elements in their order, and its end") {
  for (const int threads : {1, 2, 5})
    for (const int capacity : {1, 8}) {
      data::prefetch_queue<std::string> queue(
          [](std::int64_t i) { return i < 100 ? std::optional(std::to_string(i)) : std::nullopt; },
          {.capacity = capacity, .num_threads = threads});
      for (int i = 0; i < 100; ++i) REQUIRE(queue.dequeue() == std::to_string(i));
      CHECK(queue.position() == 100);
      for (int i = 0; i < 2; ++i) CHECK_FALSE(queue.dequeue().has_value());
      CHECK(queue.position() == 100);
      queue.seek(98);
      CHECK(queue.dequeue() == "98");
    }
  CHECK_THROWS_WITH(data::prefetch_queue<int>([](std::int64_t) { return 1; }, {.capacity = 0}),
                    "prefetch_queue: capacity is 0");
}

TEST_CASE("a prefetch queue fills while nobody looks, and throws what its maker threw") {
  data::prefetch_queue<int> queue(
      [](std::int64_t i) {
        if (i == 5) throw std::runtime_error("five");
        return static_cast<int>(i);
      },
      {.capacity = 4, .num_threads = 2});
  CHECK(queue.fraction_full() == 0);
  queue.start();
  for (int i = 0; i < 5000 && queue.fraction_full() < 1; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(queue.fraction_full() == 1);
  for (int i = 0; i < 5; ++i) CHECK(queue.dequeue() == i);
  for (int i = 0; i < 2; ++i) CHECK_THROWS_WITH(queue.dequeue(), "five");
}

TEST_CASE("a parallel reader's records and keys come as the seed says") {
  const numbers source{23};
  std::vector<std::int64_t> order;
  for (const int readers : {1, 4}) {
    data::parallel_reader reader(
        source, {.num_readers = readers, .num_epochs = 2, .seed = 4, .capacity = 7});
    std::vector<std::int64_t> got;
    while (auto r = reader.read()) {
      CHECK(r->key == "file:" + std::to_string(r->value));
      got.push_back(r->value);
    }
    CHECK(std::set(got.begin(), got.begin() + 23).size() == 23);
    CHECK(reader.num_records_produced() == 46);
    CHECK(reader.num_work_units_completed() == 2);
    if (readers == 1) order = got;
    CHECK(got == order);
    reader.seek(40);
    const auto rest = reader.read_up_to(100);
    REQUIRE(rest.size() == 6);
    for (std::size_t i = 0; i < 6; ++i) CHECK(rest[i].value == order[40 + i]);
  }
  const data::parallel_reader_options in_order{.num_readers = 1, .num_epochs = 1, .shuffle = false};
  data::parallel_reader once(source, in_order);
  for (int i = 0; i < 23; ++i) CHECK(once.read()->value == i);
  CHECK_FALSE(once.read().has_value());
  const numbers none{0}, bad{4, 2};
  CHECK_THROWS_WITH(data::parallel_reader(none), Contains("nothing to read"));
  data::parallel_reader faulty(bad, in_order);
  CHECK(faulty.read_up_to(2).size() == 2);
  CHECK_THROWS_WITH(faulty.read(), "is bad");
  faulty.seek(faulty.num_records_produced() + 1);
  CHECK(faulty.read()->value == 3);
}

TEST_CASE("queues run within their scope, and end with it") {
  const numbers source{50};
  data::parallel_reader reader(source, {.num_epochs = 1, .shuffle = false});
  std::atomic<int> running = 0;
  data::prefetch_queue<std::int64_t> doubled([&](std::int64_t) -> std::optional<std::int64_t> {
    ++running;
    const auto r = reader.read();
    --running;
    if (r) return 2 * r->value;
    return std::nullopt;
  });
  auto batches = made(source, {.batch_size = 3, .threads = 3});
  const auto use = [&] {
    data::queue_runners scope(reader, doubled, batches);
    CHECK_THROWS_AS(data::queue_runners(reader), data::nested_queue_runner_error);
    for (int i = 0; i < 10; ++i) CHECK(doubled.dequeue() == 2 * i);
    CHECK(batches.next() != nullptr);
    throw std::runtime_error("enough");
  };
  CHECK_THROWS_WITH(use(), "enough");
  CHECK(running == 0);
  const double full = doubled.fraction_full();
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(doubled.fraction_full() == full);  // nobody works on
  { data::queue_runners again(batches); }
}

TEST_CASE("a batch stays as it is until the next is asked for") {
  const numbers hundred{100};
  auto p = made(hundred, {.batch_size = 3, .threads = 3, .prefetch = 1});
  for (int i = 0; i < 20; ++i) {
    auto [twice, noise] = p.next()->inputs();
    const std::vector<int> before(twice.begin(), twice.end());
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    CHECK(std::equal(before.begin(), before.end(), twice.begin()));
  }
}
