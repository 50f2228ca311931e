// Concatenation along the last axis.
#pragma once

#include "elementwise.hpp"

namespace slim::op {

/// dy [..., c] -> channels [a.integer, a.integer + c') of it, where c' is the last extent of a.dims.
struct channel_slice {
  static constexpr std::string_view name = "channel_slice";
  static constexpr void infer(inference& s) { s.out(s.node.a.dims, s.batched(0)); }
};

/// (a [..., c1], b [..., c2], ...) -> [..., c1 + c2 + ...].
struct concat {
  static constexpr std::string_view name = "concat";

  static constexpr void infer(inference& s) {
    const shape& first = s.in(0);
    int channels = 0;
    for (int i = 0; i < s.inputs(); ++i) {
      const shape& in = s.in(i);
      if (in.rank != first.rank || in.rank < 2 || s.value(i).type != element::scalar ||
          !(in.with(in.rank - 1, 1) == first.with(first.rank - 1, 1)))
        return s.fail("cannot join ", first, " and ", in, ": all extents but the last must match");
      channels += in.back();
    }
    s.out(first.with(first.rank - 1, channels), s.batched(0));
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    attributes a;
    a.integer = 0;
    for (int i = 0; i < g.node.inputs; ++i) {
      a.dims = g.in_shape(i);
      if (g.wanted(i)) g.give(i, b.template add<channel_slice>({g.incoming()}, a));
      a.integer += a.dims.back();
    }
  }
};

}  // namespace slim::op
