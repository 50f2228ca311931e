// What a program does not need is dropped: at inference, ops that only act in training, and
// everything that neither the output nor a fetched value nor a loss depends on.
#pragma once

#include "builder.hpp"
#include "scratch.hpp"

namespace slim {

/// Ops that act otherwise at inference become what they are there: dropout a view of its input,
/// batch norm the one that takes the moving averages.
constexpr void turn_to_inference(graph& g) {
  for (int i = 0; i < g.nodes.size(); ++i) {
    node_row& n = g.nodes[i];
    if (!n.op->has_at_inference) continue;
    n.op = n.op->at_inference;
    n.a.dims = g.output_shape(n, 0);
    n.outputs = 1;
  }
}

/// Marks nodes dead that no root needs. Roots: the output, fetched values and, if `with_losses`,
/// losses, their total, the gradients and the updates of variables.
constexpr void drop_unused(graph& g, bool with_losses) {
  if (!with_losses) {
    g.losses.shrink(0);
    g.regularizers.shrink(0);
    g.total_loss = -1;
  }
  scratch<bool> needed(g.values.size());
  for (int i = 0; i < g.values.size(); ++i)
    needed[i] = g.values[i].fetched || (with_losses && g.values[i].where == storage::gradient);
  if (g.output >= 0) needed[g.output] = true;
  if (g.total_loss >= 0) needed[g.total_loss] = true;
  for (int loss : g.losses) needed[loss] = true;
  for (int loss : g.regularizers) needed[loss] = true;
  for (int i = g.nodes.size() - 1; i >= 0; --i) {
    node_row& n = g.nodes[i];
    if (n.dead) continue;
    bool used = n.update && with_losses;
    for (int k = 0; k < n.outputs && !n.update; ++k) used |= needed[g.output_of(n, k)];
    n.dead = !used;
    if (!used) continue;
    for (int k = 0; k < n.inputs; ++k) needed[g.input(n, k)] = true;
  }
}

}  // namespace slim
