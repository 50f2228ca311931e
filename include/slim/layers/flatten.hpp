// flatten<>: [n, ...] as [n, product of the rest], without moving anything.
#pragma once

#include "layer.hpp"

namespace slim {

template <auto... Option>
struct flatten;

namespace ops {
struct flatten {
  static constexpr std::string_view name = "flatten";
  static constexpr std::string_view function = "flatten";
  static constexpr std::string_view default_scope = "Flatten";
  static constexpr std::string_view options[] = {"outputs_collections"};
  template <auto... Argument>
  using layer = slim::flatten<Argument...>;

  template <class O, class B>
  static constexpr int build(B& b, int x) {
    const shape in = b.g.values[x].dims;
    attributes a;
    a.dims = {in[0], static_cast<int>(in.count() / in[0])};
    return b.template add<op::reshape>({x}, a);
  }
};
}  // namespace ops

template <auto... Option>
struct flatten : layer<ops::flatten, constant<Option>...> {};

}  // namespace slim
