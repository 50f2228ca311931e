// Adds rows to a graph: by the layers when they lower themselves, and by the passes. The first
// error is kept and everything after it is ignored, so that a network yields one message.
#pragma once

#include <initializer_list>
#include <utility>

#include "graph.hpp"

namespace slim {

class graph_builder;
class inference;
class gradient_of;
class fusion;
class folding;

/// An op fused behind a contraction, if there is one.
struct epilogue {
  bool found = false;
  const op_info* op = nullptr;
};

/// What the passes know of an op; `has_` tells which hooks it has.
struct op_info {
  std::string_view name;
  unsigned long long id;  ///< of the op's type: what nodes are compared by
  void (*infer)(inference&);                                       ///< shapes of the outputs
  void (*gradient)(graph_builder&, gradient_of&);                  ///< appends the backward nodes
  int (*fuse)(graph_builder&, fusion&);                            ///< merges; the node, or -1
  void (*fold)(graph_builder&, folding&);                          ///< at inference, into weights
  long (*multiply_adds)(const graph&, const node_row&);
  kernel_choice (*choose)(const graph&, const node_row&);          ///< a kernel, run null: none
  /// This op fused behind a root: "convolution", ...
  epilogue (*as_epilogue)(std::string_view root, bool training);
  const op_info* at_inference;  ///< what the op becomes at inference, if that is another
  bool has_gradient, has_fuse, has_fold, has_multiply_adds, has_epilogue, has_at_inference;
  int in_place;     ///< the input whose memory output 0 may take over, or -1
  bool view;        ///< output 0 is input 0 under another shape: nothing runs
  bool full_precision;  ///< of losses: in mixed precision, too
  int foldable;     ///< the input whose last axis a scale of the output's can be folded into, or -1
};

/// What the variables that are made next are besides their names, shapes and initializers.
struct variable_settings {
  unsigned char collections = global_variables | model_variables;
  std::string_view collection{}, device{};
};

/// Appends rows to a graph.
class graph_builder {
 public:
  constexpr explicit graph_builder(graph& g) : g(g) {}

  graph& g;
  int scope = -1;         ///< the open variable scope
  int layer = -1;         ///< the open layer's scope, named by errors
  std::string_view layer_name{};
  bool training = false;  ///< the graph will be differentiated
  bool backward = false;  ///< rows belong to the backward program
  bool reusing = false;   ///< scopes are opened again, and their variables are those there are
  variable_settings variables{};
  std::string_view until{};  ///< lowering ends at the end point of this name
  int reached = -1;          ///< its value
  int one = -1;              ///< the gradient of the total loss, which is 1

  constexpr bool failed() const { return !g.failure.empty(); }

  /// Starts the error message "path: layer: "; returns a message to write into (the caller passes
  /// it back through `report`).
  constexpr message complaint() const {
    message m;
    write_scope_path(g.scopes, layer >= 0 ? layer : scope, m);
    if (!m.empty()) m << ": ";
    if (!layer_name.empty()) m << layer_name << ": ";
    return m;
  }
  constexpr void report(const message& m) {
    if (!failed()) g.failure = m;
  }
  template <class... Part>
  constexpr int fail(const Part&... part) {
    message m = complaint();
    (m << ... << part);
    report(m);
    return -1;
  }

  constexpr int add_value(const value_row& row) {
    if (g.values.full()) return fail("needs more values than its `needs` says");
    return g.values.add(row);
  }

  constexpr void add_edge(int value) {
    if (g.edges.full())
      fail("needs more edges than its `needs` says");
    else
      g.edges.add(value);
  }

  constexpr int add_input(std::string_view name, const shape& dims, element type) {
    if (dims.rank == 0) return fail("input ", name, " ", dims, ": the batch is missing");
    for (int i = 0; i < dims.rank; ++i)
      if (dims[i] < 1) return fail("input ", name, " ", dims, ": extents must be positive");
    if (g.batch == 0) g.batch = dims[0];
    if (find_input(g, name) >= 0) return fail("two inputs are named ", name);
    if (dims[0] != g.batch)
      return fail("input ", name, " ", dims, " does not have the batch of ", g.inputs[0].name, " ",
                  g.values[g.inputs[0].value].dims);
    value_row row;
    row.dims = dims, row.type = type, row.where = storage::input, row.batched = true;
    row.index = g.inputs.size();
    const int value = add_value(row);
    if (!failed()) g.inputs.add({name, value, 0});
    return value;
  }

