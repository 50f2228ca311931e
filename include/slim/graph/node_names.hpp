// The nodes of a lowered graph under the names that TensorFlow gives its ops.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "builder.hpp"

namespace slim {

/// TensorFlow's type of an op of this name; the name itself where TensorFlow has no one op for it.
constexpr std::string_view tensorflow_type(std::string_view op) {
  struct pair {
    std::string_view ours, theirs;
  };
  constexpr pair known[] = {{"convolution", "Conv2D"},
                            {"convolution_transpose", "Conv2DBackpropInput"},
                            {"depthwise_convolution", "DepthwiseConv2dNative"},
                            {"matmul", "MatMul"},
                            {"bias_add", "BiasAdd"},
                            {"batch_norm", "FusedBatchNormV3"},
                            {"batch_norm_inference", "FusedBatchNormV3"},
                            {"relu", "Relu"},
                            {"relu6", "Relu6"},
                            {"elu", "Elu"},
                            {"softplus", "Softplus"},
                            {"sigmoid", "Sigmoid"},
                            {"tanh", "Tanh"},
                            {"max_pool", "MaxPool"},
                            {"avg_pool", "AvgPool"},
                            {"softmax", "Softmax"},
                            {"log_softmax", "LogSoftmax"},
                            {"add", "AddV2"},
                            {"concat", "ConcatV2"},
                            {"reshape", "Reshape"},
                            {"identity", "Identity"},
                            {"one_hot", "OneHot"},
                            {"local_response_normalization", "LRN"}};
  for (const pair& p : known)
    if (p.ours == op) return p.theirs;
  return op;
}

/// What TensorFlow calls an op within its scope: its type, but for those that have a name of their
/// own.
constexpr std::string_view tensorflow_name(std::string_view op) {
  if (op == "add" || op == "concat") return op;
  if (op == "depthwise_convolution") return "depthwise";
  if (op == "convolution_transpose") return "conv2d_transpose";
  return tensorflow_type(op);
}

/// A name for each node: <scope>/Conv2D, and <scope>/Conv2D_1 for another of the kind.
inline std::vector<std::string> node_names(const graph& g) {
  std::vector<std::string> names;
  std::map<std::string, int> taken;
  for (const node_row& n : g.nodes) {
    message scope;
    write_scope_path(g.scopes, n.scope, scope);
    std::string name(scope.view());
    name += (name.empty() ? "" : "/") + std::string(tensorflow_name(n.op->name));
    const int copies = taken[name]++;
    names.push_back(copies == 0 ? name : name + "_" + std::to_string(copies));
  }
  return names;
}

/// The node that brings a value about, or -1: inputs and variables have none.
constexpr int producer_of(const graph& g, int value) {
  for (int n = 0; n < g.nodes.size(); ++n)
    for (int k = 0; k < g.nodes[n].outputs; ++k)
      if (g.output_of(g.nodes[n], k) == value) return n;
  return -1;
}

}  // namespace slim
