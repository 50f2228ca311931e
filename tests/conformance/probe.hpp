// What the probe's program and its networks agree on.
#pragma once

#include <string>
#include <vector>

namespace slim_probe {

/// A command, its files read and checked as far as they can be without knowing the network.
struct request {
  std::string net, checkpoint, images_file, labels_file, out;
  std::string precision = "float", backend = "fast", device = "cpu", optimizer;
  bool training = false;
  int threads = 0, steps = 0;
  unsigned long seed = 1;
  double learning_rate = 0;
  std::vector<std::size_t> image_dims;
  std::vector<float> images;
  std::vector<int> labels;  // empty: none were given
};

/// A network the probe knows; each is compiled in a unit of its own (probe_net.cpp).
struct network_entry {
  const char* name;
  int image_size, channels;
  void (*answers)(const request&);
  void (*steps)(const request&);
  void (*weights)(const request&);
};

/// A line for each tensor of a checkpoint: its distance from that of another, relative to the other's
/// size, in the 2-norm; and its name.
void print_distances(const std::string& from, const std::string& to);

}  // namespace slim_probe
