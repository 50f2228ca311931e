// The backward program, appended to the same table (reverse-mode differentiation; Griewank and
// Walther, Evaluating Derivatives, 2008).
#pragma once

#include "builder.hpp"
#include "scratch.hpp"

namespace slim {

/// What the pass needs of the op set: how to sum and how to start.
struct differentiation_ops {
  const op_info* sum;    ///< (a, b) -> a + b
  const op_info* one;    ///< () -> 1
  const op_info* copy;   ///< a -> a, in memory of its own
};

/// Adds the total loss: the sum of losses and regularizers in the order they were created.
constexpr void add_total_loss(graph_builder& b, const differentiation_ops& ops) {
  graph& g = b.g;
  int total = -1;
  const auto take = [&](int loss) {
    total = total < 0 ? loss : b.add_node(*ops.sum, {total, loss});
  };
  for (int i = 0; i < g.losses.size(); ++i) take(g.losses[i]);
  for (int i = 0; i < g.regularizers.size(); ++i) take(g.regularizers[i]);
  g.total_loss = total;
}

/// Moves the nodes that change variables to the end, where everything that reads those has run.
constexpr void append_updates(graph& g) {
  for (int i = 0, nodes = g.nodes.size(); i < nodes; ++i) {
    if (g.nodes[i].dead || !g.nodes[i].update) continue;
    const node_row moved = g.nodes[i];
    g.nodes[i].dead = true;
    g.nodes.add(moved);
  }
}

/// Appends the gradient of the total loss with respect to every trainable variable. Each value
/// keeps a running gradient; a second arrival appends a sum, in reverse topological order, so
/// the order of every sum is fixed. The last value of each variable becomes its gradient.
constexpr void differentiate(graph_builder& b, const differentiation_ops& ops) {
  graph& g = b.g;
  add_total_loss(b, ops);
  if (b.failed() || g.total_loss < 0 || !g.values[g.total_loss].differentiable) return;
  b.layer = b.scope = -1;
  b.layer_name = {};
  b.backward = true;
  scratch<int> running(g.values.size());  // plus one; 0 is none
  b.one = b.add_node(*ops.one, {});
  running[g.total_loss] = b.one + 1;
  for (int i = g.nodes.size() - 2; i >= 0 && !b.failed(); --i) {
    if (g.nodes[i].dead) continue;
    const node_row node = g.nodes[i];
    bool arrived = false;
    for (int o = 0; o < node.outputs; ++o) arrived |= running[g.output_of(node, o)] > 0;
    if (!arrived || !g.values[g.output_of(node, 0)].differentiable) continue;
    b.layer = b.scope = node.scope;
    b.layer_name = node.op->name;
    if (!node.op->has_gradient) {
      b.fail("has no gradient rule, but a loss is differentiated through it");
      return;
    }
    gradient_of rule(b, i, running.data(), *ops.sum);
    node.op->gradient(b, rule);
  }
  append_updates(g);
  // A view has no memory of its own that could be a gradient's.
  scratch<bool> in_view(g.values.size());
  for (const node_row& n : g.nodes)
    if (!n.dead && n.op->view) in_view[g.output_of(n, 0)] = true;
  for (int v = 0; v < g.variables.size(); ++v) {
    int gradient = running[g.variables[v].value] - 1;
    if (gradient < 0 || b.failed()) continue;
    if (g.values[gradient].where != storage::buffer || in_view[gradient])
      gradient = b.add_node(*ops.copy, {gradient});
    if (gradient < 0) continue;
    g.values[gradient].where = storage::gradient;
    g.values[gradient].index = v;
  }
}

/// Room for the graph that differentiation makes of `g`: for each node a gradient node for every
/// input, the sum of two, and one more, each with few edges.
constexpr graph_counts differentiated(const graph& g) {
  graph_counts c = living(g);
  int inputs = 0;  // and one for each node that moves to the end
  for (const node_row& n : g.nodes)
    if (!n.dead) inputs += n.inputs + n.update;
  const int losses = g.losses.size() + g.regularizers.size();
  const int added = c.nodes + 2 * inputs + losses + g.variables.size() + 2;
  c.nodes += added;
  c.values += 2 * added;
  c.edges += 6 * added;
  return c;
}

}  // namespace slim
