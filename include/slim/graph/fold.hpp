// Folding, at inference: what an op does to each channel moves into the weights of the contraction
// before it. And preparing: what follows from variables alone is computed when they have changed,
// not on every run.
#pragma once

#include "fuse.hpp"

namespace slim {

/// Where a fold rule works: the builder, the node it is about, and who writes and reads what.
class folding {
 public:
  constexpr folding(graph_builder& b, const consumers& users, const scratch<int>& writer, int node)
      : b(b), node(node), users_(users), writer_(writer) {}

  graph_builder& b;
  const int node;

  /// The node that runs `op` and writes `value` for a single reader, or -1.
  constexpr int producer(int value, const op_info& op) const {
    const int n = single(value);
    return n >= 0 && b.g.nodes[n].op->id == op.id ? n : -1;
  }
  /// The node that writes `value` for a single reader and whose weights can take a scale, or -1.
  constexpr int foldable(int value) const {
    const int n = single(value);
    return n >= 0 && b.g.nodes[n].op->foldable >= 0 ? n : -1;
  }

 private:
  constexpr int single(int value) const {
    return users_.only(value) >= 0 ? writer_[value] - 1 : -1;
  }

  const consumers& users_;
  const scratch<int>& writer_;  // plus one; 0: none
};

/// Offers every node that has a fold rule its chance, in order.
constexpr void fold(graph_builder& b) {
  graph& g = b.g;
  const consumers users(g);
  scratch<int> writer(g.values.size());
  for (int i = 0; i < g.nodes.size(); ++i)
    if (!g.nodes[i].dead)
      for (int k = 0; k < g.nodes[i].outputs; ++k) writer[g.output_of(g.nodes[i], k)] = i + 1;
  const int nodes = g.nodes.size();
  for (int i = 0; i < nodes && !b.failed(); ++i) {
    if (g.nodes[i].dead || !g.nodes[i].op->has_fold) continue;
    b.scope = b.layer = g.nodes[i].scope;
    folding rule(b, users, writer, i);
    g.nodes[i].op->fold(b, rule);
  }
  b.scope = b.layer = -1;
}

/// Marks the nodes that read variables only, and what they write. What the caller reads is written
/// on every run.
constexpr void mark_prepared(graph& g) {
  scratch<bool> constant(g.values.size());
  for (int v = 0; v < g.values.size(); ++v) constant[v] = g.values[v].where == storage::variable;
  // Nodes that folding appended stand behind their readers, but never behind what they read.
  for (int i = 0; i < g.nodes.size(); ++i) {
    node_row& n = g.nodes[i];
    bool prepare = !n.dead && n.inputs > 0;
    for (int k = 0; k < n.inputs; ++k) prepare &= constant[g.input(n, k)];
    for (int k = 0; k < n.outputs; ++k) {
      const int value = g.output_of(n, k);
      prepare &= !g.values[value].fetched && value != g.output;
    }
    if (!prepare) continue;
    n.prepare = !n.op->view;
    for (int k = 0; k < n.outputs; ++k) {
      constant[g.output_of(n, k)] = true;
      if (n.prepare) g.values[g.output_of(n, k)].where = storage::prepared;
    }
  }
}

/// Room for what folding adds to `g`.
constexpr graph_counts folded(const graph& g) {
  graph_counts c = living(g);
  for (const node_row& n : g.nodes)
    if (!n.dead && (n.op->has_fold || n.op->has_at_inference))
      c.nodes += 3, c.values += 3, c.edges += 16;
  return c;
}

}  // namespace slim
