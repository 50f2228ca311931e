// How tests look at a network that is lowered and no more.
#pragma once

#include <string>
#include <vector>

#include <slim/network.hpp>

namespace slim_test {

using namespace slim;

inline std::string variable_name(const graph& g, int variable) {
  message name = scope_path(g, g.variables[variable].scope);
  return std::string((name << "/" << g.variables[variable].leaf).view());
}
template <class Network>
std::vector<std::string> variable_names() {
  const graph g = Network::lowered();
  std::vector<std::string> names;
  for (int i = 0; i < g.variables.size(); ++i) names.push_back(variable_name(g, i));
  return names;
}

/// How many nodes of a network run the op of this name.
template <class Network>
constexpr int nodes_of(std::string_view name) {
  int count = 0;
  for (const node_row& n : Network::lowered().nodes) count += n.op->name == name;
  return count;
}
template <class Network>
constexpr int penalties = Network::lowered().regularizers.size();

template <class Network>
constexpr std::string_view initializer_of(int variable) {
  return Network::lowered().variables[variable].hooks->initializer;
}

/// A shape as the files of tests/data spell it: 3x3x64x128.
inline std::string extents_of(const shape& s) {
  std::string text;
  for (int i = 0; i < s.rank; ++i) text += (i > 0 ? "x" : "") + std::to_string(s[i]);
  return text;
}

}  // namespace slim_test
