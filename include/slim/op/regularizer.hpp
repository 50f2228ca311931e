// Penalties on a variable. R is a `constant<r>`: r(w) is one element's penalty, r.gradient(w) its
// derivative.
#pragma once

#include "elementwise.hpp"

namespace slim::op {

/// (w, dloss[, running gradient]) -> running gradient + dloss * r'(w).
template <class R>
struct regularizer_backward {
  static constexpr std::string_view name = "regularizer_backward";
  static constexpr int in_place = 2;
  static constexpr void infer(inference& s) { s.out(s.in(0), false); }
};

/// w -> sum(r(w)).
template <class R>
struct regularizer {
  static constexpr std::string_view name = "regularizer";
  static constexpr void infer(inference& s) { s.out(shape{}, false); }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    const int running = g.take(0);
    using backward = regularizer_backward<R>;
    g.give(0, running < 0 ? b.template add<backward>({g.in(0), g.incoming()})
                          : b.template add<backward>({g.in(0), g.incoming(), running}));
  }
};

}  // namespace slim::op
