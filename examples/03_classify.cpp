// Classifies a photograph with a VGG net: reads a JPEG or PNG, preprocesses it as TF-Slim does for
// evaluation, and prints the five likeliest classes. The weights are random, from a seed, until a
// checkpoint is loaded: they show the path from a file to an answer, not a sensible answer.
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

struct options {
  std::string image, labels, net = "vgg_16";
  int threads = 0;
  std::uint64_t seed = 1;
};

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

template <class Net>
void classify(const options& o) {
  const std::vector<std::string> names = read_labels(o.labels);
  const std::vector<float> pixels = vgg_preprocess_for_eval(read_image(o.image), 224, 224);
  cpu_device device(o.threads);
  model<nets::vgg_arg_scope<Net>, input<1, 224, 224, 3>> m(device);
  m.initialize(o.seed);
  std::printf("%s: %s; its weights are random (seed %llu) until a checkpoint is loaded\n",
              o.image.c_str(), o.net.c_str(), static_cast<unsigned long long>(o.seed));
  m.forward(pixels);  // touches the memory for the first time
  const auto start = std::chrono::steady_clock::now();
  const auto logits = m.forward(pixels);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  print_top(softmax_of(logits), names, 5);
  std::printf("%.1f ms an image (threads: %d)\n", took.count(), device.threads());
}

void classify(const options& o) {
  if (o.net == "vgg_a") return classify<nets::vgg_a<>>(o);
  if (o.net == "vgg_19") return classify<nets::vgg_19<>>(o);
  classify<nets::vgg_16<>>(o);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Classifies an image with a VGG net of random weights."};
  options o;
  app.add_option("image", o.image, "a JPEG or PNG file")->required();
  app.add_option("--labels", o.labels, "a file with a name for each class, one a line");
  app.add_option("--threads", o.threads, "0: as many as the machine has")
      ->check(CLI::Range(0, 1024));
  app.add_option("--seed", o.seed, "of the random weights");
  app.add_option("--net", o.net, "vgg_a, vgg_16 or vgg_19")
      ->check(CLI::IsMember({"vgg_a", "vgg_16", "vgg_19"}));
  try {
    app.parse(argc, argv);
    classify(o);
  } catch (const CLI::Success& e) {
    return app.exit(e);  // --help
  } catch (const std::exception& e) {
    std::cerr << "classify: " << e.what() << "\n";
    return 2;
  }
}
