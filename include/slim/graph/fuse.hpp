// Fusion: a node and the chain of its only consumers become one node, whose kernel never writes
// what lies between. Runs before differentiation (so that the backward program is that of the
// fused nodes) and again after it, on the backward program.
#pragma once

#include "builder.hpp"
#include "scratch.hpp"

namespace slim {

/// Who reads each value of a graph.
class consumers {
 public:
  constexpr explicit consumers(const graph& g)
      : count_(g.values.size()), last_(g.values.size()) {
    for (int i = 0; i < g.nodes.size(); ++i) {
      if (g.nodes[i].dead) continue;
      for (int k = 0; k < g.nodes[i].inputs; ++k) add(g.input(g.nodes[i], k), i);
    }
    // The caller reads what it fetches, and the gradients.
    for (int i = 0; i < g.values.size(); ++i)
      if (g.values[i].fetched || g.values[i].where == storage::gradient) ++count_[i];
    if (g.output >= 0) ++count_[g.output];
    if (g.total_loss >= 0) ++count_[g.total_loss];
    for (int loss : g.losses) ++count_[loss];
    for (int loss : g.regularizers) ++count_[loss];
  }

  /// The only node that reads `value`, or -1 if the caller or several nodes do.
  constexpr int only(int value) const { return count_[value] == 1 ? last_[value] - 1 : -1; }
  /// Whether a living node reads it.
  static constexpr bool reads(const graph& g, int node, int value) {
    for (int i = 0; i < g.nodes[node].inputs; ++i)
      if (g.input(g.nodes[node], i) == value) return !g.nodes[node].dead;
    return false;
  }
  constexpr void add(int value, int node) {
    ++count_[value];
    last_[value] = node + 1;
  }
  /// A fused node reads a value, in place of its only reader where that is no more.
  constexpr void read_by(const graph& g, int value, int node) {
    const int before = only(value);
    if (before >= 0 && before != node && reads(g, before, value)) return add(value, node);
    last_[value] = node + 1;
  }

 private:
  scratch<int> count_;
  scratch<int> last_;  // plus one; 0: the caller
};

/// Where a fuse rule works: the builder, the node it is about, and who reads what.
class fusion {
 public:
  constexpr fusion(graph_builder& b, const consumers& users, int node)
      : b(b), node(node), users_(users) {}

  graph_builder& b;
  const int node;

  /// The node that alone reads output 0 of `from`, or -1.
  constexpr int next(int from) const {
    return users_.only(b.g.output_of(b.g.nodes[from], 0));
  }
  /// The same if that node runs `op`.
  constexpr int next(int from, const op_info& op) const {
    const int user = next(from);
    return user >= 0 && b.g.nodes[user].op->id == op.id ? user : -1;
  }

  /// The node before this one whose only output is `value`, if no node between reads that; or -1.
  constexpr int last_producer(int value) const {
    for (int i = node - 1; i >= 0; --i) {
      const node_row& n = b.g.nodes[i];
      if (n.dead) continue;
      for (int k = 0; k < n.outputs; ++k)
        if (b.g.output_of(n, k) == value) return n.outputs == 1 ? i : -1;
      if (consumers::reads(b.g, i, value)) return -1;
    }
    return -1;
  }

  /// Whether the target has a kernel for `op` over these inputs in place of the node `last`.
  constexpr bool supported(int last, const op_info& op, std::initializer_list<int> inputs,
                           const attributes& a) const {
    node_row trial = b.g.nodes[last];
    const int edges = b.g.edges.size();
    b.rewrite(last, op, inputs, a);
    const bool found = op.choose(b.g, b.g.nodes[last]).found();
    b.g.nodes[last] = trial;
    b.g.edges.shrink(edges);
    return found && !b.failed();
  }

  /// Makes `last` the fused node, and every other node of the chain dead.
  constexpr void merge(std::initializer_list<int> chain, int last, const op_info& op,
                       std::initializer_list<int> inputs, const attributes& a) {
    for (int n : chain)
      if (n >= 0 && n != last) b.g.nodes[n].dead = true;
    b.rewrite(last, op, inputs, a);
    b.g.nodes[last].scope = b.g.nodes[node].scope;
  }

 private:
  const consumers& users_;
};

/// Offers every node that has a fuse rule its chance, in order.
constexpr void fuse(graph_builder& b) {
  graph& g = b.g;
  consumers users(g);
  for (int i = 0; i < g.nodes.size() && !b.failed(); ++i) {
    if (g.nodes[i].dead || !g.nodes[i].op->has_fuse) continue;
    fusion rule(b, users, i);
    const int before = g.edges.size();
    const int merged = g.nodes[i].op->fuse(b, rule);
    if (merged < 0) continue;
    for (int e = before; e < g.edges.size(); ++e) users.read_by(g, g.edges[e], merged);
  }
}

}  // namespace slim