  /// The variable of this scope with this leaf, or -1.
  constexpr int variable_here(std::string_view leaf) const {
    if (scope < 0) {  // the root has no row: its variables are found one by one
      for (int i = 0; i < g.variables.size(); ++i)
        if (g.variables[i].scope < 0 && g.variables[i].leaf == leaf) return i;
      return -1;
    }
    int i = g.scopes[scope].variables;
    while (i >= 0 && g.variables[i].leaf != leaf) i = g.variables[i].next_in_scope;
    return i;
  }

  constexpr int add_variable(std::string_view leaf, const shape& dims, const variable_hooks* hooks,
                             bool trainable) {
    if (failed()) return -1;
    if (reusing) return reused_variable(leaf, dims);
    if (g.variables.full()) return fail("needs more variables than its `needs` says");
    if (variable_here(leaf) >= 0)
      return fail("variable ", leaf, " already exists here: a scope is repeated");
    value_row row;
    row.dims = dims, row.where = storage::variable, row.index = g.variables.size();
    row.differentiable = trainable, row.scope = scope;
    const int value = add_value(row);
    variable_row v;
    v.scope = scope, v.leaf = leaf, v.dims = dims, v.trainable = trainable;
    v.value = value, v.hooks = hooks;
    v.collections = static_cast<unsigned char>(variables.collections |
                                               (trainable ? trainable_variables : 0));
    v.collection = variables.collection, v.device = variables.device;
    if (scope >= 0) v.next_in_scope = std::exchange(g.scopes[scope].variables, g.variables.size());
    g.variables.add(v);
    return value;
  }

  /// The value of a variable that is there already.
  constexpr int reused_variable(std::string_view leaf, const shape& dims) {
    const int found = variable_here(leaf);
    if (found < 0) return fail("there is no variable ", leaf, " here to reuse");
    const shape& there = g.variables[found].dims;
    if (!(there == dims))
      return fail("the reused variable ", leaf, " has shape ", there, ", but ", dims,
                  " is needed here");
    return g.variables[found].value;
  }

  /// Names the value of the open layer, by its scope's path. A reused layer's names its last value.
  constexpr void add_end_point(int value, std::string_view collection) {
    if (failed()) return;
    int& row = g.scopes[scope].end_point;
    if (row < 0) {
      if (g.end_points.full()) return void(fail("needs more end points than its `needs` says"));
      row = g.end_points.add({{}, scope, value, collection});
    } else {
      g.end_points[row].value = value, g.end_points[row].collection = collection;
    }
    if (!until.empty() && scope_path(g, scope).view() == until) reached = value;
  }
  /// Names a value by a key of its own.
  constexpr void add_end_point(std::string_view key, int value) {
    if (failed()) return;
    if (g.end_points.full()) return void(fail("needs more end points than its `needs` says"));
    g.end_points.add({key, scope, value, key});
    if (key == until) reached = value;
  }
  /// Whether lowering is over: it failed, or it reached the end point it was to end at.
  constexpr bool done() const { return failed() || reached >= 0; }

  /// Variables start on a cache line whatever the element type.
  static constexpr long aligned_end(long elements) { return (elements + 15) / 16 * 16; }

  /// Appends a node over inputs[0] to inputs[count - 1]; its shape rule appends the outputs. Returns
  /// the first output, or -1.
  constexpr int add_node(const op_info& op, const int* inputs, int count, const attributes& a = {});
  constexpr int add_node(const op_info& op, std::initializer_list<int> inputs,
                         const attributes& a = {}) {
    return add_node(op, inputs.begin(), static_cast<int>(inputs.size()), a);
  }

  /// Gives an existing node one more output: a backward rule's need the forward pass must save.
  constexpr int add_output(int node, const value_row& row);

  /// Makes `value` output 0 of a node, in place of another.
  constexpr void replace_output(int node, int value) {
    g.edges[g.nodes[node].first_output] = value;
  }

  /// Turns a node into another op over other inputs; its outputs stay.
  constexpr void rewrite(int node, const op_info& op, const int* inputs, int count,
                         const attributes& a);
  constexpr void rewrite(int node, const op_info& op, std::initializer_list<int> inputs,
                         const attributes& a) {
    rewrite(node, op, inputs.begin(), static_cast<int>(inputs.size()), a);
  }

  /// Gives a node one more output, before its others.
  constexpr void put_first_output(int node, int value);

