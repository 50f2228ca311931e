// Data sets: their samples in order or shuffled, with keys; files one after the other; label files.

#include <set>

#include <catch2/catch.hpp>

#include <slim/data/dataset.hpp>
#include <slim/data/dataset_info.hpp>

#include "files.hpp"

namespace {

using namespace slim;
using namespace slim::data;
using Catch::Contains;

/// A decoder of the caller's own: text, and its length.
struct text_decoder {
  std::vector<std::string> list_items() const { return {"length", "text"}; }
  std::map<std::string, item> decode(std::span<const std::byte> record,
                                     const std::vector<std::string>& items) const {
    std::map<std::string, item> made;
    for (const std::string& name : items) {
      const std::string text(reinterpret_cast<const char*>(record.data()), record.size());
      made[name] =
          name == "text" ? item{bytes_list{text}, {}} : item{int64_list{std::ssize(text)}, {}};
    }
    return made;
  }
};

/// 10 records in two files, and an empty one between them.
struct texts {
  texts() {
    for (const char* name : {"part-0", "part-1", "part-2"}) {
      record_writer writer(folder / name);
      if (name[5] == '1') continue;
      for (int i = 0; i < 5; ++i)
        writer.write(name[5] + std::string(static_cast<std::size_t>(i), 'x'));
    }
  }
  dataset make() const {
    return {{folder / "part-*"}, {}, text_decoder{}, 10, {{"text", "Some text."}}};
  }
  slim_test::temporary_folder folder{};
};

std::string text_of(const dataset_data_provider& p) {
  return p.get({"text"})[0].as<std::string>()[0];
}

std::vector<std::string> all_texts(dataset_data_provider& p) {
  std::vector<std::string> all;
  while (p.next()) all.push_back(text_of(p));
  return all;
}

const std::vector<std::string> in_order{"0", "0x", "0xx", "0xxx", "0xxxx",
                                        "2", "2x", "2xx", "2xxx", "2xxxx"};

}  // namespace

TEST_CASE("a provider gives the items of each sample, in the order that is asked for") {
  const texts files;
  dataset_data_provider p(files.make(), {.shuffle = false, .num_epochs = 2});
  CHECK(p.list_items() == std::vector<std::string>{"length", "text", "record_key"});
  CHECK(p.num_samples() == 10);
  CHECK_THROWS_AS(p.get({"text"}), std::logic_error);
  REQUIRE(p.next());
  REQUIRE(p.next());
  const std::vector<item> items = p.get({"record_key", "text", "length"});
  CHECK(items[0].as<std::string>() == bytes_list{(files.folder / "part-0") + ":17"});
  CHECK(items[1].as<std::string>() == bytes_list{"0x"});
  CHECK(items[2].as<std::int64_t>() == int64_list{2});
  CHECK(p.get({"record_key"})[0].as<std::string>() == items[0].as<std::string>());
  CHECK_THROWS_WITH(p.get({"text", "image"}), "item image is none of length, text, record_key");

  std::vector<std::string> twice = in_order;
  twice.insert(twice.end(), in_order.begin(), in_order.end());
  p.seek(0);
  CHECK(all_texts(p) == twice);
}

TEST_CASE("a shuffled epoch has every sample once, by the seed alone") {
  const texts files;
  const auto epochs = [&](std::uint64_t seed) {
    dataset_data_provider p(files.make(), {.seed = seed, .num_epochs = 2});
    return all_texts(p);
  };
  const std::vector<std::string> one = epochs(1);
  REQUIRE(one.size() == 20);
  CHECK(one == epochs(1));
  CHECK(one != epochs(2));
  for (const auto first : {one.begin(), one.begin() + 10}) {
    std::vector<std::string> epoch(first, first + 10);
    CHECK(epoch != in_order);
    std::sort(epoch.begin(), epoch.end());
    CHECK(epoch == in_order);
  }
  dataset_data_provider resumed(files.make(), {.seed = 1, .num_epochs = 2});
  resumed.seek(13);
  CHECK(all_texts(resumed) == std::vector<std::string>(one.begin() + 13, one.end()));

  std::multiset<std::string> together;
  for (int shard = 0; shard < 3; ++shard) {
    dataset_data_provider p(files.make(), {.num_epochs = 1, .shard = shard, .num_shards = 3});
    for (const std::string& text : all_texts(p)) together.insert(text);
  }
  CHECK(together == std::multiset<std::string>(in_order.begin(), in_order.end()));
}

TEST_CASE("data sets that make no sense are refused") {
  const texts files;
  CHECK_THROWS_WITH(dataset_data_provider(files.make(), {.record_key = "text"}),
                    "record_key text is an item of the data set");
  CHECK_THROWS_WITH(dataset_data_provider(files.make(), {.shard = 3, .num_shards = 3}),
                    "shard 3 of 3");
  CHECK_THROWS_WITH(dataset_data_provider(files.make(), {.shard = 10, .num_shards = 11}),
                    "there are 10 records, too few for this reader");
  dataset none = files.make();
  none.data_sources = {files.folder / "part-1"};
  CHECK_THROWS_WITH(dataset_data_provider(none), Contains("there are 0 records"));
  none.data_sources = {files.folder / "no-such-*"};
  CHECK_THROWS_WITH(dataset_data_provider(none), Contains("no data files match"));
}

TEST_CASE("a single pass reads files in order, with keys") {
  const texts files;
  single_pass_reader reader = single_pass_read({files.folder / "part-*"});
  std::vector<std::string> all, keys;
  while (const auto record = reader.next())
    all.emplace_back(record->value), keys.push_back(record->key);
  CHECK(all == in_order);
  CHECK(keys[0] == (files.folder / "part-0") + ":0");
  CHECK(keys[9] == (files.folder / "part-2") + ":74");
  CHECK_FALSE(reader.next());
  CHECK_THROWS_AS(single_pass_read({files.folder / "absent"}).next(), record_error);
}

TEST_CASE("label files are written and read, and a bad line is named") {
  slim_test::temporary_folder tmp;
  CHECK_FALSE(has_labels(tmp.path()));
  const label_map labels{{0, "daisy"}, {1, "a: colon"}, {12, ""}};
  write_label_file(labels, tmp.path());
  CHECK(has_labels(tmp.path()));
  CHECK(read_label_file(tmp.path()) == labels);
  for (const char* bad : {"x:name", "1 name", ":name", "1x:name", "99999999999999999999:name"}) {
    std::ofstream(tmp / "labels.txt") << "0:good\n" << bad << "\n";
    CHECK_THROWS_WITH(read_label_file(tmp.path()), Contains("line 2"));
  }
  CHECK_THROWS_AS(write_label_file(labels, "/no-such-folder"), record_error);
  CHECK_THROWS_WITH(write_label_file({{3, "a\n4:b"}}, tmp.path()), Contains("class 3"));
  CHECK_THROWS_AS(read_label_file(tmp.path(), "absent.txt"), record_error);
  CHECK_THROWS_AS(read_label_file("/", "tmp"), record_error);
  std::ofstream(tmp / "crlf.txt") << "5:five\r\n\r\n6:six";
  CHECK(read_label_file(tmp.path(), "crlf.txt") == label_map{{5, "five"}, {6, "six"}});
}
