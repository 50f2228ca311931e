// What a model consists of, in TF-Slim's words: its model_analyzer.
//
//   model_analyzer::analyze_vars(get_model_variables(m), true);
#pragma once

#include <iostream>
#include <string>
#include <vector>

#include "graph/node_names.hpp"
#include "inputs.hpp"

namespace slim::model_analyzer {

namespace detail {

/// (float32 3x3x64)
template <class T>
std::string description(const shape& dims, element type = element::scalar) {
  const char* scalar = sizeof(T) == 8 ? "float64" : "float32";
  std::string text = std::string("(") +
                     (type == element::int32  ? "int32"
                      : type == element::byte ? "uint8"
                                              : scalar) +
                     " ";
  for (int i = 0; i < dims.rank; ++i) text += (i == 0 ? "" : "x") + std::to_string(dims[i]);
  return text + ")";
}

inline void print_header(std::ostream& out, const char* what) {
  out << "---------\n" << what << "\n---------\n";
}

}  // namespace detail

struct variable_totals {
  long elements = 0, bytes = 0;
  friend bool operator==(const variable_totals&, const variable_totals&) = default;
};

/// The elements and bytes of all variables. print_info also prints each, in TF-Slim's form.
template <class T>
variable_totals analyze_vars(const std::vector<named_tensor<T>>& variables, bool print_info = false,
                             std::ostream& out = std::cout) {
  if (print_info) detail::print_header(out, "Variables: name (type shape) [size]");
  variable_totals total;
  for (const auto& [name, values] : variables) {
    const long elements = values.dims.count(), bytes = elements * long(sizeof(T));
    total.elements += elements, total.bytes += bytes;
    if (print_info)
      out << name << ":0 " << detail::description<T>(values.dims) << " [" << elements
          << ", bytes: " << bytes << "]\n";
  }
  if (print_info)
    out << "Total size of variables: " << total.elements
        << "\nTotal bytes of variables: " << total.bytes << "\n";
  return total;
}

/// The elements that all ops of a model's lowered network write, before any is fused. print_info
/// also prints each, in TF-Slim's form.
template <class Model>
long analyze_ops(bool print_info = false, std::ostream& out = std::cout) {
  using T = typename Model::element_type;
  const graph g = Model::lowered();
  const std::vector<std::string> names = node_names(g);
  if (print_info) detail::print_header(out, "Operations: name -> (type shapes) [size]");
  long total = 0;
  for (int n = 0; n < g.nodes.size(); ++n) {
    long own = 0;
    std::string shapes;
    for (int k = 0; k < g.nodes[n].outputs; ++k) {
      const value_row& v = g.values[g.output_of(g.nodes[n], k)];
      own += v.dims.count();
      shapes += (k == 0 ? "" : ", ") + detail::description<T>(v.dims, v.type);
    }
    if (print_info)
      out << names[static_cast<std::size_t>(n)] << " \t-> " << shapes << " [" << own << "]\n";
    total += own;
  }
  return total;
}

}  // namespace slim::model_analyzer
