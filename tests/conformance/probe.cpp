// Runs a network of the library on given weights and images, and writes everything it computed
// under TF-Slim's names, to be compared with the real TF-Slim (README.md, beside this file).
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <iostream>

#include "npy.hpp"
#include "probe.hpp"

namespace slim_probe {

#define DECLARE(net) extern const network_entry net;
NETWORKS(DECLARE)
#undef DECLARE

namespace {

#define ADDRESS(net) &net,
const network_entry* const networks[] = {NETWORKS(ADDRESS)};
#undef ADDRESS

const network_entry& network_of(const request& q) {
  for (const network_entry* n : networks)
    if (q.net == n->name) return *n;
  throw slim::error("unknown network " + q.net + ": `probe list` names those there are");
}

void read_images(request& q, int size, int channels) {
  npy_array<float> images = read_npy<float>(q.images_file, "<f4");
  const auto side = static_cast<std::size_t>(size);
  q.image_dims = images.shape;
  std::string dims;
  for (std::size_t d : q.image_dims) dims += (dims.empty() ? "" : ",") + std::to_string(d);
  if (q.image_dims.size() != 4 || q.image_dims[0] < 1 || q.image_dims[0] > 4 ||
      q.image_dims[1] != side || q.image_dims[2] != side ||
      q.image_dims[3] != static_cast<std::size_t>(channels))
    throw slim::error(q.images_file + ": has shape [" + dims + "], " + q.net + " takes [n," +
                      std::to_string(size) + "," + std::to_string(size) + "," +
                      std::to_string(channels) + "], n from 1 to 4");
  q.images = std::move(images.values);
  const auto bad =
      std::find_if_not(q.images.begin(), q.images.end(), [](float x) { return std::isfinite(x); });
  if (bad != q.images.end())
    throw slim::error(q.images_file + ": element " + std::to_string(bad - q.images.begin()) +
                      " is not a finite number");
}

void read_labels(request& q) {
  if (q.labels_file.empty()) return;
  npy_array<int> labels = read_npy<int>(q.labels_file, "<i4");
  if (labels.shape.size() != 1 || labels.shape[0] != q.image_dims[0])
    throw slim::error(q.labels_file + ": must hold one label for each of the " +
                      std::to_string(q.image_dims[0]) + " images");
  q.labels = std::move(labels.values);
}

void check_device(const request& q) {
  if (q.device == "cpu" && (q.precision == "tf32" || q.precision == "bfloat16"))
    throw slim::error("--precision " + q.precision + ": the CPU computes in float or double");
}

void run(request& q, void (*network_entry::*command)(const request&)) {
  const network_entry& net = network_of(q);
  check_device(q);
  read_images(q, net.image_size, net.channels);
  read_labels(q);
  (net.*command)(q);
}

void add_common(CLI::App& command, request& q, bool labels_required) {
  command.add_option("net", q.net, "a network, by TF-Slim's name")->required();
  command.add_option("--checkpoint", q.checkpoint, "the weights, V2 or V1")->required();
  command.add_option("--images", q.images_file, "float32 [n, h, w, 3], n from 1 to 4")->required();
  command.add_option("--labels", q.labels_file, "int32 [n]")->required(labels_required);
  command.add_option("--out", q.out, "prefix of the checkpoint to write")->required();
  command.add_option("--precision", q.precision)
      ->check(CLI::IsMember({"float", "double", "tf32", "bfloat16"}));
  command.add_option("--backend", q.backend)->check(CLI::IsMember({"fast", "eigen"}));
  command.add_option("--device", q.device)->check(CLI::IsMember({"cpu", "gpu"}));
  command.add_option("--threads", q.threads, "0: as many as the machine has")
      ->check(CLI::Range(0, 1024));
  command.add_flag("--train", q.training, "batch statistics; dropout is off");
}

int probe(int argc, char** argv) {
  CLI::App app{"Runs a network and writes what it computed under TF-Slim's names."};
  app.require_subcommand(1);
  request q;
  app.add_subcommand("list", "the networks, one a line");
  CLI::App& answers = *app.add_subcommand("answers", "one pass");
  add_common(answers, q, false);
  CLI::App& steps = *app.add_subcommand("steps", "some steps of training on one batch");
  add_common(steps, q, true);
  CLI::App& weights = *app.add_subcommand("weights", "a checkpoint of initial weights");
  weights.add_option("net", q.net, "a network, by TF-Slim's name")->required();
  weights.add_option("--seed", q.seed, "of the weights");
  weights.add_option("--out", q.out, "prefix of the checkpoint to write")->required();
  std::string from, to;
  CLI::App& distances =
      *app.add_subcommand("distances", "between two checkpoints, a line a tensor");
  distances.add_option("from", from)->required();
  distances.add_option("to", to)->required();
  steps.add_option("--steps", q.steps)->required()->check(CLI::Range(1, 1000000));
  steps.add_option("--optimizer", q.optimizer)
      ->required()
      ->check(CLI::IsMember({"sgd", "momentum", "nesterov", "adam", "rmsprop", "centered_rmsprop",
                             "adagrad", "adadelta", "ftrl", "proximal_gradient_descent",
                             "proximal_adagrad"}));
  steps.add_option("--learning-rate", q.learning_rate)->required();
  try {
    app.parse(argc, argv);
    if (answers.parsed()) run(q, &network_entry::answers);
    if (steps.parsed()) run(q, &network_entry::steps);
    if (weights.parsed()) network_of(q).weights(q);
    if (distances.parsed()) print_distances(from, to);
    if (app.got_subcommand("list"))
      for (const network_entry* n : networks) std::cout << n->name << "\n";
    return 0;
  } catch (const CLI::Success& e) {
    return app.exit(e);  // --help
  } catch (const std::exception& e) {
    std::string line = e.what();
    std::replace(line.begin(), line.end(), '\n', ' ');
    std::cerr << "probe: " << line << "\n";
    return 2;
  }
}

}  // namespace
}  // namespace slim_probe

int main(int argc, char** argv) { return slim_probe::probe(argc, argv); }
