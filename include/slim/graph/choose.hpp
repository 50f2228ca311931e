// Picks the kernel of every node, by op, shape, type and backend.
#pragma once

#include "builder.hpp"

namespace slim {

constexpr void choose_kernels(graph_builder& b) {
  graph& g = b.g;
  for (int i = 0; i < g.nodes.size(); ++i) {
    node_row& n = g.nodes[i];
    if (n.dead || n.op->view) continue;
    n.kernel = n.op->choose(g, n);
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

}  // namespace slim
