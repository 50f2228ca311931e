// dropout<keep_prob{p}, ...>: in training keeps each element with probability p and divides it by
// p; at inference, and with is_training{false}, the identity.
#pragma once

#include "layer.hpp"

namespace slim {

template <auto... Option>
struct dropout;

namespace ops {
struct dropout {
  static constexpr std::string_view name = "dropout";
  static constexpr std::string_view function = "dropout";
  static constexpr std::string_view default_scope = "Dropout";
  static constexpr std::string_view options[] = {"keep_prob", "is_training",
                                                 "outputs_collections"};
  template <auto... Argument>
  using layer = slim::dropout<Argument...>;

  template <class O, class B>
  static constexpr int build(B& b, int x) {
    attributes a;
    a.number = O::template get<"keep_prob">(keep_prob{0.5}).value;
    a.integer = b.g.nodes.size();
    if (!(a.number > 0 && a.number <= 1)) return b.fail("keep_prob must lie in (0, 1]");
    if (a.number == 1 || !O::template get<"is_training">(is_training{true}).value) return x;
    return b.template add<op::dropout>({x}, a);
  }
};
}  // namespace ops

template <auto... Option>
struct dropout : layer<ops::dropout, constant<Option>...> {};

}  // namespace slim
