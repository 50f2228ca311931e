// Element-wise activations. A is a `constant<f>`: f(x) is the value, f.gradient(y) the derivative,
// written in terms of the output y; an f with `gradient_from_input` takes x there instead.
#pragma once

#include "../graph/fuse.hpp"
#include "elementwise.hpp"

namespace slim {

/// No activation.
struct identity_function {
  static constexpr std::string_view name = "identity";
  template <class T>
  constexpr T operator()(T x) const {
    return x;
  }
  template <class T>
  constexpr T gradient(T) const {
    return T(1);
  }
  friend constexpr bool operator==(identity_function, identity_function) = default;
};
using no_activation = constant<identity_function{}>;

template <class F>
constexpr bool gradient_from_input = requires { F::gradient_from_input; };

/// Whether f is an activation function of T, and whether it has a derivative.
template <class F, class T>
constexpr bool is_activation = requires(const F& f, T x) {
  F::name;
  static_cast<T>(f(x));
};
template <class F, class T>
constexpr bool has_derivative = requires(const F& f, T y) { static_cast<T>(f.gradient(y)); };

namespace op {

template <class A>
struct fused_convolution;
template <class A>
struct fused_matmul;
template <class A>
struct fused_batch_norm;
template <class A>
struct batch_norm_add;
template <class A>
struct fused_scale_shift;
template <class A>
struct fused_add;
template <class A>
struct convolution_backward_data_activation;
template <class A>
struct matmul_backward_data_activation;
template <class A>
struct max_pool_backward_activation;
template <class A>
struct add_activation_backward;
template <class A>
struct activation_batch_norm_backward;

/// (s, dy) -> dy * f'(s), where s is the output of f (its input, for gradient_from_input).
template <class A>
struct activation_backward {
  static constexpr std::string_view name = "activation_backward";
  static constexpr int in_place = 1;

  static constexpr void infer(inference& s) { s.out(s.in(1), s.batched(1)); }

  /// Behind the data gradient of a contraction or of max pooling, or a sum of gradients, this is an
  /// epilogue.
  template <class Target>
  static constexpr epilogue as_epilogue(std::string_view root, bool) {
    if (root == "convolution_backward_data")
      return {true, &op_info_of<convolution_backward_data_activation<A>, Target>};
    if (root == "matmul_backward_data")
      return {true, &op_info_of<matmul_backward_data_activation<A>, Target>};
    if (root == "max_pool_backward")
      return {true, &op_info_of<max_pool_backward_activation<A>, Target>};
    if (root == "add_backward") return {true, &op_info_of<add_activation_backward<A>, Target>};
    if (root == "batch_norm_backward")
      return {true, &op_info_of<activation_batch_norm_backward<A>, Target>};
    return {};
  }
};

/// (a, b, s) -> (a + b) * f'(s), of equal shapes: the gradient of an activation that two ops read.
template <class A>
struct add_activation_backward {
  static constexpr std::string_view name = "add+activation_backward";
  static constexpr int in_place = 0;

  static constexpr void infer(inference& s) { s.fail("is made by fusion only"); }
  /// Before the gradient of a batch norm this is a prologue.
  template <class Target>
  static constexpr epilogue as_epilogue(std::string_view root, bool training) {
    if (root != "batch_norm_backward") return {};
    return activation_backward<A>::template as_epilogue<Target>(root, training);
  }
};

/// Appends Op<A>, a kernel that needs A's derivative; refuses an A without one.
template <template <class> class Op, class A, class B>
constexpr int add_derivative(B& b, std::initializer_list<int> inputs, const attributes& a = {}) {
  using function = std::remove_cvref_t<decltype(A::value)>;
  if constexpr (has_derivative<function, typename B::target_type::scalar>)
    return b.template add<Op<A>>(inputs, a);
  else
    return b.fail("a loss is differentiated through the activation ", function::name,
                  ", but it has no gradient(y)");
}

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
    g.give(0, add_derivative<activation_backward, A>(b, {saved, g.incoming()}));
  }

