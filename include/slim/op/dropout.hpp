// Dropout (Srivastava et al., JMLR 2014), scaled in training so that inference is the identity.
#pragma once

#include "elementwise.hpp"

namespace slim::op {

/// dy -> dy * mask / keep_prob, with the mask of the forward op: drawn again, not stored.
struct dropout_backward {
  static constexpr std::string_view name = "dropout_backward";
  static constexpr int in_place = 0;
  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
};

/// x -> x * mask / a.number, where each element is kept with probability a.number. a.integer tells
/// the network's dropouts apart in the generator's key.
struct dropout {
  static constexpr std::string_view name = "dropout";
  static constexpr int in_place = 0;
  using at_inference = reshape;  // to its own shape

  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    g.give(0, b.template add<dropout_backward>({g.incoming()}, g.node.a));
  }
};

}  // namespace slim::op
