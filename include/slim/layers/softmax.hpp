// softmax<>: over the last axis, for any rank of 2 or more.
#pragma once

#include "layer.hpp"

namespace slim {

template <auto... Option>
struct softmax;

namespace ops {
struct softmax {
  static constexpr std::string_view name = "softmax";
  static constexpr std::string_view function = "softmax";
  static constexpr std::string_view default_scope = "softmax";
  static constexpr std::string_view options[] = {"outputs_collections"};
  template <auto... Argument>
  using layer = slim::softmax<Argument...>;

  template <class O, class B>
  static constexpr int build(B& b, int x) {
    return b.template add<op::softmax>({x});
  }
};
}  // namespace ops

template <auto... Option>
struct softmax : layer<ops::softmax, constant<Option>...> {};

}  // namespace slim
