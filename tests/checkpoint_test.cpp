// Files of tensors: what the real TensorFlow and the real safetensors wrote is read, what we write
// is byte for byte theirs, and damage of any kind is refused. (tests/oracle/make_checkpoints.py)

#include <catch2/catch.hpp>

#include <leveldb/env.h>
#include <leveldb/iterator.h>
#include <leveldb/table.h>

#include <slim/checkpoint/checkpoint_reader.hpp>
#include <slim/checkpoint/checkpoint_writer.hpp>
#include <slim/safetensors.hpp>

#include "files.hpp"
#include "golden.hpp"
#include "reforge.hpp"

namespace {

using namespace slim;
using Catch::Contains;
using slim_test::byte_vector;
using slim_test::fault;
using slim_test::read_file;
using slim_test::uniform;

const std::string folder = SLIM_TEST_DATA_DIR "/checkpoints/";

byte_vector file(const std::string& name) { return read_file(folder + name); }

template <class T>
std::vector<T> values(std::initializer_list<T> v) {
  return v;
}

/// What every file of variables of all types holds.
void check_everything(const tensor_reader& r, bool v1) {
  CHECK(r.at("net/weights").dims == stored_shape{3, 4, 5});
  CHECK(r.read<float>("net/weights") == uniform("net/weights", 60));
  CHECK(r.read<float>("net/biases") == uniform("net/biases", 5));
  const std::vector<float> biases = uniform("net/biases", 5);
  CHECK(r.read<double>("net/biases") == std::vector<double>(biases.begin(), biases.end()));
  CHECK(r.read<std::int8_t>("types/int8") == values<std::int8_t>({-128, 127}));
  CHECK(r.read<std::int16_t>("types/int16") == values<std::int16_t>({-32768, 5}));
  CHECK(r.read<std::int32_t>("types/int32") == values<std::int32_t>({-1, 2147483647}));
  CHECK(r.read<std::int64_t>("types/int64") == values<std::int64_t>({INT64_MIN, 300}));
  CHECK(r.read<std::uint8_t>("types/uint8") == values<std::uint8_t>({0, 255}));
  CHECK(r.read<std::uint16_t>("types/uint16") == values<std::uint16_t>({65535, 1}));
  CHECK(r.read<std::uint8_t>("types/bool") == values<std::uint8_t>({1, 0, 1}));
  CHECK(r.read<double>("types/float64") == values<double>({0.1, -1e300}));
  CHECK(r.read<float>("types/float16") == values<float>({1.5f, -0.25f}));
  std::string long_text;
  for (int i = 0; i < 100; ++i) long_text += std::string("\0\xff", 2);
  CHECK(r.read_strings("types/str") == values<std::string>({"", "slim", long_text}));
  CHECK(r.at("empty").dims == stored_shape{0, 3});
  CHECK(r.read<float>("empty").empty());
  CHECK(r.at("global_step").dims.empty());
  CHECK(r.read<std::int64_t>("global_step") == values<std::int64_t>({1234567890123}));
  CHECK(r.tensors().size() == (v1 ? 14 : 17));
  if (v1) return;
  CHECK(r.read<std::uint32_t>("types/uint32") == values<std::uint32_t>({4294967295u, 7}));
  CHECK(r.read<std::uint64_t>("types/uint64") == values<std::uint64_t>({UINT64_MAX, 7}));
  CHECK(r.read<float>("types/bfloat16") == values<float>({1.5f, -2.0f}));
}

void check_parts(const tensor_reader& r) {
  CHECK(r.at("rows").dims == stored_shape{7, 3});
  CHECK(r.at("columns").dims == stored_shape{2, 200, 3});
  CHECK(r.read<float>("rows") == uniform("rows", 21));
  CHECK(r.read<float>("columns") == uniform("columns", 1200));
}

void check_shards(const tensor_reader& r) {
  CHECK(r.read<float>("first") == uniform("first", 12));
  CHECK(r.read<float>("second") == uniform("second", 5));
}

void check_safetensors(const tensor_reader& r) {
  CHECK(r.tensors().size() == 7);
  CHECK(r.at("net/weights").dims == stored_shape{3, 4, 5});
  CHECK(r.read<float>("net/weights") == uniform("net/weights", 60));
  CHECK(r.read<float>("net/biases") == uniform("net/biases", 5));
  CHECK(r.read<float>("half") == values<float>({1.5f, -0.25f}));
  CHECK(r.read<double>("scalar") == values<double>({2.5}));
  CHECK(r.read<std::int64_t>("ints") == values<std::int64_t>({INT64_MIN, 300}));
  CHECK(r.read<std::uint8_t>("flags") == values<std::uint8_t>({1, 0, 1}));
  CHECK(r.at("empty").dims == stored_shape{0, 3});
}

}  // namespace

