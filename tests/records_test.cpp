// Files of records: the real TensorFlow's are read, ours are byte for byte the same where nothing
// is packed, and damage of any kind is refused or left out, as asked.
// (tests/oracle/make_records.py)

#include <cstdlib>
#include <new>

#include <catch2/catch.hpp>

#include <slim/data/example.hpp>
#include <slim/data/record_set.hpp>
#include <slim/random.hpp>

#include "files.hpp"

namespace {

std::size_t largest_allocation = 0;

}  // namespace

// Not inlined, so that g++ sees no malloc and free that do not match new and delete.
[[gnu::noinline]] void* operator new(std::size_t n) {
  largest_allocation = std::max(largest_allocation, n);
  if (void* p = std::malloc(n)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t n, const std::nothrow_t&) noexcept {
  largest_allocation = std::max(largest_allocation, n);
  return std::malloc(n);
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace {

using namespace slim;
using Catch::Contains;
using data::compression;
using byte_vector = std::vector<std::byte>;
using slim_test::read_file;

const std::string folder = SLIM_TEST_DATA_DIR "/records/";

std::string big_record() {
  std::string s;
  for (int i = 0; i < 8 * 256; ++i) s += static_cast<char>(i % 256);
  return s;
}
const std::vector<std::string> three{"first", "", big_record()};

struct packed_file {
  const char* name;
  compression packing;
};
constexpr packed_file files[] = {{"three.tfrecord", compression::none},
                                 {"three.gzip.tfrecord", compression::gzip},
                                 {"three.zlib.tfrecord", compression::zlib}};

std::vector<std::string> all_of(data::record_reader& reader) {
  std::vector<std::string> records;
  while (const auto record = reader.next()) records.emplace_back(*record);
  return records;
}
std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::vector<std::string> all_of(const data::record_set& set) {
  std::vector<std::string> records;
  for (std::int64_t i = 0; i < set.size(); ++i) records.push_back(text(set.record(i)));
  return records;
}
void write(const std::string& path, const std::vector<std::string>& records,
           compression packing = compression::none) {
  data::record_writer writer(path, packing);
  for (const std::string& r : records) writer.write(r);
  writer.close();
}
void write_bytes(const std::string& path, const byte_vector& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

TEST_CASE("TensorFlow's records of each compression are read, in order and by number") {
  for (const auto& [name, packing] : files) {
    data::record_reader reader(folder + name, packing);
    CHECK(all_of(reader) == three);
    const data::record_set set({folder + name}, {.packing = packing});
    CHECK(all_of(set) == three);
    CHECK(set.key(1) == folder + name + ":21");
  }
}

TEST_CASE("what is written is read again, and unpacked is TensorFlow's file byte for byte") {
  slim_test::temporary_folder tmp;
  for (const auto& [name, packing] : files) {
    write(tmp / name, three, packing);
    data::record_reader reader(tmp / name, packing);
    CHECK(all_of(reader) == three);
  }
  CHECK(read_file(tmp / "three.tfrecord") == read_file(folder + "three.tfrecord"));
}

TEST_CASE("an Example of TensorFlow's is read and written back byte for byte") {
  const data::record_set set({folder + "examples.tfrecord"});
  const data::example_view e(set.record(0));
  CHECK(e.at("bytes").bytes() ==
        std::vector<std::string_view>{"one", "", std::string_view("\0\xff", 2)});
  CHECK(e.at("floats").floats() == data::float_list{0.5f, -1.25f, 3e38f});
  const auto least = std::numeric_limits<std::int64_t>::min();
  CHECK(e.at("int64s").int64s() == data::int64_list{0, 1, -1, ~least, least});
  CHECK(e.at("empty").kind() == data::feature_kind::floats);
  CHECK(e.at("empty").floats().empty());
  CHECK(e.at("none").kind() == data::feature_kind::none);
  CHECK_THROWS_WITH(e.at("floats").int64s(), "feature floats holds floats, not int64s");
  CHECK_THROWS_WITH(e.at("absent"), "there is no feature absent");

  data::example ours;
  ours.features["bytes"] = data::bytes_list{"one", "", std::string("\0\xff", 2)};
  ours.features["floats"] = data::float_list{0.5f, -1.25f, 3e38f};
  ours.features["int64s"] = data::int64_list{0, 1, -1, ~least, least};
  ours.features["empty"] = data::float_list{};
  ours.features["none"];
  CHECK(ours.serialize() == text(set.record(0)));
}

TEST_CASE("a SequenceExample of TensorFlow's is read and written back byte for byte") {
  const data::record_set set({folder + "examples.tfrecord"});
  const data::sequence_example_view s(set.record(1));
  CHECK(s.context().at("id").bytes() == std::vector<std::string_view>{"s"});
  CHECK(s.find_list("absent") == nullptr);
  const auto steps = s.find_list("steps")->steps();
  REQUIRE(steps.size() == 3);
  CHECK(steps[0].int64s() == data::int64_list{1, 2});
  CHECK(steps[1].int64s().empty());

  data::sequence_example ours;
  ours.context["id"] = data::bytes_list{"s"};
  ours.lists["steps"] = {data::int64_list{1, 2}, data::int64_list{}, data::int64_list{3}};
  CHECK(ours.serialize() == text(set.record(1)));
}

TEST_CASE("Examples one after the other are one, of which the last has a name that several have") {
  data::example first, second;
  first.features["a"] = data::int64_list{1};
  first.features["b"] = data::int64_list{2};
  second.features["b"] = data::int64_list{3};
  const std::string both = first.serialize() + second.serialize();
  const data::example_view e{std::string_view(both)};
  CHECK(e.at("a").int64s() == data::int64_list{1});
  CHECK(e.at("b").int64s() == data::int64_list{3});
}

TEST_CASE("lists that are not packed are read, too") {
  // features { feature { key: "f" value { float_list { value: 1 } } } }, and the same of int64s 5,
  // 6
  const std::string floats =
      "\x0a\x0e\x0a\x0c\x0a\x01"
      "f\x12\x07\x12\x05\x0d" +
      std::string("\0\0\x80\x3f", 4);
  CHECK(data::example_view(std::string_view(floats)).at("f").floats() == data::float_list{1});
  const std::string numbers =
      "\x0a\x0d\x0a\x0b\x0a\x01"
      "n\x12\x06\x1a\x04\x08\x05\x08\x06";
  CHECK(data::example_view(std::string_view(numbers)).at("n").int64s() == data::int64_list{5, 6});
}

TEST_CASE("every prefix of a file is refused, or holds the records before it") {
  slim_test::memory_file part;
  for (const auto& [name, packing] : files) {
    const byte_vector whole = read_file(folder + name);
    for (std::size_t n = 0; n < whole.size(); ++n) {
      part.write(byte_vector(whole.begin(), whole.begin() + static_cast<long>(n)));
      data::record_reader reader(part.path(), packing);
      std::vector<std::string> got;
      bool refused = false;
      try {
        while (const auto record = reader.next()) got.emplace_back(*record);
      } catch (const data::record_error& e) {
        refused = true;
        CHECK(e.file() == part.path());
      }
      CHECK(got ==
            std::vector<std::string>(three.begin(), three.begin() + static_cast<long>(got.size())));
      // Only between two records may a file end, and only an unpacked one.
      CHECK((refused || n == 0 || (packing == compression::none && (n == 21 || n == 37))));
    }
  }
}

namespace {

/// The file with one of its bits flipped, by the number of the trial.
byte_vector flipped(byte_vector bytes, std::uint64_t trial) {
  const std::uint64_t bit = random_at(1, trial) % (8 * bytes.size());
  bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
  return bytes;
}

/// Whether these are records of the golden files, in their order, each once at most.
bool are_some_of_three(const std::vector<std::string>& got) {
  auto next = three.begin();
  for (const std::string& record : got) {
    next = std::find(next, three.end(), record);
    if (next == three.end()) return false;
    ++next;
  }
  return true;
}

}  // namespace

TEST_CASE("flipped bits are refused or change nothing") {
  slim_test::memory_file bad;
  for (const auto& [name, packing] : files) {
    const byte_vector whole = read_file(folder + name);
    const int flips = packing == compression::none ? 10'000 : 3'000;  // zlib takes its time
    int refused = 0, wrong = 0, kept = 0;
    largest_allocation = 0;
    for (int i = 0; i < flips; ++i) {
      bad.write(flipped(whole, static_cast<std::uint64_t>(i)));
      try {
        const data::record_set set({bad.path()}, {.packing = packing});
        wrong += all_of(set) != three;
      } catch (const data::record_error&) {
        ++refused;
      }
      const data::record_set rest({bad.path()}, {packing, data::on_corrupt::skip});
      wrong += !are_some_of_three(all_of(rest)) || rest.size() + std::ssize(rest.skipped()) == 0;
      kept += rest.size() > 0;
    }
    INFO(name);
    CHECK(wrong == 0);
    CHECK(largest_allocation < 2'000'000);
    // Every bit is under a checksum, but for those of packed files that say nothing about content.
    CHECK(refused >= (packing == compression::none ? flips : flips * 9 / 10));
    CHECK(kept > flips / 100);
  }
}

TEST_CASE("lengths that a file cannot hold are refused without asking for as much memory") {
  slim_test::temporary_folder tmp;
  for (const int shift : {20, 40, 62, 63}) {
    byte_vector header(16);
    const std::uint64_t length = std::uint64_t{1} << shift;
    std::memcpy(header.data(), &length, 8);
    const std::uint32_t crc = slim::detail::masked_crc32c(std::span(header).first(8));
    std::memcpy(header.data() + 8, &crc, 4);
    write_bytes(tmp / "bad", header);
    largest_allocation = 0;
    data::record_reader reader(tmp / "bad");
    CHECK_THROWS_AS(reader.next(), data::record_error);
    CHECK_THROWS_WITH(data::record_set({tmp / "bad"}), Contains("bad, byte 0: "));
    CHECK(largest_allocation < 2'000'000);
  }
}

TEST_CASE("what is no file of records is named") {
  slim_test::temporary_folder tmp;
  CHECK_THROWS_WITH(data::record_set({tmp.path()}), Contains(tmp.path()) && Contains("not a file"));
  data::record_reader reader(tmp.path());
  CHECK_THROWS_WITH(reader.next(), Contains(tmp.path()) && Contains("Is a directory"));
  CHECK_THROWS_AS(data::record_writer(tmp.path()), data::record_error);
  for (const compression packing : {compression::gzip, compression::zlib}) {
    const data::record_options options{.packing = packing};
    CHECK_THROWS_WITH(data::record_set({folder + "three.tfrecord"}, options),
                      Contains("three.tfrecord") && Contains("not packed as expected"));
    CHECK_THROWS_AS(data::record_set({tmp.path()}, options), data::record_error);
  }
  if (geteuid() == 0) return;  // whom nothing is forbidden
  write(tmp / "secret", {"x"});
  std::filesystem::permissions(tmp / "secret", std::filesystem::perms::none);
  CHECK_THROWS_WITH(data::record_set({tmp / "secret"}), Contains("cannot be read"));
  CHECK_THROWS_WITH(data::record_reader(tmp / "secret"), Contains("Permission denied"));
}

TEST_CASE("a packed file of several members is one file") {
  slim_test::temporary_folder tmp;
  write(tmp / "a", {"one"}, compression::gzip);
  write(tmp / "b", {"two"}, compression::gzip);
  byte_vector both = read_file(tmp / "a");
  const byte_vector second = read_file(tmp / "b");
  both.insert(both.end(), second.begin(), second.end());
  write_bytes(tmp / "both", both);
  data::record_reader reader(tmp / "both", compression::gzip);
  CHECK(all_of(reader) == std::vector<std::string>{"one", "two"});
}

TEST_CASE("of a damaged packed file, what comes before the damage is kept if it is skipped") {
  slim_test::temporary_folder tmp;
  std::vector<std::string> records;
  for (std::uint64_t i = 0; i < 500; ++i) {
    records.emplace_back();
    for (std::uint64_t j = 0; j < 1000; ++j) records.back() += char(random_at(i, j) & 0xFF);
  }
  write(tmp / "z", records, compression::zlib);
  byte_vector bytes = read_file(tmp / "z");
  bytes.resize(bytes.size() * 3 / 4);
  write_bytes(tmp / "z", bytes);
  CHECK_THROWS_WITH(data::record_set({tmp / "z"}, {.packing = compression::zlib}),
                    Contains("the packed data end too early"));
  const data::record_set rest({tmp / "z"}, {compression::zlib, data::on_corrupt::skip});
  CHECK(rest.size() > 370);
  CHECK(rest.size() < 376);
  for (std::int64_t i = 0; i < rest.size(); ++i)
    CHECK(text(rest.record(i)) == records[static_cast<std::size_t>(i)]);
  CHECK(rest.skipped().size() == 2);  // the end of the data, and the record that it cuts
}

TEST_CASE("a corrupt record is named, or skipped with what cannot be found behind it") {
  slim_test::temporary_folder tmp;
  write(tmp / "a", {"one", "two", "three"});
  write(tmp / "b", {"four"});
  write(tmp / "empty", {});
  const std::vector<std::string> all{tmp / "a", tmp / "empty", tmp / "b"};
  byte_vector bytes = read_file(tmp / "a");

  SECTION("data") {
    bytes[19 + 12] ^= std::byte{1};
    write_bytes(tmp / "a", bytes);
    const data::record_set set(all);
    CHECK(text(set.record(0)) == "one");
    CHECK_THROWS_WITH(set.record(1), Contains(tmp / "a, byte 19: ") && Contains("corrupt"));
    const data::record_set rest(all, {.on_corrupt = data::on_corrupt::skip});
    CHECK(all_of(rest) == std::vector<std::string>{"one", "three", "four"});
    REQUIRE(rest.skipped().size() == 1);
    CHECK_THAT(rest.skipped()[0], Contains("a:19"));
  }
  SECTION("length") {
    bytes[19] ^= std::byte{1};
    write_bytes(tmp / "a", bytes);
    CHECK_THROWS_WITH(data::record_set(all), Contains("a, byte 19: ") && Contains("length"));
    const data::record_set rest(all, {.on_corrupt = data::on_corrupt::skip});
    CHECK(all_of(rest) == std::vector<std::string>{"one", "four"});
  }
  SECTION("a missing file is never skipped") {
    CHECK_THROWS_WITH(data::record_set({tmp / "c"}, {.on_corrupt = data::on_corrupt::skip}),
                      Contains("there is no such file"));
    CHECK_THROWS_WITH(data::record_reader(tmp / "c"), Contains("cannot be opened"));
  }
  SECTION("what unpacks to too much") {
    write(tmp / "z", {std::string(1 << 20, 'x')}, compression::zlib);
    CHECK_THROWS_WITH(
        data::record_set({tmp / "z"}, {.packing = compression::zlib, .max_unpacked_bytes = 1000}),
        Contains("the limit"));
  }
}

TEST_CASE("a file that grows is read as far as it is whole") {
  slim_test::temporary_folder tmp;
  const byte_vector whole = read_file(folder + "three.tfrecord");
  write_bytes(tmp / "log", byte_vector(whole.begin(), whole.begin() + 30));
  data::record_reader reader(tmp / "log", compression::none, data::record_tail::growing);
  CHECK(reader.next() == "first");
  CHECK_FALSE(reader.next());
  std::ofstream(tmp / "log", std::ios::binary | std::ios::app)
      .write(reinterpret_cast<const char*>(whole.data()) + 30,
             static_cast<std::streamsize>(whole.size() - 30));
  CHECK(reader.next() == "");
  CHECK(reader.next() == three[2]);
  CHECK_FALSE(reader.next());
}

TEST_CASE("patterns stand for the files they match") {
  slim_test::temporary_folder tmp;
  write(tmp / "train-1", {}), write(tmp / "train-0", {}), write(tmp / "test-0", {});
  CHECK(data::get_data_files({tmp / "train-*", "named"}) ==
        std::vector<std::string>{tmp / "train-0", tmp / "train-1", "named"});
  CHECK_THROWS_WITH(data::get_data_files({tmp / "x*"}), Contains("no data files match"));
  CHECK_THROWS_WITH(data::get_data_files({}), "no data files are given");
}

TEST_CASE("a file that cannot be written says so") {
  CHECK_THROWS_WITH(data::record_writer("/no-such-folder/x"), Contains("cannot be opened"));
  data::record_writer writer("/dev/full");
  const auto write_much = [&] {
    writer.write(std::string(1 << 20, 'x'));
    writer.close();
  };
  CHECK_THROWS_WITH(write_much(), Contains("cannot be written: No space left on device"));
}
