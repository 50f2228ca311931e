// Classifies a photograph with VGG-16: reads a JPEG or PNG, preprocesses it as TF-Slim does for
// evaluation, and prints the five likeliest classes. The weights are random, from a seed: they show
// the path from a file to an answer, not a sensible answer.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <numeric>

#include <slim/preprocessing/vgg_preprocessing.hpp>
#include <slim/slim.hpp>

namespace {

using namespace slim;

constexpr int classes = 1000;
using vgg = model<nets::vgg_arg_scope<nets::vgg_16<>>, input<1, 224, 224, 3>>;

/// One name a line, for every class; an empty list if no file is given.
std::vector<std::string> read_labels(const std::string& path) {
  std::vector<std::string> names;
  if (path.empty()) return names;
  std::ifstream file(path);
  if (!file) throw error("cannot read the label file " + path);
  for (std::string line; std::getline(file, line);) names.push_back(line);
  if (names.size() != classes)
    throw error(path + ": " + std::to_string(names.size()) + " labels, " +
                std::to_string(classes) + " were expected");
  return names;
}

std::vector<double> softmax_of(const tensor_view<const float>& logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  for (float x : logits) p.push_back(std::exp(x - top));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
  return p;
}

void print_top(const std::vector<double>& p, const std::vector<std::string>& names, int count) {
  std::vector<int> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + count, order.end(),
                    [&](int a, int b) { return p[std::size_t(a)] > p[std::size_t(b)]; });
  for (int i = 0; i < count; ++i) {
    const auto k = std::size_t(order[std::size_t(i)]);
    std::printf("%8.4f %%  class %3zu  %s\n", 100 * p[k], k,
                names.empty() ? "" : names[k].c_str());
  }
}

void classify(const std::string& path, const std::string& label_file, int threads,
              std::uint64_t seed) {
  const std::vector<std::string> names = read_labels(label_file);
  const std::vector<float> pixels = vgg_preprocess_for_eval(read_image(path), 224, 224);
  cpu_device device(threads);
  vgg m(device);
  m.initialize(seed);
  std::printf("%s: VGG-16 with random weights (seed %llu)\n", path.c_str(),
              static_cast<unsigned long long>(seed));
  m.forward(pixels);  // touches the memory for the first time
  const auto start = std::chrono::steady_clock::now();
  const auto logits = m.forward(pixels);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  print_top(softmax_of(logits), names, 5);
  std::printf("%.1f ms on %d threads\n", took.count(), device.threads());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Classifies an image with VGG-16."};
  std::string image, label_file;
  int threads = 0;
  std::uint64_t seed = 1;
  app.add_option("image", image, "a JPEG or PNG file")->required();
  app.add_option("--labels", label_file, "a file with a name for each class, one a line");
  app.add_option("--threads", threads, "0: as many as the machine has");
  app.add_option("--seed", seed, "of the random weights");
  CLI11_PARSE(app, argc, argv);
  try {
    classify(image, label_file, threads, seed);
  } catch (const std::exception& e) {
    std::cerr << "classify: " << e.what() << "\n";
    return 2;
  }
}
