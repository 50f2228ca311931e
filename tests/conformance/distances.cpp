// How far two checkpoints are apart, tensor by tensor.
#include <cmath>
#include <iostream>

#include <slim/checkpoint.hpp>

#include "probe.hpp"

namespace slim_probe {

void print_distances(const std::string& from, const std::string& to) {
  const slim::checkpoint_reader a(from), b(to);
  for (const auto& t : a.tensors()) {
    const auto x = a.read<double>(t.name), y = b.read<double>(t.name);
    if (x.size() != y.size()) throw slim::error(t.name + " has another size in " + to);
    double apart = 0, size = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double d = double(x[i]) - double(y[i]);
      apart += d * d, size += double(y[i]) * double(y[i]);
    }
    std::cout << (size > 0 ? std::sqrt(apart / size) : std::sqrt(apart)) << " " << t.name << "\n";
  }
}

}  // namespace slim_probe
