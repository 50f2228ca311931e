// Biases, one a channel.
#pragma once

#include "elementwise.hpp"

namespace slim::op {

/// dy [..., c] -> the sum over all axes but the last, [c].
struct bias_backward {
  static constexpr std::string_view name = "bias_backward";

  static constexpr void infer(inference& s) { s.out(shape{s.in(0).back()}, false); }
};

/// (x [..., c], biases [c]) -> x + biases.
struct bias_add {
  static constexpr std::string_view name = "bias_add";
  static constexpr int in_place = 0;

  static constexpr void infer(inference& s) {
    if (s.in(1).rank != 1 || s.in(1)[0] != s.in(0).back())
      return s.fail("biases ", s.in(1), " do not fit the channels of ", s.in(0));
    s.out(s.in(0), s.batched(0));
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    if (g.wanted(0)) g.give(0, g.incoming());
    if (g.wanted(1)) g.give(1, b.template add<bias_backward>({g.incoming()}));
  }
};

}  // namespace slim::op
