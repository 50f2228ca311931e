// A data set of characters in TF-Slim's format: shards of tf.train.Examples and labels.txt.
//
//   glyphs::write_dataset({.folder = "/tmp/glyphs"}, glyphs::find_fonts({"/usr/share/fonts"},
//                                                                      glyphs::digits));
//
// A family of fonts, with all its widths and weights, is either trained on or held out. Picture i
// of a split follows from the seed, the split, i and the fonts alone: the files are the same for
// any number of threads.
#pragma once

#include <atomic>
#include <cstdio>
#include <future>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <slim/data/dataset_info.hpp>
#include <slim/data/example.hpp>
#include <slim/data/tfrecord.hpp>
#include <slim/image_encode.hpp>

#include "draw.hpp"

namespace glyphs {

inline constexpr std::string_view digits = "0123456789";
inline constexpr std::string_view capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

struct dataset_options {
  std::string folder;
  std::string name = "glyphs";
  std::string characters{digits};  ///< the classes, in this order
  int size = 28;                   ///< pixels, of each side
  int channels = 1;                ///< 1: grey, 3: RGB
  int train = 40'000, test = 4'000;
  int train_shards = 4, test_shards = 1;
  double held_out = 0.2;  ///< about this part of the families is for testing alone
  double jpeg = 0.5;      ///< this part is written as JPEG, the rest as PNG
  int quality = 90;       ///< of JPEG, of 100
  int threads = 0;        ///< 0: as many as the machine has
  std::uint64_t seed = 1;
  distortions chance{};
};

/// Fonts to train on, and others to test with.
struct font_split {
  std::vector<font> train, test;
};

/// A family's name without what only tells its members apart: of "Open Sans Condensed" it is "Open
/// Sans" where there is a family of that name, too. `names` are all families.
inline std::string family_root(const std::string& family, const std::set<std::string>& names) {
  for (std::size_t end = family.find(' '); end != family.npos; end = family.find(' ', end + 1))
    if (names.contains(family.substr(0, end))) return family.substr(0, end);
  return family;
}

/// Splits fonts by the root of their family, by the seed; at least one is on either side. Throws
/// font_error if there is only one.
inline font_split split_fonts(const std::vector<font>& fonts, double held_out, std::uint64_t seed) {
  std::set<std::string> names, roots;
  for (const font& f : fonts) names.insert(f.family);
  for (const std::string& name : names) roots.insert(family_root(name, names));
  if (roots.size() < 2)
    throw font_error("all fonts are of the family " + *roots.begin() +
                     "; a second one is needed to test with");
  std::vector<std::string> chosen(roots.begin(), roots.end());
  slim::random_stream random(slim::random_at(seed, 0));
  for (std::size_t i = chosen.size() - 1; i > 0; --i)
    std::swap(chosen[i], chosen[random.bits() % (i + 1)]);
  const auto wanted = static_cast<std::size_t>(std::lround(held_out * double(chosen.size())));
  chosen.resize(std::clamp<std::size_t>(wanted, 1, chosen.size() - 1));
  const std::set<std::string> tested(chosen.begin(), chosen.end());
  font_split split;
  for (const font& f : fonts)
    (tested.contains(family_root(f.family, names)) ? split.test : split.train).push_back(f);
  return split;
}

/// The path of a shard, as TF-Slim's data sets name them.
inline std::string shard_path(const dataset_options& o, const std::string& split, int shard,
                              int shards) {
  char number[64];
  std::snprintf(number, sizeof number, "_%05d-of-%05d.tfrecord", shard, shards);
  return (std::filesystem::path(o.folder) / (o.name + "_" + split + number)).string();
}

namespace detail {

/// A thread's typefaces, opened when they are first drawn with.
class typefaces {
 public:
  typeface& of(const font& f) {
    auto [at, added] = open_.try_emplace(f.path);
    if (added) at->second = std::make_unique<typeface>(library_, f.path);
    return *at->second;
  }

 private:
  font_library library_;
  std::map<std::string, std::unique_ptr<typeface>> open_;
};

/// Picture i of a split, as an Example.
inline slim::data::example make_example(const dataset_options& o, const std::vector<font>& fonts,
                                        typefaces& faces, std::uint64_t key, int i) {
  slim::random_stream random(slim::random_at(key, static_cast<std::uint64_t>(i)));
  const auto label = static_cast<std::size_t>(i) % o.characters.size();
  const font& f = fonts[random.bits() % fonts.size()];
  const bool jpeg = random.uniform() < o.jpeg;
  const picture p = draw(faces.of(f), o.characters[label], o.size, o.channels, o.chance, random);
  using namespace slim::data;
  example e;
  e.features["image/encoded"] =
      bytes_list{jpeg ? slim::encode_jpeg(p.pixels, p.size, p.size, p.channels, o.quality)
                      : slim::encode_png(p.pixels, p.size, p.size, p.channels)};
  e.features["image/format"] = bytes_list{jpeg ? "jpeg" : "png"};
  e.features["image/class/label"] = int64_list{static_cast<std::int64_t>(label)};
  e.features["image/height"] = int64_list{o.size};
  e.features["image/width"] = int64_list{o.size};
  e.features["image/font"] = bytes_list{f.family + " " + f.style};
  return e;
}

/// Calls f(i) for i in [0, count) on several threads; throws what the first of them threw.
template <class F>
void for_each_task(int count, int threads, F f) {
  if (threads == 0) threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  std::atomic<int> next = 0;
  const auto work = [&] {
    for (int i; (i = next++) < count;) f(i);
  };
  std::vector<std::future<void>> workers;
  for (int t = 0; t < std::min(threads, count); ++t)
    workers.push_back(std::async(std::launch::async, work));
  for (auto& w : workers) w.wait();
  for (auto& w : workers) w.get();
}

}  // namespace detail

/// Writes the data set into its folder, which is made if it is missing, and returns how the fonts
/// were split. Throws font_error, slim::image_error or slim::data::record_error, all slim::errors.
inline font_split write_dataset(const dataset_options& o, const std::vector<font>& fonts) {
  const font_split split = split_fonts(fonts, o.held_out, o.seed);
  std::filesystem::create_directories(o.folder);
  struct part {
    std::string name;
    const std::vector<font>& fonts;
    int pictures, shards;
  };
  const part parts[] = {{"train", split.train, o.train, o.train_shards},
                        {"test", split.test, o.test, o.test_shards}};
  detail::for_each_task(o.train_shards + o.test_shards, o.threads, [&](int task) {
    const bool test = task >= o.train_shards;
    const part& p = parts[test];
    const int shard = test ? task - o.train_shards : task;
    const std::uint64_t key = slim::random_at(o.seed, test ? 2 : 1);
    slim::data::record_writer writer(shard_path(o, p.name, shard, p.shards));
    detail::typefaces faces;
    const auto begin = [&](int s) {
      return static_cast<int>(static_cast<long>(p.pictures) * s / p.shards);
    };
    for (int i = begin(shard); i < begin(shard + 1); ++i)
      writer.write(detail::make_example(o, p.fonts, faces, key, i).serialize());
    writer.close();
  });
  slim::data::label_map labels;
  for (const char c : o.characters) labels[std::ssize(labels)] = c;
  slim::data::write_label_file(labels, o.folder);
  return split;
}

}  // namespace glyphs