  // Scopes. Buckets hold the row's number plus one, so that zeroed memory is an empty table.
  constexpr int find_scope(int parent, unsigned long long hash) const {
    const int bucket = static_cast<int>(hash % static_cast<unsigned>(g.scope_buckets.size()));
    for (int i = g.scope_buckets[bucket] - 1; i >= 0; i = g.scopes[i].next)
      if (g.scopes[i].parent == parent && g.scopes[i].hash == hash) return i;
    return -1;
  }
  static constexpr unsigned long long scope_hash(std::string_view leaf, int suffix) {
    unsigned long long hash = hash_text(leaf);
    if (suffix >= 0) {
      message digits;
      digits << "_" << suffix;
      hash = hash_text(digits.view(), hash);
    }
    return hash;
  }
  /// The scope `leaf[_suffix]` inside the open one: a new row, or the one already there.
  constexpr int enter(std::string_view leaf, int suffix = -1) {
    const unsigned long long hash = scope_hash(leaf, suffix);
    const int found = find_scope(scope, hash);
    if (found >= 0) {
      if (reusing) forget_reused(found);
      return scope = found;
    }
    if (g.scopes.full()) {
      fail("needs more scopes than its `needs` says");
      return scope;
    }
    int& bucket = g.scope_buckets[static_cast<int>(
        hash % static_cast<unsigned>(g.scope_buckets.size()))];
    scope_row row;
    row.parent = scope, row.leaf = leaf, row.suffix = suffix, row.hash = hash;
    row.next = bucket - 1;
    scope = g.scopes.add(row);
    bucket = scope + 1;
    return scope;
  }
  /// As TensorFlow does for a default name: `base`, or the first free `base_1`, `base_2`, ...
  constexpr int enter_unique(std::string_view base) {
    const int first = find_scope(scope, scope_hash(base, -1));
    if (first < 0) return enter(base);
    if (reusing) {
      const int number = g.scopes[first].reused++;
      return enter(base, number == 0 ? -1 : number);
    }
    int suffix = g.scopes[first].copies + 1;
    while (find_scope(scope, scope_hash(base, suffix)) >= 0) ++suffix;
    g.scopes[first].copies = suffix;
    return enter(base, suffix);
  }

  /// A scope that is opened again reuses its default names from the first one on.
  constexpr void forget_reused(int parent) {
    for (int i = 0; i < g.scopes.size(); ++i)
      if (g.scopes[i].parent == parent) g.scopes[i].reused = 0;
  }

  /// repeat and stack name the next scope to be opened `leaf_suffix`.
  std::string_view forced_leaf{};
  int forced_suffix = -1;

  /// Opens the scope of a layer or net: forced by repeat, given by its `scope`, or its default.
  constexpr int enter_named(std::string_view given, std::string_view fallback) {
    if (!forced_leaf.empty()) {
      if (!given.empty()) fail("scope \"", given, "\" is given to a layer that repeat names");
      const std::string_view leaf = forced_leaf;
      forced_leaf = {};
      return enter(leaf, forced_suffix);
    }
    return given.empty() ? enter_unique(fallback) : enter(given);
  }
};

/// What a shape rule sees: the inputs of the node that is being added.
class inference {
 public:
  constexpr inference(graph_builder& b, node_row& node) : b(b), node(node) {}

  graph_builder& b;
  node_row& node;

  constexpr int inputs() const { return node.inputs; }
  constexpr const shape& in(int i) const { return b.g.input_shape(node, i); }
  constexpr bool batched(int i) const { return b.g.values[b.g.input(node, i)].batched; }
  constexpr const value_row& value(int i) const { return b.g.values[b.g.input(node, i)]; }
  constexpr window& win() { return node.a.win; }

