// Counts of a graph, for static_assert and the report.
#pragma once

#include "builder.hpp"

namespace slim {

/// Elements of all variables, or of the trainable ones.
constexpr long count_parameters(const graph& g, bool trainable_only = false) {
  long sum = 0;
  for (const variable_row& v : g.variables)
    if (v.trainable || !trainable_only) sum += v.dims.count();
  return sum;
}

/// Multiply-adds of the forward contractions, for the whole batch.
constexpr long count_multiply_adds(const graph& g) {
  long sum = 0;
  for (const node_row& n : g.nodes)
    if (!n.dead && !n.backward && n.op->has_multiply_adds) sum += n.op->multiply_adds(g, n);
  return sum;
}

/// Elements of all values that the forward nodes write, for the whole batch.
constexpr long count_activations(const graph& g) {
  long sum = 0;
  for (const node_row& n : g.nodes) {
    if (n.dead || n.backward || n.prepare || n.op->view) continue;
    for (int i = 0; i < n.outputs; ++i)
      if (g.values[g.output_of(n, i)].type == element::scalar) sum += g.output_shape(n, i).count();
  }
  return sum;
}

/// Bytes that a graph's nodes write to memory, and read from it, in one run of the whole batch.
struct traffic {
  long written = 0;
  long read = 0;
};
constexpr traffic count_traffic(const graph& g, int scalar_bytes) {
  traffic sum;
  const auto bytes = [&](int value) {
    const value_row& v = g.values[value];
    const int size = v.type == element::scalar ? scalar_bytes : v.type == element::int32 ? 4 : 1;
    return v.dims.count() * size;
  };
  for (const node_row& n : g.nodes) {
    if (n.dead || n.prepare || n.op->view) continue;
    for (int i = 0; i < n.inputs; ++i) sum.read += bytes(g.input(n, i));
    for (int i = 0; i < n.outputs; ++i) sum.written += bytes(g.output_of(n, i));
  }
  return sum;
}

}  // namespace slim
