// A program as text: a table of its steps with shapes, parameters, multiply-adds and bytes; and as
// a graph in Graphviz' language.
#pragma once

#include <string>

#include "graph/program.hpp"

namespace slim {

namespace detail {

inline std::string path_of(const program& p, int scope) {
  message m;
  write_scope_path(p.scopes, scope, m);
  return std::string(m.view());
}

inline std::string shape_text(const program& p, int value) {
  message m;
  m << p.tensors[value].dims;
  return std::string(m.view());
}

/// Digits in groups of three: 138,357,544.
inline std::string grouped(long number) {
  std::string digits = std::to_string(number);
  for (int i = static_cast<int>(digits.size()) - 3; i > 0; i -= 3)
    digits.insert(static_cast<std::size_t>(i), 1, ',');
  return digits;
}

inline std::string padded(std::string s, std::size_t width, bool right = false) {
  if (s.size() < width) s.insert(right ? 0 : s.size(), width - s.size(), ' ');
  return s;
}

/// Bytes a step writes, for the full batch.
inline long bytes_written(const program& p, const step_row& s) {
  long sum = 0;
  for (int k = 0; k < s.outputs; ++k) {
    const tensor_row& t = p.tensors[p.edges[s.first_output + k]];
    sum += t.dims.count() * element_bytes(t.type, p.scalar_bytes);
  }
  return sum;
}

/// Elements of the variables a step reads, for the layer they belong to.
inline long parameters_of(const program& p, const step_row& s) {
  long sum = 0;
  for (int k = 0; k < s.inputs && !s.backward && !s.update; ++k) {
    const tensor_row& t = p.tensors[p.edges[s.first_input + k]];
    if (t.place.where == storage::variable && s.op != "regularizer") sum += t.dims.count();
  }
  return sum;
}

inline std::string name_of_value(const program& p, int value) {
  const tensor_row& t = p.tensors[value];
  if (t.place.where == storage::input) return std::string(p.inputs[t.place.index].name);
  if (t.place.where == storage::variable || t.place.where == storage::gradient) {
    const variable_row& v = p.variables[t.place.index];
    return path_of(p, v.scope) + "/" + std::string(v.leaf);
  }
  return "v" + std::to_string(value);
}

}  // namespace detail

/// The program's steps as a table, with totals for the full batch.
inline std::string report(const program& p) {
  using namespace detail;
  const auto line = [](const std::string& layer, const std::string& op, const std::string& kernel,
                       const std::string& output, const std::string& parameters,
                       const std::string& macs, const std::string& bytes) {
    return padded(layer, 26) + padded(op, 38) + padded(kernel, 15) + padded(output, 20) +
           padded(parameters, 13, true) + padded(macs, 18, true) + padded(bytes, 14, true) + "\n";
  };
  std::string text =
      line("layer", "op", "kernel", "output", "parameters", "multiply-adds", "bytes written");
  long macs = 0, parameters = 0, bytes = 0;
  for (const step_row& s : p.steps) {
    const long own = parameters_of(p, s);
    text += line(path_of(p, s.scope), std::string(s.op), std::string(s.kernel),
                 shape_text(p, p.edges[s.first_output]), own > 0 ? grouped(own) : "",
                 s.multiply_adds > 0 ? grouped(s.multiply_adds) : "",
                 grouped(bytes_written(p, s)));
    macs += s.multiply_adds;
    bytes += bytes_written(p, s);
  }
  for (const variable_row& v : p.variables) parameters += v.dims.count();
  return text + std::to_string(p.steps.size()) + " steps, " + grouped(parameters) +
         " parameters, " + grouped(macs) + " multiply-adds, " +
         grouped(bytes) + " bytes written, arena " + grouped(p.memory.bytes) +
         " bytes (largest workspace " + grouped(p.memory.workspace_bytes) + ") for a batch of " +
         std::to_string(p.batch) + "\n";
}

/// The program in Graphviz' language: `dot -Tsvg`.
inline std::string graphviz(const program& p) {
  using namespace detail;
  std::string text =
      "digraph slim {\n  rankdir=TB;\n  node [shape=box, fontname=\"sans-serif\"];\n";
  const auto quoted = [](const std::string& s) { return "\"" + s + "\""; };
  for (int i = 0; i < p.steps.size(); ++i) {
    const step_row& s = p.steps[i];
    const std::string name = quoted("step" + std::to_string(i));
    text += "  " + name + " [label=" +
            quoted(path_of(p, s.scope) + "\\n" + std::string(s.op) + " (" +
                   std::string(s.kernel) + ")") +
            (s.backward ? ", style=dashed" : "") + "];\n";
    for (int k = 0; k < s.inputs; ++k) {
      const int value = p.edges[s.first_input + k];
      text += "  " + quoted(name_of_value(p, value)) + " -> " + name + ";\n";
    }
    for (int k = 0; k < s.outputs; ++k) {
      const int value = p.edges[s.first_output + k];
      text += "  " + name + " -> " + quoted(name_of_value(p, value)) + ";\n";
      text += "  " + quoted(name_of_value(p, value)) + " [shape=ellipse, label=" +
              quoted(shape_text(p, value)) + "];\n";
    }
  }
  return text + "}\n";
}

}  // namespace slim
