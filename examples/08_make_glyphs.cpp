// Makes a data set: pictures of characters in the fonts of this machine, turned, shifted, scaled
// and noised, as PNG and JPEG in TFRecord shards of TF-Slim's format. What is held out for testing
// is in families of fonts that are never trained on.
//
//   08_make_glyphs /tmp/glyphs                                      28x28, grey, the ten digits
//   08_make_glyphs /tmp/letters --characters letters --size 224     224x224, RGB, A to Z
#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
#include <iostream>

#include "glyphs/dataset.hpp"

namespace {

struct options {
  glyphs::dataset_options dataset;
  std::vector<std::string> fonts{"/usr/share/fonts"};
  std::string colour = "auto";
};

void add_options(CLI::App& app, options& o) {
  glyphs::dataset_options& d = o.dataset;
  app.add_option("folder", d.folder, "where the shards and labels.txt go")->required();
  app.add_option("--name", d.name, "what the shards' names begin with")->capture_default_str();
  app.add_option("--characters", d.characters,
                 "the classes: characters, or one of digits, letters, both")
      ->capture_default_str();
  app.add_option("--size", d.size, "pixels of each side")
      ->check(CLI::Range(8, 4096))
      ->capture_default_str();
  app.add_option("--colour", o.colour, "grey, rgb, or auto: RGB from 32 pixels on")
      ->check(CLI::IsMember({"grey", "rgb", "auto"}))
      ->capture_default_str();
  app.add_option("--train", d.train, "pictures to train on")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--test", d.test, "pictures held out")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--train-shards", d.train_shards, "files of the former")
      ->check(CLI::Range(1, 99999))
      ->capture_default_str();
  app.add_option("--test-shards", d.test_shards, "files of the latter")
      ->check(CLI::Range(1, 99999))
      ->capture_default_str();
  app.add_option("--held-out", d.held_out, "part of the families of fonts that are held out")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--jpeg", d.jpeg, "part of the pictures that are JPEG, not PNG")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--quality", d.quality, "of JPEG")->check(CLI::Range(1, 100));
  app.add_option("--degrees", d.chance.degrees, "turned by up to this, either way")
      ->check(CLI::Range(0.0, 180.0))
      ->capture_default_str();
  app.add_option("--shift", d.chance.shift, "off the middle by up to this part of the side")
      ->check(CLI::Range(0.0, 0.4))
      ->capture_default_str();
  app.add_option("--noise", d.chance.noise, "the noise's deviation, of the range of values")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--fonts", o.fonts, "folders of fonts")->capture_default_str();
  app.add_option("--seed", d.seed, "of everything left to chance")->capture_default_str();
  app.add_option("--threads", d.threads, "0: as many as the machine has")
      ->check(CLI::Range(0, 1024));
}

std::string named_characters(const std::string& given) {
  if (given == "digits") return std::string(glyphs::digits);
  if (given == "letters") return std::string(glyphs::capitals);
  if (given == "both") return std::string(glyphs::digits) + std::string(glyphs::capitals);
  if (std::set<char>(given.begin(), given.end()).size() != given.size())
    throw slim::error("--characters " + given + ": a character is there twice");
  const auto visible = [](char c) { return c > ' ' && c < 0x7F; };
  if (given.size() < 2 || !std::all_of(given.begin(), given.end(), visible))
    throw slim::error("--characters " + given + ": two or more of ASCII's are needed");
  return given;
}

void make(options o) {
  glyphs::dataset_options& d = o.dataset;
  d.characters = named_characters(d.characters);
  d.channels = o.colour == "rgb" || (o.colour == "auto" && d.size >= 32) ? 3 : 1;
  const auto start = std::chrono::steady_clock::now();
  const auto fonts = glyphs::find_fonts(o.fonts, d.characters);
  const glyphs::font_split split = glyphs::write_dataset(d, fonts);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::printf("%s: %d pictures of %zu classes in %zu fonts, and %d held out in %zu others (",
              d.folder.c_str(), d.train, d.characters.size(), split.train.size(), d.test,
              split.test.size());
  std::string last;
  for (const glyphs::font& f : split.test)
    if (f.family != last) {
      std::printf("%s%s", last.empty() ? "" : ", ", f.family.c_str());
      last = f.family;
    }
  std::printf("); %.1f s\n", took.count());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Makes a data set of characters in TF-Slim's format."};
  options o;
  add_options(app, o);
  try {
    app.parse(argc, argv);
    make(o);
  } catch (const CLI::ParseError& e) {
    return app.exit(e);
  } catch (const std::exception& e) {
    std::cerr << "make_glyphs: " << e.what() << "\n";
    return 2;
  }
}