// ---- Checksums and keys -------------------------------------------------------------------------

TEST_CASE("checksums are CRC-32C, masked", "[checkpoint]") {
  CHECK(detail::crc32c(detail::bytes_of("123456789")) == 0xE3069283u);
  CHECK(detail::masked_crc32c({}) == 0xA282EAD8u);
  const auto text = detail::bytes_of("what comes in parts");
  CHECK(detail::extend_crc32c(detail::crc32c(text.first(7)), text.subspan(7)) ==
        detail::crc32c(text));
}

TEST_CASE("ordered numbers are ordered", "[checkpoint]") {
  std::vector<std::int64_t> numbers{INT64_MIN, INT64_MIN + 1, -1, 0, INT64_MAX};
  for (int bit = 0; bit < 63; ++bit)
    for (std::int64_t near : {-1, 0, 1})
      for (std::int64_t sign : {-1, 1}) numbers.push_back(sign * (std::int64_t{1} << bit) + near);
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  std::string last;
  for (std::int64_t n : numbers) {
    std::string key;
    detail::append_ordered(key, n);
    INFO(n);
    CHECK(key.size() <= 10);
    CHECK((last.empty() || last < key));
    last = key;
  }
  std::string whole;  // of an axis: 0 and -1
  detail::append_ordered(whole, 0), detail::append_ordered(whole, -1);
  CHECK(whole == "\x80\x7f");
  CHECK(detail::slice_key("a", {}) == std::string("\0a\0\1\0", 5));
}

// ---- Files of others ----------------------------------------------------------------------------

TEST_CASE("checkpoints of TensorFlow are read", "[checkpoint]") {
  check_everything(checkpoint_reader(folder + "v2"), false);
  check_everything(checkpoint_reader(folder + "v1"), true);
  check_everything(checkpoint_reader(folder + "v1_snappy"), true);
  check_parts(checkpoint_reader(folder + "v2_partitioned"));
  check_parts(checkpoint_reader(folder + "v1_partitioned"));
  check_shards(checkpoint_reader(folder + "v2_sharded"));
  check_shards(checkpoint_reader(folder + "v1_sharded"));
}

TEST_CASE("checkpoints are read from memory", "[checkpoint]") {
  const byte_vector index = file("v2.index"), data = file("v2.data-00000-of-00001");
  check_everything(checkpoint_reader(index, data), false);
  const byte_vector v1 = file("v1");
  check_everything(checkpoint_reader(v1), true);
  const byte_vector sharded = file("v2_sharded.index");
  const byte_vector one = file("v2_sharded.data-00000-of-00002"),
                    two = file("v2_sharded.data-00001-of-00002");
  check_shards(checkpoint_reader(sharded, {one, two}));
  CHECK(fault([&] { checkpoint_reader(sharded, one, "weights"); }) ==
        "weights: has 2 shards, 1 were given");
}

TEST_CASE("safetensors are read from files and from memory", "[checkpoint]") {
  check_safetensors(safetensors_reader(folder + "all.safetensors"));
  const byte_vector bytes = file("all.safetensors");
  check_safetensors(safetensors_reader(bytes));
}

// ---- Our own files ------------------------------------------------------------------------------

