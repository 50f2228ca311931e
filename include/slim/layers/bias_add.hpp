// bias_add<...>: biases of their own, one a channel. Input and output [..., c]; variable biases
// [c]. Defaults as TF-Slim's: zeros, no activation.
#pragma once

#include "layer.hpp"

namespace slim {

template <class F>
struct initializer {
  static constexpr std::string_view slot = "initializer";
  F value;
};
template <class F>
initializer(F) -> initializer<F>;
template <class F>
struct regularizer {
  static constexpr std::string_view slot = "regularizer";
  F value;
};
template <class F>
regularizer(F) -> regularizer<F>;

template <auto... Option>
struct bias_add;

namespace ops {
struct bias_add {
  static constexpr std::string_view name = "bias_add";
  static constexpr std::string_view function = "bias_add";
  static constexpr std::string_view default_scope = "BiasAdd";
  static constexpr std::string_view options[] = {"activation_fn", "initializer", "regularizer",
                                                 "trainable", "reuse", "variables_collections", "outputs_collections"};
  template <auto... Argument>
  using layer = slim::bias_add<Argument...>;

  template <class O, class B>
  static constexpr int build(B& b, int x) {
    constexpr auto init = O::template get<"initializer">(initializer{zeros{}});
    constexpr auto penalty = O::template get<"regularizer">(regularizer{none});
    constexpr auto activation = O::template get<"activation_fn">(activation_fn{none});
    const int biases = create_variable(b, "biases", {b.g.values[x].dims.back()},
                                       constant<init.value>{}, constant<penalty.value>{},
                                       O::template get<"trainable">(trainable{true}).value);
    const int y = b.template add<op::bias_add>({x, biases});
    if (b.failed()) return -1;
    return activate<constant<activation.value>>(b, y);
  }
};
}  // namespace ops

template <auto... Option>
struct bias_add : layer<ops::bias_add, constant<Option>...> {};

}  // namespace slim
