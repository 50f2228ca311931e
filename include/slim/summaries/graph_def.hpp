// A network as TensorBoard's graph page draws it.
//
//   log.add_graph(summaries::graph_def<model_t>());
#pragma once

#include <string>
#include <vector>

#include "../checkpoint/wire_writer.hpp"
#include "../graph/node_names.hpp"
#include "../network.hpp"

namespace slim::summaries {

namespace detail {

using slim::detail::wire_writer;

/// Field numbers of TensorFlow's graph.proto, node_def.proto, attr_value.proto, tensor_shape.proto.
enum graph_field { node = 1, versions = 4 };
enum node_field { node_name = 1, node_op = 2, node_input = 3, node_attr = 5 };
enum attr_field { attr_list = 1, attr_type = 6, attr_shape = 7 };

inline std::string shape_proto(const shape& dims) {
  wire_writer out;
  for (int i = 0; i < dims.rank; ++i) {
    wire_writer dim;
    dim.number(1, static_cast<std::uint64_t>(dims[i]));
    out.message(2, dim.bytes());
  }
  return out.bytes();
}

/// A NodeDef with its output's type and shape.
class node_def {
 public:
  node_def(std::string_view name, std::string_view op) {
    out_.message(node_name, name);
    out_.message(node_op, op);
  }
  void input(const std::string& name) { out_.message(node_input, name); }
  void type(const std::string& key, element of, int scalar_bytes) {
    constexpr std::uint64_t float32 = 1, float64 = 2, int32 = 3, uint8 = 4;
    wire_writer value;
    value.number(attr_type, of == element::int32  ? int32
                            : of == element::byte ? uint8
                            : scalar_bytes == 8   ? float64
                                                  : float32);
    attribute(key, value);
  }
  void shape(const slim::shape& dims) {
    wire_writer value;
    value.message(attr_shape, shape_proto(dims));
    attribute("shape", value);
  }
  /// What TensorBoard writes beside the edges.
  void output_shapes(const std::vector<slim::shape>& all) {
    wire_writer list, value;
    for (const slim::shape& dims : all) list.message(attr_shape, shape_proto(dims));
    value.message(attr_list, list.bytes());
    attribute("_output_shapes", value);
  }
  const std::string& bytes() const { return out_.bytes(); }

 private:
  void attribute(const std::string& key, const wire_writer& value) {
    wire_writer entry;
    entry.message(1, key);
    entry.message(2, value.bytes());
    out_.message(node_attr, entry.bytes());
  }
  wire_writer out_;
};

/// Inputs and variables: what no node brings about.
inline std::string source_def(const graph& g, int value, const std::string& name,
                              int scalar_bytes) {
  const value_row& v = g.values[value];
  node_def def(name, v.where == storage::variable ? "VariableV2" : "Placeholder");
  def.type("dtype", v.type, scalar_bytes);
  def.shape(v.dims);
  def.output_shapes({v.dims});
  return def.bytes();
}

/// The names by which nodes refer to values: <node>, or <node>:<output> but for the first.
inline std::vector<std::string> value_names(const graph& g, const std::vector<std::string>& nodes) {
  std::vector<std::string> names(static_cast<std::size_t>(g.values.size()));
  for (const input_row& in : g.inputs)
    names[static_cast<std::size_t>(in.value)] = std::string(in.name);
  for (const variable_row& v : g.variables)
    names[static_cast<std::size_t>(v.value)] = std::string(variable_name(g, v).view());
  for (int n = 0; n < g.nodes.size(); ++n)
    for (int k = 0; k < g.nodes[n].outputs; ++k)
      names[static_cast<std::size_t>(g.output_of(g.nodes[n], k))] =
          nodes[static_cast<std::size_t>(n)] + (k == 0 ? "" : ":" + std::to_string(k));
  return names;
}

}  // namespace detail

/// The lowered network as a serialized tensorflow.GraphDef: variables, inputs, layers' ops and
/// losses under TensorFlow's names, with shapes.
inline std::string graph_def(const graph& g, int scalar_bytes) {
  using namespace detail;
  const std::vector<std::string> nodes = node_names(g), values = value_names(g, nodes);
  const auto name = [&](int value) { return values[static_cast<std::size_t>(value)]; };
  wire_writer out;
  for (const input_row& in : g.inputs)
    out.message(node, source_def(g, in.value, name(in.value), scalar_bytes));
  for (const variable_row& v : g.variables)
    out.message(node, source_def(g, v.value, name(v.value), scalar_bytes));
  for (int n = 0; n < g.nodes.size(); ++n) {
    const node_row& row = g.nodes[n];
    node_def def(nodes[static_cast<std::size_t>(n)], tensorflow_type(row.op->name));
    for (int k = 0; k < row.inputs; ++k) def.input(name(g.input(row, k)));
    def.type("T", element::scalar, scalar_bytes);
    std::vector<shape> shapes;
    for (int k = 0; k < row.outputs; ++k) shapes.push_back(g.output_shape(row, k));
    def.output_shapes(shapes);
    out.message(node, def.bytes());
  }
  wire_writer version;
  version.number(1, 27);  // from 1.13 on
  out.message(versions, version.bytes());
  return out.bytes();
}
/// That of a model, or of what network_facts says.
template <class Model>
std::string graph_def() {
  return graph_def(Model::lowered(), int(sizeof(typename Model::element_type)));
}

}  // namespace slim::summaries
