// max_pool2d<kernel_size{h, w}, ...>: the maximum of each window, padding as minus infinity.
//
// Input [n, h, w, c], output [n, h', w', c]. Defaults as TF-Slim's: stride 2, VALID.
#pragma once

#include "layer.hpp"

namespace slim {

template <auto... Option>
struct max_pool2d;

namespace ops {
struct max_pool2d {
  static constexpr std::string_view name = "max_pool2d";
  static constexpr std::string_view function = "max_pool2d";
  static constexpr std::string_view default_scope = "MaxPool2D";
  static constexpr std::string_view options[] = {"kernel_size", "stride", "padding",
                                                 "outputs_collections"};
  template <auto... Argument>
  using layer = slim::max_pool2d<Argument...>;

  template <class O, class B>
  static constexpr int build(B& b, int x) {
    return build_pool<op::max_pool, O>(b, x);
  }
};
}  // namespace ops

template <auto... Option>
struct max_pool2d : layer<ops::max_pool2d, constant<Option>...> {};

}  // namespace slim
