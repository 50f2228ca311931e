// Picks the kernel of every node, by op, shape, type and backend. Where a kernel wants its weights
// in a form of its own and they follow from variables alone, a node that prepares them is added.
#pragma once

#include "builder.hpp"
#include "scratch.hpp"

namespace slim {

/// The ops that choosing kernels puts in or takes out.
struct preparation_ops {
  const op_info* prepare = nullptr;        ///< weights in a kernel's form
  const op_info* scale_columns = nullptr;  ///< which that takes over
};

namespace detail {

/// What a node before this one prepared from `from` in the same form, or -1.
constexpr int prepared_before(const graph& g, int first, const weights_form& form, const int* from,
                              int inputs) {
  for (int i = first; i < g.nodes.size() && form.shared; ++i) {
    const node_row& n = g.nodes[i];
    bool same = n.inputs == inputs && n.kernel.name == form.name;
    for (int k = 0; k < inputs && same; ++k) same = g.input(n, k) == from[k];
    if (same) return g.output_of(n, 0);
  }
  return -1;
}

/// Lets `node` read input number `which` in the form it asked for, from a new node that prepares it
/// or one behind the `first` that does so already.
constexpr void prepare_input(graph_builder& b, int node, int which, int first,
                             const preparation_ops& ops, const scratch<int>& writer) {
  graph& g = b.g;
  const int weights = g.input(g.nodes[node], which);
  int from[2] = {weights, -1}, inputs = 1;
  if (writer[weights] > 0) {
    node_row& scaling = g.nodes[writer[weights] - 1];
    if (scaling.op->id == ops.scale_columns->id) {
      from[0] = g.input(scaling, 0), from[1] = g.input(scaling, 1), inputs = 2;
      scaling.dead = true;
    }
  }
  const weights_form form = which == 1 ? g.nodes[node].kernel.weights : g.nodes[node].kernel.biases;
  int& edge = g.edges[g.nodes[node].first_input + which];
  if (const int there = prepared_before(g, first, form, from, inputs); there >= 0) {
    edge = there;
    return;
  }
  attributes a;
  a.dims = shape{static_cast<int>(form.elements)};
  b.scope = b.layer = g.nodes[node].scope;
  const int prepared = b.add_node(*ops.prepare, from, inputs, a);
  b.scope = b.layer = -1;
  if (b.failed()) return;
  g.values[prepared].where = storage::prepared;
  g.values[prepared].type = form.type;
  node_row& added = g.nodes[g.nodes.size() - 1];
  added.prepare = true;
  added.kernel = {form.name, form.run};
  edge = prepared;
}

}  // namespace detail

/// Takes kernels for weights as they are unless they may `prepare`. Scaled weights must have one
/// reader.
constexpr void choose_kernels(graph_builder& b, const preparation_ops& ops, bool prepare) {
  graph& g = b.g;
  g.may_prepare = prepare;
  scratch<int> writer(g.values.size());  // plus one; 0: none
  const int nodes = g.nodes.size();
  for (int i = 0; i < nodes && prepare; ++i)
    if (g.nodes[i].prepare && !g.nodes[i].dead) writer[g.output_of(g.nodes[i], 0)] = i + 1;
  for (int i = 0; i < nodes; ++i) {
    node_row& n = g.nodes[i];
    if (n.dead || n.op->view) continue;
    n.kernel = n.op->choose(g, n);
    if (n.kernel.weights.elements > 0) detail::prepare_input(b, i, 1, nodes, ops, writer);
    if (g.nodes[i].kernel.biases.elements > 0) detail::prepare_input(b, i, 2, nodes, ops, writer);
    if (n.kernel.found()) continue;
    b.layer = n.scope;
    b.layer_name = n.op->name;
    if (n.inputs > 0)
      b.fail("has no kernel on this backend for ", g.input_shape(n, 0),
             ": kernel_of must name one");
    else
      b.fail("has no kernel on this backend: kernel_of must name one");
    return;
  }
}

/// Room for the nodes that choosing kernels may add to `g`.
constexpr graph_counts chosen(const graph& g) {
  graph_counts c = living(g);
  for (const node_row& n : g.nodes)
    if (!n.dead && n.inputs > 1 && n.op->has_multiply_adds)
      c.nodes += 2, c.values += 2, c.edges += 6;
  return c;
}

}  // namespace slim