  /// Behind a contraction, a batch norm or a sum this is an epilogue, unless training needs that
  /// op's own output.
  template <class Target>
  static constexpr epilogue as_epilogue(std::string_view root, bool training) {
    if (training && gradient_from_input<function>) return {};
    if (root == "convolution") return {true, &op_info_of<fused_convolution<A>, Target>};
    if (root == "matmul") return {true, &op_info_of<fused_matmul<A>, Target>};
    if (root == "batch_norm") return {true, &op_info_of<fused_batch_norm<A>, Target>};
    if (root == "batch_norm_add") return {true, &op_info_of<batch_norm_add<A>, Target>};
    if (root == "scale_shift") return {true, &op_info_of<fused_scale_shift<A>, Target>};
    if (root == "add") return {true, &op_info_of<fused_add<A>, Target>};
    return {};
  }
};

/// (a, b) -> f(a + b), of equal shapes.
template <class A>
struct fused_add {
  static constexpr std::string_view name = "add+activation";
  static constexpr int in_place = 0;

  static constexpr void infer(inference& s) { s.fail("is made by fusion only"); }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    const int dy = add_derivative<activation_backward, A>(b, {g.out(), g.incoming()});
    for (int i = 0; i < 2; ++i)
      if (g.wanted(i)) g.give(i, dy);
  }
};

/// Fuses an op with the activation that alone reads its output 0, if the target has a kernel for
/// both; the other outputs stay.
template <class B>
constexpr int fuse_activation(B& b, fusion& f, std::string_view root) {
  const int user = f.next(f.node);
  if (user < 0 || !b.g.nodes[user].op->has_epilogue) return -1;
  const epilogue with = b.g.nodes[user].op->as_epilogue(root, b.training);
  if (!with.found || !with.op->choose(b.g, b.g.nodes[f.node]).found()) return -1;
  b.g.nodes[f.node].op = with.op;
  b.replace_output(f.node, b.g.output_of(b.g.nodes[user], 0));
  b.g.nodes[user].dead = true;
  return f.node;
}

/// Fuses an op of two inputs with the activation_backward that alone reads what it writes: `saved`
/// becomes the last input.
template <class B>
constexpr int fuse_activation_gradient(B& b, fusion& f, std::string_view root) {
  const node_row& n = b.g.nodes[f.node];
  const int user = f.next(f.node);
  if (user < 0 || !b.g.nodes[user].op->has_epilogue) return -1;
  const epilogue with = b.g.nodes[user].op->as_epilogue(root, b.training);
  if (!with.found || b.g.input(b.g.nodes[user], 1) != b.g.output_of(n, 0)) return -1;
  const int first = b.g.input(n, 0), second = b.g.input(n, 1);
  const int saved = b.g.input(b.g.nodes[user], 0);
  if (!f.supported(user, *with.op, {first, second, saved}, n.a)) return -1;
  f.merge({f.node, user}, user, *with.op, {first, second, saved}, attributes(n.a));
  return user;
}

template <class B>
constexpr int add::fuse(B& b, fusion& f) {
  const int merged = fuse_activation(b, f, name);
  return merged >= 0 ? merged : fuse_activation_gradient(b, f, "add_backward");
}

}  // namespace op

/// f(x); refuses what is no activation function.
template <class F, class B>
constexpr int add_activation(B& b, int x) {
  using function = std::remove_cvref_t<decltype(F::value)>;
  constexpr std::string_view fault =
      " is no activation function: that has a `name` and takes one element, f(x)";
  if constexpr (is_activation<function, typename B::target_type::scalar>)
    return b.template add<op::activation<F>>({x});
  else if constexpr (requires { function::name; })
    return b.fail(function::name, fault);
  else
    return b.fail("what is given", fault);
}

}  // namespace slim
