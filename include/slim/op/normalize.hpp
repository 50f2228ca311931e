// Normalisation without variables: of a whole axis, and of neighbouring channels.
#pragma once

#include "elementwise.hpp"

namespace slim::op {

/// (x, dy) of unit_norm -> dx = (dy - y sum(dy y)) / sqrt(a.number + sum(x^2)).
struct unit_norm_backward {
  static constexpr std::string_view name = "unit_norm_backward";
  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
};

/// x -> x / sqrt(a.number + sum(x^2)), the sum being over the axis a.integer. Refuses an axis
/// outside [0, rank).
struct unit_norm {
  static constexpr std::string_view name = "unit_norm";

  static constexpr void infer(inference& s) {
    const int axis = s.node.a.integer;
    if (axis < 0 || axis >= s.in(0).rank)
      return s.fail("dim must lie in [0,", s.in(0).rank, ") for ", s.in(0), ", not be ", axis);
    s.out(s.in(0), s.batched(0));
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    g.give(0, b.template add<unit_norm_backward>({g.in(0), g.incoming()}, g.node.a));
  }
};

/// The numbers of a local response normalisation.
struct response_options {
  int depth_radius = 5;
  double bias = 1, alpha = 1, beta = 0.5;
};

/// (x, dy) of local_response_normalization<P> -> dx.
template <class P>
struct local_response_normalization_backward {
  static constexpr std::string_view name = "local_response_normalization_backward";
  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
};

/// x [n, h, w, c] -> x / (bias + alpha * sum of x_j^2 over the channels within depth_radius)^beta
/// (Krizhevsky et al., NeurIPS 2012, section 3.3). P is a `constant` of response_options. Refuses
/// what is no image.
template <class P>
struct local_response_normalization {
  static constexpr std::string_view name = "local_response_normalization";

  static constexpr void infer(inference& s) {
    if (s.in(0).rank != 4) return s.fail("needs images [n,h,w,c], not ", s.in(0));
    s.out(s.in(0), s.batched(0));
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    g.give(0, b.template add<local_response_normalization_backward<P>>({g.in(0), g.incoming()}));
  }
};

}  // namespace slim::op
