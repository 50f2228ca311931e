// Mixed precision (Micikevicius et al., ICLR 2018): activations and their gradients as bfloat16,
// what is one number a channel, a variable or a loss as the model's own type.
#pragma once

#include "builder.hpp"

namespace slim {

/// Makes bfloat16 of every value that grows with the batch and has more than one number an example.
/// Variables, their gradients, statistics and losses stay as they are, and so do inputs that are
/// labels: those are read by losses, in full.
constexpr void narrow(graph& g) {
  for (int i = 0; i < g.values.size(); ++i) {
    value_row& v = g.values[i];
    if (v.type == element::scalar && v.where == storage::buffer && v.batched && v.dims.rank > 1)
      v.type = element::bfloat16;
  }
  const int images = g.inputs.size() > 0 ? g.inputs[0].value : -1;
  if (images >= 0 && g.values[images].type == element::scalar && g.values[images].dims.rank > 1)
    g.values[images].type = element::bfloat16;
  // A view has the elements of what it shows.
  for (bool changed = true; changed;) {
    changed = false;
    for (const node_row& n : g.nodes) {
      if (n.dead || !n.op->view) continue;
      value_row &from = g.values[g.input(n, 0)], &to = g.values[g.output_of(n, 0)];
      if (from.type == to.type) continue;
      from.type = to.type = element::scalar;
      changed = true;
    }
  }
}

}  // namespace slim