TEST_CASE("what is written again is TensorFlow's, byte for byte", "[checkpoint]") {
  const slim_test::temporary_folder out;
  const checkpoint_reader r(folder + "v2");
  checkpoint_writer w(out / "again");
  for (const tensor_info& t : r.tensors()) {
    if (t.type == tensor_type::string) {
      w.add_strings(t.name, t.dims, r.read_strings(t.name));
    } else if (t.type == tensor_type::boolean) {
      const bool v[] = {true, false, true};
      w.add(t.name, t.dims, std::span<const bool>(v));
    } else {
      slim_test::with_element(t.type, [&]<class T>(T) {
        const std::vector<T> v = r.read<T>(t.name);
        w.add(t.name, t.dims, std::span<const T>(v));
      });
    }
  }
  CHECK(out.empty() == false);  // only under temporary names so far
  CHECK_THROWS_AS(checkpoint_reader(out / "again"), checkpoint_error);
  w.finish();
  CHECK(read_file(out / "again.index") == file("v2.index"));
  CHECK(read_file(out / "again.data-00000-of-00001") == file("v2.data-00000-of-00001"));
  CHECK(std::distance(std::filesystem::directory_iterator(out.path()), {}) == 2);
}

TEST_CASE("leveldb reads an index of several blocks", "[checkpoint]") {
  const slim_test::temporary_folder out;
  constexpr int count = 20000;
  {
    checkpoint_writer w(out / "many");
    for (int i = 0; i < count; ++i) {
      const float v = static_cast<float>(i);
      w.add("scope_" + std::to_string(i) + "/variable", {1}, std::span<const float>(&v, 1));
    }
    w.finish();
  }
  leveldb::Env* env = leveldb::Env::Default();
  leveldb::RandomAccessFile* raw = nullptr;
  std::uint64_t size = 0;
  REQUIRE(env->NewRandomAccessFile(out / "many.index", &raw).ok());
  const std::unique_ptr<leveldb::RandomAccessFile> index(raw);
  REQUIRE(env->GetFileSize(out / "many.index", &size).ok());
  CHECK(size > 2 * 262144);
  leveldb::Table* opened = nullptr;
  REQUIRE(leveldb::Table::Open({}, index.get(), size, &opened).ok());
  const std::unique_ptr<leveldb::Table> table(opened);
  leveldb::ReadOptions options;
  options.verify_checksums = true;
  const std::unique_ptr<leveldb::Iterator> i(table->NewIterator(options));
  int entries = 0;
  for (i->SeekToFirst(); i->Valid(); i->Next()) ++entries;
  CHECK(i->status().ok());
  CHECK(entries == count + 1);

  const checkpoint_reader r(out / "many");
  CHECK(r.tensors().size() == count);
  for (int k = 0; k < count; k += 97)
    CHECK(r.read<float>("scope_" + std::to_string(k) + "/variable")[0] == static_cast<float>(k));
}

TEST_CASE("a writer that does not finish leaves nothing", "[checkpoint]") {
  const slim_test::temporary_folder out;
  const float v[2] = {1, 2};
  {
    checkpoint_writer w(out / "half");
    w.add("a", {2}, std::span<const float>(v));
    CHECK_THAT(fault([&] { w.add("a", {2}, std::span<const float>(v)); }),
               Contains("a: was added twice"));
    CHECK_THAT(fault([&] { w.add("b", {3}, std::span<const float>(v)); }),
               Contains("half: b: 2 elements are not of shape [3]"));
    CHECK_THAT(fault([&] { w.add("", {2}, std::span<const float>(v)); }), Contains("needs a name"));
  }
  CHECK(out.empty());
  CHECK_THAT(fault([&] { checkpoint_writer w(out / "no/such/folder/x"); }),
             Contains("no/such/folder/x.data-00000-of-00001: cannot be written"));
}

TEST_CASE("a full disk is said and leaves nothing", "[checkpoint]") {
  if (!std::filesystem::exists("/dev/full")) return;
  const slim_test::temporary_folder out;
  // What is written under the temporary name of the data goes to a device without room.
  std::filesystem::create_symlink("/dev/full", out / "x.data-00000-of-00001.tempstate");
  const std::vector<float> large(1 << 20);
  CHECK_THAT(fault([&] {
               checkpoint_writer w(out / "x");
               w.add("a", {1 << 20}, std::span<const float>(large));
               w.finish();
             }),
             Contains("x.data-00000-of-00001: cannot be written") && Contains("No space left"));
  CHECK(out.empty());
}

// ---- Bad input ----------------------------------------------------------------------------------