  /// Declares the next output.
  constexpr void out(const shape& dims, bool batched, element type = element::scalar) {
    if (b.failed()) return;
    value_row row;
    row.dims = dims, row.type = type, row.batched = batched, row.scope = node.scope;
    for (int i = 0; i < node.inputs; ++i) row.differentiable |= value(i).differentiable;
    if (type != element::scalar) row.differentiable = false;
    b.add_edge(b.add_value(row));
    ++node.outputs;
  }
  /// Declares that the next output is the variable that input i is: the op changes it.
  constexpr void out_variable(int i) {
    if (b.failed()) return;
    const value_row row = value(i);
    b.add_edge(b.add_value(row));
    ++node.outputs;
  }
  template <class... Part>
  constexpr void fail(const Part&... part) {
    b.fail(part...);
  }
};

constexpr int graph_builder::add_node(const op_info& op, const int* inputs, int count,
                                      const attributes& a) {
  if (failed()) return -1;
  if (g.nodes.full()) return fail("needs more nodes than its `needs` says");
  node_row row;
  row.op = &op, row.a = a, row.scope = layer >= 0 ? layer : scope, row.backward = backward;
  row.first_input = g.edges.size();
  row.inputs = count;
  for (int i = 0; i < count; ++i) add_edge(inputs[i]);
  row.first_output = g.edges.size();
  inference rule(*this, row);
  op.infer(rule);
  if (failed()) return -1;
  g.nodes.add(row);
  return g.output_of(row, 0);
}

constexpr int graph_builder::add_output(int node, const value_row& row) {
  node_row& n = g.nodes[node];
  const int first = g.edges.size();
  for (int i = 0; i < n.outputs; ++i) add_edge(g.output_of(n, i));
  const int value = add_value(row);
  add_edge(value);
  if (failed()) return -1;
  n.first_output = first;
  ++n.outputs;
  return value;
}

constexpr void graph_builder::rewrite(int node, const op_info& op, const int* inputs, int count,
                                      const attributes& a) {
  node_row& n = g.nodes[node];
  n.op = &op, n.a = a, n.first_input = g.edges.size();
  n.inputs = count;
  for (int i = 0; i < count; ++i) add_edge(inputs[i]);
}

constexpr void graph_builder::put_first_output(int node, int value) {
  node_row& n = g.nodes[node];
  const int first = g.edges.size();
  add_edge(value);
  for (int i = 0; i < n.outputs; ++i) add_edge(g.output_of(n, i));
  n.first_output = first, ++n.outputs;
}

/// What a gradient rule sees: one node, and the running gradients of all values.
class gradient_of {
 public:
  constexpr gradient_of(graph_builder& b, int number, int* running, const op_info& sum)
      : b(b), number(number), node(b.g.nodes[number]), running_(running), sum_(sum) {}

  graph_builder& b;
  const int number;     ///< of the node
  const node_row node;  ///< a copy: the table grows meanwhile

  constexpr int in(int i) const { return b.g.input(node, i); }
  constexpr int out(int i = 0) const { return b.g.output_of(node, i); }
  constexpr const shape& in_shape(int i) const { return b.g.input_shape(node, i); }
  /// The gradient that arrived at output i, or -1.
  constexpr int incoming(int i = 0) const { return running_[out(i)] - 1; }
  constexpr bool wanted(int i) const { return b.g.values[in(i)].differentiable; }

  /// Adds a contribution to the gradient of input i, in order of arrival.
  constexpr void give(int i, int gradient) {
    if (b.failed()) return;
    int& running = running_[in(i)];
    running = 1 + (running == 0 ? gradient : b.add_node(sum_, {running - 1, gradient}));
  }
  /// Takes the running gradient of input i out (or -1), for a rule that adds to it in place and
  /// gives it back.
  constexpr int take(int i) {
    const int running = running_[in(i)];
    running_[in(i)] = 0;
    return running - 1;
  }

