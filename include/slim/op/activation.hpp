// Element-wise activations. A is a `constant<f>`: f(x) is the value, f.gradient(y) the derivative,
// written in terms of the output y; an f with `gradient_from_input` takes x there instead.
#pragma once

#include "elementwise.hpp"

namespace slim {

template <class F>
constexpr bool gradient_from_input = requires { F::gradient_from_input; };

namespace op {

template <class A>
struct fused_convolution;
template <class A>
struct fused_matmul;
template <class A>
struct convolution_backward_data_activation;
template <class A>
struct matmul_backward_data_activation;

/// (s, dy) -> dy * f'(s), where s is the output of f (its input, for gradient_from_input).
template <class A>
struct activation_backward {
  static constexpr std::string_view name = "activation_backward";
  static constexpr int in_place = 1;

  static constexpr void infer(inference& s) { s.out(s.in(1), s.batched(1)); }

  /// Behind a contraction's data gradient this is an epilogue.
  template <class Target>
  static constexpr epilogue as_epilogue(std::string_view root, bool) {
    if (root == "convolution_backward_data")
      return {true, &op_info_of<convolution_backward_data_activation<A>, Target>};
    if (root == "matmul_backward_data")
      return {true, &op_info_of<matmul_backward_data_activation<A>, Target>};
    return {};
  }
};

/// x -> f(x).
template <class A>
struct activation {
  using function = std::remove_cvref_t<decltype(A::value)>;
  static constexpr std::string_view name = function::name;
  static constexpr int in_place = 0;

  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }

  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    const int saved = gradient_from_input<function> ? g.in(0) : g.out(0);
    g.give(0, b.template add<activation_backward<A>>({saved, g.incoming()}));
  }

  /// Behind a contraction this is an epilogue, unless training needs the contraction's own output.
  template <class Target>
  static constexpr epilogue as_epilogue(std::string_view root, bool training) {
    if (training && gradient_from_input<function>) return {};
    if (root == "convolution") return {true, &op_info_of<fused_convolution<A>, Target>};
    if (root == "matmul") return {true, &op_info_of<fused_matmul<A>, Target>};
    return {};
  }
};

}  // namespace op
}  // namespace slim