TEST_CASE("what is missing or of another type is named", "[checkpoint]") {
  const checkpoint_reader r(folder + "v2");
  CHECK(r.find("net/weight") == nullptr);
  CHECK(fault([&] { r.read<float>("net/weight"); }) ==
        folder + "v2: net/weight: is not there (the file holds 17 tensors)");
  CHECK(fault([&] { r.read<float>("global_step"); }) ==
        folder + "v2: global_step: holds int64, which is not read as float32");
  CHECK(fault([&] { r.read<std::int64_t>("types/int32"); }) ==
        folder + "v2: types/int32: holds int32, which is not read as int64");
  CHECK_THAT(fault([&] { r.read_strings("types/int32"); }), Contains("holds int32, not strings"));
  std::vector<float> few(4);
  CHECK_THAT(fault([&] { r.read(r.at("net/biases"), std::span<float>(few)); }),
             Contains("net/biases: has 5 elements, not 4"));
  try {
    r.at("x");
  } catch (const checkpoint_error& e) {
    CHECK(e.file() == folder + "v2");
    CHECK(e.variable() == "x");
  }
}

TEST_CASE("files that are missing or something else are named", "[checkpoint]") {
  const slim_test::temporary_folder out;
  const auto open = [&](const std::string& name) {
    return fault([&] { checkpoint_reader(out / name); });
  };
  CHECK_THAT(open("none"), Contains("none: there is no such checkpoint"));
  CHECK_THAT(open("."), Contains("has no file `checkpoint`"));
  slim_test::write_file(out / "empty", {});
  CHECK_THAT(open("empty"), Contains("is not a checkpoint"));
  slim_test::write_file(out / "text", byte_vector(1000, std::byte{'a'}));
  CHECK_THAT(open("text"), Contains("text: is not a checkpoint"));
  slim_test::write_file(out / "alone.index", file("v2.index"));
  CHECK_THAT(open("alone"), Contains("alone.data-00000-of-00001: there is no such file"));
  slim_test::write_file(out / "alone.data-00000-of-00001", byte_vector(10));
  CHECK_THAT(open("alone"), Contains("the file has 10; truncated?"));
  slim_test::write_file(out / "s-00000-of-00002", file("v1_sharded-00000-of-00002"));
  CHECK_THAT(open("s"), Contains("s-00001-of-00002: there is no such file"));
  std::filesystem::create_directory(out / "folder.index");
  CHECK_THAT(open("folder"), Contains("folder.index: is not a file"));
  CHECK_THAT(fault([&] { safetensors_reader(out / "empty"); }), Contains("too short"));
  CHECK_THAT(fault([&] { safetensors_reader(out / "text"); }), Contains("text: its header of"));
}

TEST_CASE("every cut of a file is refused or read", "[checkpoint]") {
  const byte_vector data = file("v2.data-00000-of-00001");
  for (const char* name : {"v2.index", "v1", "v1_snappy", "v1_partitioned"}) {
    const byte_vector whole = file(name);
    for (std::size_t n = 0; n < whole.size(); ++n) {
      const byte_vector cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
      INFO(name << " cut to " << n);
      CHECK(!fault([&] {
               name == std::string("v2.index") ? checkpoint_reader(cut, data)
                                               : checkpoint_reader(cut);
             }).empty());
    }
  }
  const byte_vector index = file("v2.index"), safe = file("all.safetensors");
  for (std::size_t n = 0; n < data.size(); ++n)
    CHECK(!fault([&] { checkpoint_reader(index, detail::byte_span(data).first(n)); }).empty());
  for (std::size_t n = 0; n < safe.size(); ++n)
    CHECK(!fault([&] { safetensors_reader(detail::byte_span(safe).first(n)); }).empty());
}

TEST_CASE("every flipped bit of a checkpoint is found", "[checkpoint]") {
  const byte_vector index = file("v2.index"), data = file("v2.data-00000-of-00001");
  const auto flipped = [](byte_vector bytes, std::size_t bit) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    return bytes;
  };
  for (std::size_t bit = 0; bit < 8 * data.size(); ++bit) {
    const byte_vector bad = flipped(data, bit);
    const checkpoint_reader r(index, bad);
    REQUIRE(slim_test::read_all(r) == 16);  // all but one
  }
  // The footer has no checksum: a flip there is noticed, or does not matter.
  for (std::size_t bit = 0; bit < 8 * index.size(); ++bit) {
    const byte_vector bad = flipped(index, bit);
    const std::string said = fault([&] { checkpoint_reader(bad, data); });
    if (bit < 8 * (index.size() - 48)) REQUIRE_THAT(said, Contains("damaged table"));
  }
}

