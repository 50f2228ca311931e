// unit_norm<dim{d}, epsilon{1e-7}>: x / sqrt(epsilon + sum of x^2 over axis d), 0 <= d < rank.
#pragma once

#include "../op/normalize.hpp"
#include "layer.hpp"

namespace slim {

/// The axis a layer works along, counted from the batch's 0.
struct dim {
  static constexpr std::string_view slot = "dim";
  int value;
};

template <auto... Option>
struct unit_norm;

namespace ops {
struct unit_norm {
  static constexpr std::string_view name = "unit_norm";
  static constexpr std::string_view function = "unit_norm";
  static constexpr std::string_view default_scope = "UnitNorm";
  static constexpr std::string_view options[] = {"dim", "epsilon"};
  template <auto... Argument>
  using layer = slim::unit_norm<Argument...>;

  template <class O, class B>
  static constexpr int build(B& b, int x) {
    if (O::find("dim") < 0) return b.fail("dim is missing");
    attributes a;
    a.integer = O::template get<"dim">(dim{0}).value;
    a.number = O::template get<"epsilon">(epsilon{1e-7}).value;
    return b.template add<op::unit_norm>({x}, a);
  }
};
}  // namespace ops

template <auto... Option>
struct unit_norm : layer<ops::unit_norm, constant<Option>...> {};

}  // namespace slim
