// Classifies a photograph with VGG, AlexNet or OverFeat: reads a JPEG or PNG, preprocesses it as
// TF-Slim does for evaluation, and prints the five likeliest classes. The weights come from a
// checkpoint of TensorFlow, such as TF-Slim's released ones. Without one they are random, from a
// seed, and show the path from a file to an answer, not a sensible answer.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <numeric>

#include <slim/checkpoint.hpp>
#include <slim/preprocessing/vgg_preprocessing.hpp>
#include <slim/profile.hpp>
#include <slim/slim.hpp>

#include "device.hpp"

namespace {

using namespace slim;

constexpr int classes = 1000;

struct options {
  std::string image, checkpoint, labels, trace, net = "vgg_16", device = "cpu";
  bool profile = false;
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
    throw error(path + ": " + std::to_string(names.size()) + " labels, " + std::to_string(classes) +
                " were expected");
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
    std::printf("%8.4f %%  class %3zu  %s\n", 100 * p[k], k, names.empty() ? "" : names[k].c_str());
  }
}

template <class Model>
void set_weights(Model& m, const options& o) {
  if (o.checkpoint.empty()) {
    m.initialize(o.seed);
    std::printf("%s: %s of random weights (seed %llu)\n", o.image.c_str(), o.net.c_str(),
                static_cast<unsigned long long>(o.seed));
  } else {
    restore(m, o.checkpoint);
    std::printf("%s: %s of %s\n", o.image.c_str(), o.net.c_str(), o.checkpoint.c_str());
  }
}

/// Where the time of a forward pass goes: a table, and a trace for ui.perfetto.dev.
template <class Model>
void profile(Model& m, const std::vector<float>& pixels, const options& o) {
  const profiler p = profile_forward(m, 10, pixels);
  std::printf("%s", p.table().c_str());
  if (o.trace.empty()) return;
  std::ofstream file(o.trace);
  if (!(file << p.trace())) throw error("cannot write the trace " + o.trace);
}

template <class Net, int Size, class Device>
void classify(const options& o) {
  const std::vector<std::string> names = read_labels(o.labels);
  const std::vector<float> pixels = vgg_preprocess_for_eval(read_image(o.image), Size, Size);
  cpu_device device(o.threads);
  model<Net, input<1, Size, Size, 3>, Device> m(device);
  set_weights(m, o);
  for (int i = 0; i < 2; ++i) m.forward(pixels);  // touches memory, chooses and records kernels
  const auto start = std::chrono::steady_clock::now();
  const auto logits = m.forward(pixels);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  print_top(softmax_of(logits), names, 5);
  if (o.device == "gpu")
    std::printf("%.2f ms an image (GPU)\n", took.count());
  else
    std::printf("%.1f ms an image (threads: %d)\n", took.count(), device.threads());
  if (o.profile || !o.trace.empty()) profile(m, pixels, o);
}

template <class Device>
void classify_on(const options& o) {
  using namespace nets;
  if (o.net == "alexnet_v2") return classify<alexnet_v2_arg_scope<alexnet_v2<>>, 224, Device>(o);
  if (o.net == "overfeat") return classify<overfeat_arg_scope<overfeat<>>, 231, Device>(o);
  if (o.net == "vgg_a") return classify<vgg_arg_scope<vgg_a<>>, 224, Device>(o);
  if (o.net == "vgg_19") return classify<vgg_arg_scope<vgg_19<>>, 224, Device>(o);
  classify<vgg_arg_scope<vgg_16<>>, 224, Device>(o);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Classifies an image with VGG, AlexNet or OverFeat."};
  options o;
  app.add_option("image", o.image, "a JPEG or PNG file")->required();
  app.add_option("--checkpoint", o.checkpoint,
                 "TensorFlow's, V2 (its prefix) or V1; without one the weights are random");
  app.add_option("--labels", o.labels, "a file with a name for each class, one a line");
  app.add_option("--threads", o.threads, "0: as many as the machine has")
      ->check(CLI::Range(0, 1024));
  app.add_flag("--profile", o.profile, "prints where the time goes");
  app.add_option("--trace", o.trace, "writes the profile as a trace for ui.perfetto.dev");
  app.add_option("--seed", o.seed, "of the random weights");
  examples::add_device(app, o.device);
  app.add_option("--net", o.net, "the network, by TF-Slim's name")
      ->check(CLI::IsMember({"alexnet_v2", "overfeat", "vgg_a", "vgg_16", "vgg_19"}));
  try {
    app.parse(argc, argv);
    examples::on_device(o.device, [&]<class Device>(Device) { classify_on<Device>(o); });
  } catch (const CLI::Success& e) {
    return app.exit(e);  // --help
  } catch (const std::exception& e) {
    std::cerr << "classify: " << e.what() << "\n";
    return 2;
  }
}