TEST_CASE("damage behind good checksums is refused or read", "[checkpoint]") {
  const std::uint64_t seed = slim_test::fnv1a64("damage");
  const byte_vector data = file("v2.data-00000-of-00001");
  int opened = 0, tries = 0;
  for (const char* name : {"v2.index", "v1", "v1_snappy", "v1_partitioned", "v2_partitioned.index",
                           "all.safetensors"}) {
    const std::string kind = name;
    const byte_vector whole = file(name);
    for (std::uint64_t i = 0; i < 2000; ++i, ++tries) {
      byte_vector bad = whole;
      for (std::uint64_t k = 0; k <= i % 3; ++k) {
        const std::uint64_t z = slim_test::hash_at(seed, 3 * i + k);
        bad[(z >> 3) % bad.size()] ^= std::byte{1} << (z & 7);
      }
      const bool bundle = kind.ends_with(".index");
      if (bundle) slim_test::reforge_bundle(bad, data);
      if (kind.starts_with("v1")) slim_test::reforge_table(bad);
      INFO(name << " damaged as " << i);
      CHECK_NOTHROW(fault([&] {
        if (bundle)
          slim_test::read_all(checkpoint_reader(bad, data));
        else if (kind == "all.safetensors")
          slim_test::read_all(safetensors_reader(bad));
        else
          slim_test::read_all(checkpoint_reader(bad));
        ++opened;
      }));
    }
  }
  CHECK(opened > tries / 20);  // damage did get past the checksums
  CHECK(opened < tries);
}

TEST_CASE("malformed safetensors headers are refused", "[checkpoint]") {
  const auto said = [](const std::string& header, std::size_t data = 8) {
    byte_vector bytes(8 + header.size() + data);
    const std::uint64_t size = header.size();
    std::memcpy(bytes.data(), &size, 8);
    std::memcpy(bytes.data() + 8, header.data(), header.size());
    return fault([&] { safetensors_reader r(bytes); });
  };
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  CHECK(said(good) == "");
  CHECK(said(good + "   ") == "");
  CHECK(said(R"({"__metadata__":{"k":"v"},)"
             R"("a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}})") == "");
  CHECK_THAT(said(good, 9), Contains("behind its last tensor"));
  CHECK_THAT(said(good, 7), Contains("a: needs bytes 0 to 8 behind the header, there are 7"));
  CHECK_THAT(said(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})"),
             Contains("a: F32 [3] cannot be 8 bytes"));
  CHECK_THAT(said(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})"),
             Contains("cannot be 8 bytes"));
  CHECK_THAT(said(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                  R"("b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})"),
             Contains("overlap"));
  CHECK_THAT(said(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                  R"("a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})"),
             Contains("a: is there twice"));
  for (const char* bad :
       {"[]", "{", R"({"a":1})", R"({"a":"b"})", R"({"a":[1]})", R"({"a":{}})", R"({"a":null})",
        R"({"a":{"dtype":"F32","shape":[2]}})",
        R"({"a":{"dtype":1,"shape":[2],"data_offsets":[0,8]}})",
        R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})",
        R"({"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}})",
        R"({"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})",
        R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}})",
        R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})",
        R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
        R"({"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}})",
        R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}})",
        R"({"__metadata__":{"a":{}}})", "{}"}) {
    INFO(bad);
    CHECK(!said(bad).empty());
  }
  CHECK(!said("{\"a\":" + std::string(100000, '[')).empty());
}

TEST_CASE("a small file cannot ask for much memory", "[checkpoint]") {
  // An index whose keys each share a long prefix would unfold to a gigabyte of names.
  const slim_test::temporary_folder out;
  {
    leveldb::WritableFile* file = nullptr;
    REQUIRE(leveldb::Env::Default()->NewWritableFile(out / "bomb.index", &file).ok());
    const std::unique_ptr<leveldb::WritableFile> closes(file);
    leveldb::Options options;
    options.compression = leveldb::kNoCompression;
    options.block_size = 1 << 30;
    options.block_restart_interval = 1 << 20;
    leveldb::TableBuilder table(options, file);
    table.Add("", detail::bundle_header_of_one_shard());
    detail::bundle_entry entry;
    entry.type = tensor_type::float32;
    entry.dims = {0};
    const std::string long_name(100000, 'n');
    for (int i = 100000; i < 110000; ++i)
      table.Add(long_name + std::to_string(i), detail::serialized(entry));
    REQUIRE(table.Finish().ok());
    REQUIRE(file->Close().ok());
  }
  slim_test::write_file(out / "bomb.data-00000-of-00001", {});
  CHECK(std::filesystem::file_size(out / "bomb.index") < 600000);
  CHECK_THAT(fault([&] { checkpoint_reader(out / "bomb"); }), Contains("keys too long"));
}

