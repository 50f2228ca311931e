// Sums, copies, reshapes and constants.
#pragma once

#include "../constant.hpp"
#include "../graph/builder.hpp"

namespace slim {

namespace op {

/// (a, b) -> a + b, of equal shapes.
struct add {
  static constexpr std::string_view name = "add";
  static constexpr int in_place = 0;

  static constexpr void infer(inference& s) {
    if (!(s.in(0) == s.in(1)))
      return s.fail("cannot add ", s.in(0), " and ", s.in(1), ": their shapes must be equal");
    s.out(s.in(0), s.batched(0));
  }
  template <class B>
  static constexpr void gradient(B&, gradient_of& g) {
    for (int i = 0; i < 2; ++i)
      if (g.wanted(i)) g.give(i, g.incoming());
  }
  template <class B>
  static constexpr int fuse(B& b, fusion& f);  // with an activation or the gradient of one: see activation.hpp
};

/// a -> a, in memory of its own.
struct copy {
  static constexpr std::string_view name = "copy";

  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
  template <class B>
  static constexpr void gradient(B&, gradient_of& g) {
    g.give(0, g.incoming());
  }
};

/// A variable in host memory -> the same where kernels work.
struct bring {
  static constexpr std::string_view name = "bring";

  static constexpr void infer(inference& s) { s.out(s.in(0), false); }
};

/// (weights[, scale]) -> weights in the form a kernel wants, [a.dims], each column times its scale.
/// Its kernel is that of the node it prepares for.
struct prepared_weights {
  static constexpr std::string_view name = "prepared_weights";

  static constexpr void infer(inference& s) { s.out(s.node.a.dims, false); }
};

/// () -> 1, a scalar: where differentiation starts.
struct one {
  static constexpr std::string_view name = "one";

  static constexpr void infer(inference& s) { s.out(shape{}, false); }
};

/// a -> a under the shape a.dims: no kernel runs.
struct reshape {
  static constexpr std::string_view name = "reshape";
  static constexpr bool view = true;

  static constexpr void infer(inference& s) {
    const shape& to = s.node.a.dims;
    if (to.count() != s.in(0).count()) return s.fail("cannot reshape ", s.in(0), " to ", to);
    s.out(to, s.batched(0));
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    attributes a;
    a.dims = g.in_shape(0);
    g.give(0, b.template add<reshape>({g.incoming()}, a));
  }
};

}  // namespace op
}  // namespace slim
