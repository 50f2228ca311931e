// Class numbers as rows.
#pragma once

#include "elementwise.hpp"

namespace slim::op {

/// labels int [n] -> [n, k] with k = a.integer: a.number at the label, a.second elsewhere. A label
/// outside [0, k) gives a row of a.second. Has no gradient, for labels have none.
struct one_hot {
  static constexpr std::string_view name = "one_hot";

  static constexpr void infer(inference& s) {
    if (s.value(0).type != element::int32 || s.in(0).rank != 1)
      return s.fail("needs labels of type int, [n], not ",
                    s.value(0).type == element::int32 ? "int" : "scalar", " ", s.in(0));
    s.out(shape{s.in(0)[0], s.node.a.integer}, s.batched(0));
  }
};

}  // namespace slim::op
