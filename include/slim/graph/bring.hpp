// Where kernels have memory of their own, variables that were placed on the CPU stay in host
// memory: a node before their first reader brings them over, once for the forward pass and once
// more for the backward one, so that they take memory there only as long as something reads them.
#pragma once

#include "builder.hpp"

namespace slim {

/// Whether TensorFlow's words for a device name the CPU: "/cpu:0", "/job:worker/device:CPU:0".
constexpr bool names_cpu(std::string_view device) {
  while (!device.empty()) {
    const std::size_t end = device.find('/');
    std::string_view part = device.substr(0, end);
    if (part.starts_with("device:") || part.starts_with("DEVICE:")) part.remove_prefix(7);
    const std::string_view kind = part.substr(0, part.find(':'));
    if (kind == "cpu" || kind == "CPU") return true;
    device.remove_prefix(end == std::string_view::npos ? device.size() : end + 1);
  }
  return false;
}

namespace detail {

/// The parts of a program that are brought a value of their own. What a view shows is read when
/// the view's readers run.
enum class program_part { preparing, forward, backward };
constexpr program_part part_of(const graph& g, const node_row& n) {
  if (n.backward) return program_part::backward;
  bool prepares = n.prepare;
  for (const node_row& reader : g.nodes)
    for (int k = 0; n.op->view && !reader.dead && k < reader.inputs; ++k)
      prepares |= reader.prepare && g.input(reader, k) == g.output_of(n, 0);
  return prepares ? program_part::preparing : program_part::forward;
}

/// Lets the nodes of one part that read `variable` read what a new node before them brings.
constexpr void bring_to(graph_builder& b, program_part part, int variable, const op_info& bring) {
  graph& g = b.g;
  const int nodes = g.nodes.size();
  int first = -1, brought = -1;
  for (int i = 0; i < nodes; ++i) {
    const node_row& n = g.nodes[i];
    for (int k = 0; !n.dead && k < n.inputs; ++k) {
      if (g.input(n, k) != variable || part_of(g, n) != part) continue;
      if (first < 0) {
        first = i;
        b.scope = b.layer = n.scope;
        brought = b.add_node(bring, {variable});
        b.scope = b.layer = -1;
        if (b.failed()) return;
      }
      g.edges[n.first_input + k] = brought;
    }
  }
  if (first < 0) return;
  node_row added = g.nodes[nodes];
  added.backward = part == program_part::backward;
  added.prepare = part == program_part::preparing;
  if (added.prepare) g.values[brought].where = storage::prepared;
  for (int i = nodes; i > first; --i) g.nodes[i] = g.nodes[i - 1];
  g.nodes[first] = added;
}

}  // namespace detail

/// Puts the nodes in, and marks the variables as what lies in host memory.
constexpr void bring_from_host(graph_builder& b, const op_info& bring) {
  using detail::program_part;
  for (int v = 0; v < b.g.variables.size() && !b.failed(); ++v) {
    if (!names_cpu(b.g.variables[v].device)) continue;
    const int value = b.g.variables[v].value;
    for (const program_part part :
         {program_part::preparing, program_part::forward, program_part::backward})
      detail::bring_to(b, part, value, bring);
    b.g.values[value].where = storage::host_variable;
  }
}

/// Room for the nodes that this may add to `g`.
constexpr graph_counts brought(const graph& g) {
  graph_counts c{};
  for (const variable_row& v : g.variables)
    if (names_cpu(v.device)) c.nodes += 3, c.values += 3, c.edges += 6;
  return c;
}

}  // namespace slim