TEST_CASE("an empty tensor of many rows takes no time", "[checkpoint]") {
  const tensor_info tensor{"a", tensor_type::float32, {std::int64_t{1} << 50, 2, 0}};
  const std::vector<detail::tensor_piece> halves{{{}, nullptr, 1, 0, 1}, {{}, nullptr, 1, 1, 1}};
  std::vector<detail::copy_job<float>> jobs;
  detail::add_copy_jobs<float>(tensor, halves, nullptr, 1, jobs);
  CHECK(jobs.empty());
}

// ---- The file `checkpoint` ----------------------------------------------------------------------

TEST_CASE("the state of a folder of checkpoints", "[checkpoint]") {
  const slim_test::temporary_folder out;
  const std::string folder_path = out.path();
  CHECK(!get_checkpoint_state(folder_path));
  CHECK(!latest_checkpoint(folder_path));
  checkpoint_state state;
  state.model_checkpoint_path = out / "model.ckpt-20";
  state.all_model_checkpoint_paths = {out / "model \"10\"\\\n.ckpt", "/elsewhere/x",
                                      out / "model.ckpt-20"};
  state.all_model_checkpoint_timestamps = {1700000000.25, 2, 1.5e9};
  state.last_preserved_timestamp = 1600000000.125;
  update_checkpoint_state(folder_path, state);
  const auto text = read_file(out / "checkpoint");
  CHECK_THAT(std::string(detail::characters(text)),
             Catch::StartsWith("model_checkpoint_path: \"model.ckpt-20\"\n") &&
                 Contains("\\\"10\\\"\\\\\\012.ckpt") && Contains("\"/elsewhere/x\""));
  const auto again = get_checkpoint_state(folder_path);
  REQUIRE(again);
  CHECK(again->model_checkpoint_path == state.model_checkpoint_path);
  CHECK(again->all_model_checkpoint_paths == state.all_model_checkpoint_paths);
  CHECK(again->all_model_checkpoint_timestamps == state.all_model_checkpoint_timestamps);
  CHECK(again->last_preserved_timestamp == state.last_preserved_timestamp);
  CHECK(latest_checkpoint(folder_path) == out / "model.ckpt-20");

  const auto said = [&](const std::string& content) {
    const auto* first = reinterpret_cast<const std::byte*>(content.data());
    slim_test::write_file(out / "checkpoint", {first, first + content.size()});
    return fault([&] { get_checkpoint_state(folder_path); });
  };
  CHECK(said("# by hand\nmodel_checkpoint_path: 'a' \"b\"  # two parts\n") == "");
  CHECK(latest_checkpoint(folder_path) == out / "ab");
  CHECK_THAT(said(""), Contains("checkpoint: names no checkpoint"));
  CHECK_THAT(said("model_checkpoint_path: 3"), Contains("line 1: a quoted path was expected"));
  CHECK_THAT(said("\nmodel_checkpoint_path \"x\""), Contains("line 2: a field and a colon"));
  CHECK_THAT(said("a: \"x\""), Contains("unknown field a"));
  CHECK(!said("model_checkpoint_path: \"x").empty());
}

TEST_CASE("a folder is opened at its latest checkpoint", "[checkpoint]") {
  const slim_test::temporary_folder out;
  for (const char* part : {".index", ".data-00000-of-00001"})
    slim_test::write_file(out / ("v2-7" + std::string(part)), file("v2" + std::string(part)));
  checkpoint_state state;
  state.model_checkpoint_path = out / "v2-7";
  update_checkpoint_state(out.path(), state);
  check_everything(checkpoint_reader(out.path()), false);
}