 private:
  int* running_;  // by value: the gradient's number plus one, or 0
  const op_info& sum_;
};

/// The type T an op's values have and the backend whose kernels run it.
template <class T, class Backend>
struct target {
  using scalar = T;
  using backend = Backend;
};

/// What a backend asks of the passes.
struct backend_traits {
  bool narrow = false;             ///< activations are bfloat16
  bool prepares_training = false;  ///< weights are brought into a kernel's form in training, too
  bool apart = false;              ///< kernels have memory of their own
  bool pools_sum_biases = false;   ///< a fused pool's gradient sums that of the biases before it
};
template <class Backend>
constexpr backend_traits traits_of() {
  if constexpr (requires { Backend::traits; })
    return Backend::traits;
  else
    return {};
}

namespace backend {
/// Shapes and counts only: nothing runs.
struct none {};
/// Every op by its Eigen Tensor expression.
struct eigen {
  static constexpr graph_counts needs{};
  static constexpr bool is_setting = true;
};
/// Kernels of this library on the CPU; where none serves, the Eigen expression.
struct cpu {
  static constexpr graph_counts needs{};
  static constexpr bool is_setting = true;
};
}  // namespace backend

/// Chooses the kernel of `Op` on a target; specialised by each backend. This one has none: the
/// network is refused by a message.
template <class Op, class T, class Backend>
struct kernel_of {
  static constexpr kernel_choice choose(const graph&, const node_row&) { return {}; }
};

template <class Op, class T>
struct kernel_of<Op, T, backend::none> {
  static constexpr kernel_choice choose(const graph&, const node_row&) { return {"none"}; }
};

template <class Target>
class builder;

namespace detail {

/// A number for a type, from the name the compiler has for it. (Addresses cannot be compared in a
/// constant expression under g++'s -fsanitize=undefined.)
template <class Op>
constexpr unsigned long long type_id() {
  return hash_text(__PRETTY_FUNCTION__);
}

template <class Op, class Target>
constexpr op_info make_op_info();

}  // namespace detail

/// One row an op and target.
template <class Op, class Target>
inline constexpr op_info op_info_of = detail::make_op_info<Op, Target>();

namespace detail {

/// What every op must have; an op without it is refused where it is added.
template <class Op>
constexpr void require_parts(op_info& info) {
  if constexpr (requires { Op::name; }) info.name = Op::name;
  if constexpr (!requires { Op::name; })
    info.infer = [](inference& rule) { rule.fail("its op lacks a `name`"); };
  else if constexpr (!requires(inference& rule) { Op::infer(rule); })
    info.infer = [](inference& rule) {
      rule.fail("the op ", Op::name, " lacks `static constexpr void infer(inference&)`");
    };
  else
    info.infer = [](inference& rule) { Op::infer(rule); };
}

template <class Op, class Target>
constexpr op_info make_op_info() {
  op_info info{};
  info.id = type_id<Op>();
  require_parts<Op>(info);
  if constexpr (requires(builder<Target>& b, gradient_of& of) { Op::gradient(b, of); })
    info.has_gradient = true, info.gradient = [](graph_builder& b, gradient_of& of) {
      Op::gradient(static_cast<builder<Target>&>(b), of);
    };
  if constexpr (requires(builder<Target>& b, fusion& rule) { Op::fuse(b, rule); })
    info.has_fuse = true, info.fuse = [](graph_builder& b, fusion& rule) {
      return Op::fuse(static_cast<builder<Target>&>(b), rule);
    };
  if constexpr (requires(builder<Target>& b, folding& rule) { Op::fold(b, rule); })
    info.has_fold = true, info.fold = [](graph_builder& b, folding& rule) {
      Op::fold(static_cast<builder<Target>&>(b), rule);
    };
  if constexpr (requires(const graph& g, const node_row& n) { Op::multiply_adds(g, n); })
    info.has_multiply_adds = true, info.multiply_adds = &Op::multiply_adds;
  if constexpr (!requires { Op::view; })
    info.choose = [](const graph& g, const node_row& n) {
      return kernel_of<Op, typename Target::scalar, typename Target::backend>::choose(g, n);
    };
  if constexpr (requires { Op::template as_epilogue<Target>(std::string_view(), true); })
    info.has_epilogue = true, info.as_epilogue = &Op::template as_epilogue<Target>;
  if constexpr (requires { typename Op::at_inference; })
    info.has_at_inference = true,
    info.at_inference = &op_info_of<typename Op::at_inference, Target>;
  info.in_place = info.foldable = -1;
  if constexpr (requires { Op::in_place; }) info.in_place = Op::in_place;
  if constexpr (requires { Op::view; }) info.view = Op::view;
  if constexpr (requires { Op::full_precision; }) info.full_precision = Op::full_precision;
  if constexpr (requires { Op::foldable; }) info.foldable = Op::foldable;
  return info;
}

}  // namespace detail

/// A builder that turns op types into rows for one target.
template <class Target>
class builder : public graph_builder {
 public:
  using target_type = Target;
  using graph_builder::graph_builder;

  template <class Op>
  constexpr int add(std::initializer_list<int> inputs, const attributes& a = {}) {
    return this->add_node(op_info_of<Op, Target>, inputs, a);
  }
  template <class Op>
  constexpr int add(const int* inputs, int count, const attributes& a = {}) {
    return this->add_node(op_info_of<Op, Target>, inputs, count, a);
  }
  template <class Op>
  static constexpr const op_info& info() {
    return op_info_of<Op, Target>;
  }
};

}  // namespace slim
