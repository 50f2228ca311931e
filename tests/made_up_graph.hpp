// A made-up training graph of about 3,000 nodes (residual blocks of convolutions, as ResNet-200
// has), pushed through every pass in one constant expression: at the compilers' default limits.
#pragma once

#include <slim/compile.hpp>

namespace slim_test {

struct made_up_facts {
  int steps = 0, nodes = 0, variables = 0, gradients = 0;
  long bytes = 0;
};

/// A backend that has a kernel for every op, which is never run: what is tested are the passes.
struct any_kernel {};
inline void never_run(const slim::kernel_call&) {}
using made_up_target = slim::target<float, any_kernel>;

}  // namespace slim_test

template <class Op, class T>
struct slim::kernel_of<Op, T, slim_test::any_kernel> {
  static constexpr kernel_choice choose(const graph&, const node_row&) {
    return {"any", &slim_test::never_run, 4096};
  }
};

namespace slim_test {

constexpr int made_up_layer(slim::builder<made_up_target>& b, int x, int number) {
  using namespace slim;
  const int outer = b.scope;
  b.enter("conv", number);
  attributes a;
  a.win.kernel_h = a.win.kernel_w = 3;
  a.win.pad = padding::same;
  const auto hooks = &variable_hooks_of<float, constant<zeros{}>>;
  const int w = b.add_variable("weights", {3, 3, 64, 64}, hooks, true);
  const int bias = b.add_variable("biases", {64}, hooks, true);
  b.g.regularizers.add(b.add<op::regularizer<constant<l2_regularizer{0.1}>>>({w}));
  int y = b.add<op::convolution>({x, w}, a);
  y = b.add<op::bias_add>({y, bias});
  y = b.add<op::activation<constant<relu>>>({y});
  b.scope = outer;
  return y;
}

template <int Blocks>
constexpr auto made_up_lowered() {
  using namespace slim;
  constexpr graph_counts room{.nodes = 16 * Blocks + 16, .values = 24 * Blocks + 16,
                              .edges = 48 * Blocks + 64, .variables = 6 * Blocks + 4,
                              .scopes = 4 * Blocks + 4, .inputs = 2, .losses = 3 * Blocks + 4};
  graph_storage<room> storage;
  graph g = storage.view();
  builder<made_up_target> b(g);
  int x = b.add_input("x", {8, 14, 14, 64}, element::scalar);
  const int labels = b.add_input("labels", {8}, element::int32);
  for (int block = 0; block < Blocks; ++block) {
    const int outer = b.scope;
    b.enter("block", block);
    int y = made_up_layer(b, x, 1);
    y = made_up_layer(b, y, 2);
    y = made_up_layer(b, y, 3);
    x = b.add<op::add>({x, y});
    b.scope = outer;
  }
  attributes a;
  a.dims = {8, 14 * 14 * 64};
  x = b.add<op::reshape>({x}, a);
  const int rows = b.add<op::cross_entropy_rows>({b.add<op::log_softmax>({x}), labels}, {});
  a.number = 1;
  g.losses.add(b.add<op::weighted_mean>({rows}, a));
  g.output = x;
  storage.keep(g);
  return storage;
}

template <int Blocks>
struct made_up {
  static constexpr auto storage = made_up_lowered<Blocks>();
  static constexpr bool refused = false;
  static constexpr slim::graph view() { return storage.view(); }
};

constexpr made_up_facts made_up_program() {
  using made = slim::detail::compiled<made_up_target, made_up<145>, true>;
  constexpr slim::graph g = made::view();
  static_assert(g.failure.empty());
  constexpr slim::program p = made::program_view();
  made_up_facts facts;
  facts.nodes = g.nodes.size();
  facts.steps = p.steps.size();
  facts.variables = g.variables.size();
  for (const slim::value_row& v : g.values) facts.gradients += v.where == slim::storage::gradient;
  facts.bytes = p.memory.bytes;
  return facts;
}

}  // namespace slim_test
