// avg_pool2d<kernel_size{h, w}, ...>: the mean of each window's elements inside the image.
//
// Input [n, h, w, c], output [n, h', w', c]. Defaults as TF-Slim's: stride 2, VALID.
#pragma once

#include "layer.hpp"

namespace slim {

template <auto... Option>
struct avg_pool2d;

namespace ops {
struct avg_pool2d {
  static constexpr std::string_view name = "avg_pool2d";
  static constexpr std::string_view function = "avg_pool2d";
  static constexpr std::string_view default_scope = "AvgPool2D";
  static constexpr std::string_view options[] = {"kernel_size", "stride", "padding",
                                                 "outputs_collections"};
  template <auto... Argument>
  using layer = slim::avg_pool2d<Argument...>;

  template <class O, class B>
  static constexpr int build(B& b, int x) {
    return build_pool<op::avg_pool, O>(b, x);
  }
};
}  // namespace ops

template <auto... Option>
struct avg_pool2d : layer<ops::avg_pool2d, constant<Option>...> {};

}  // namespace slim
