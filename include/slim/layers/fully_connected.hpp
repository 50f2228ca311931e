// fully_connected<num_outputs, ...>: the product of the last axis with weights, biases, activation.
//
// Input [..., c] of rank 2 or more, output [..., num_outputs]: it does not flatten. Variables:
// weights [c, num_outputs], biases [num_outputs]. Defaults as TF-Slim's: ReLU, xavier, zero biases.
#pragma once

#include "layer.hpp"

namespace slim {

template <int NumOutputs, auto... Option>
struct fully_connected;

namespace ops {
struct fully_connected {
  static constexpr std::string_view name = "fully_connected";
  static constexpr std::string_view function = "fully_connected";
  static constexpr std::string_view default_scope = "fully_connected";
  static constexpr std::string_view options[] = {
      "num_outputs",        "activation_fn",      "trainable",          "weights_initializer",
      "biases_initializer", "biases_regularizer", "weights_regularizer", "normalizer_fn",      "normalizer_params", "reuse", "variables_collections", "outputs_collections"};
  template <auto... Argument>
  using layer = slim::fully_connected<Argument...>;

  template <class O, class B>
  static constexpr int build(B& b, int x) {
    constexpr int k = O::template get<"num_outputs">(num_outputs{0}).value;
    if (k < 1) return b.fail("num_outputs must be positive, not ", k);
    const shape in = b.g.values[x].dims;
    if (in.rank < 2) return b.fail("needs an input of rank 2 or more, not ", in);
    const int w = create_weights<O>(b, {in.back(), k});
    const int y = b.template add<op::matmul>({x, w});
    if (b.failed()) return -1;
    return bias_and_activate<O>(b, y, k);
  }
};
}  // namespace ops

template <int NumOutputs, auto... Option>
struct fully_connected
    : layer<ops::fully_connected, constant<num_outputs{NumOutputs}>, constant<Option>...> {};

}  // namespace slim
