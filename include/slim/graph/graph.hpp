// The lowered network: plain tables of nodes, values, variables and scopes. Every pass reads and
// writes these; nothing here knows the types a network was spelled with.
#pragma once

#include "../shape.hpp"

namespace slim {

struct op_info;
struct variable_hooks;
class kernel_call;

/// What one element of a value is; `scalar` is the model's own type (float or double). Accelerators
/// keep activations as `bfloat16` where their precision says so (narrow.hpp).
enum class element : unsigned char { scalar, int32, byte, bfloat16 };

/// Where a value lives. `prepared` values follow from variables alone: they are computed when those
/// have changed, not on every run. A `host_variable` lies apart from the memory of kernels.
enum class storage : unsigned char { buffer, input, variable, gradient, prepared, host_variable };

/// Options of an op, as plain values; each op says which it reads.
struct attributes {
  window win{};
  shape dims{};  ///< of a result that the inputs do not tell
  double number = 0;
  double second = 0;
  int integer = 0;
};

/// A form of its own in which a kernel wants its node's weights: `run` brings (weights[, a scale of
/// each of their columns]) into it when variables have changed. No elements: as they are.
struct weights_form {
  std::string_view name{};
  void (*run)(const kernel_call&) = nullptr;
  long elements = 0;
  element type = element::scalar;
  bool shared = false;  ///< kernels that ask for a form of this name read the same one
};

/// The kernel a node runs on a target: chosen by a pass, and by shape.
struct kernel_choice {
  std::string_view name{};
  void (*run)(const kernel_call&) = nullptr;
  long workspace_bytes = 0;
  weights_form weights{};  ///< of input 1; only where graph::may_prepare
  weights_form biases{};   ///< of input 2, likewise

  /// Whether there is one: a choice without a name is none. (Comparing a function's address in a
  /// constant expression is what g++ refuses under -fsanitize=undefined.)
  constexpr bool found() const { return !name.empty(); }
};

struct value_row {
  shape dims{};
  element type = element::scalar;
  storage where = storage::buffer;
  bool batched = false;         ///< the leading extent is the batch, n at run time
  bool fetched = false;         ///< the caller reads it: it is written and kept
  bool differentiable = false;  ///< a trainable variable feeds it
  int index = -1;               ///< number of the input or variable it is (or is the gradient of)
  int scope = -1;
};

struct node_row {
  const op_info* op = nullptr;
  int first_input = 0, inputs = 0;    ///< into the edges
  int first_output = 0, outputs = 0;  ///< into the edges
  attributes a{};
  int scope = -1;
  bool backward = false;
  bool dead = false;
  bool update = false;   ///< changes a variable, after the backward pass (TF-Slim's UPDATE_OPS)
  bool prepare = false;  ///< reads variables only: runs when they have changed
  kernel_choice kernel{};
};

/// TensorFlow's collections of variables, as bits.
enum collection : unsigned char {
  global_variables = 1,  ///< saved; everything but local variables
  model_variables = 2,
  local_variables = 4,
  trainable_variables = 8,
};

struct variable_row {
  int scope = -1;
  std::string_view leaf{};
  shape dims{};
  bool trainable = true;
  int value = -1;
  const variable_hooks* hooks = nullptr;
  unsigned char collections = global_variables;
  std::string_view collection{};   ///< one more, of the user's: variables_collections
  std::string_view regularizer{};  ///< its name
  std::string_view device{};       ///< as it was asked for
  int next_in_scope = -1;
  long offset = 0;  ///< in elements, into the arena of variables (and of gradients)
};

/// A variable scope, by parent and leaf; `suffix` is the number behind the leaf, or -1.
struct scope_row {
  int parent = -1;
  std::string_view leaf{};
  int suffix = -1;
  bool layer = false;  ///< a layer lives here: a second one is refused
  unsigned long long hash = 0;
  int next = -1;       ///< in the same bucket of the name table
  int copies = 0;      ///< default names made from this one: leaf_1, leaf_2, ...
  int reused = 0;      ///< of those, the ones reused since the parent was opened again
  int end_point = -1;  ///< row of the end point that the layer here is
  int variables = -1;  ///< the last of the variables here; they lead to one another
};

/// A value with a name: a layer's output by its scope's path, or any value by a key of its own.
struct end_point_row {
  std::string_view key{};  ///< empty: the scope's path is the name
  int scope = -1;
  int value = -1;
  std::string_view collection{};  ///< outputs_collections: those with one are listed
};

struct input_row {
  std::string_view name{};
  int value = -1;
  int index_limit = 0;  ///< integers must lie in [0, limit); 0: any
  bool needed = false;  ///< a step of the program reads it
};

/// A range of rows with a capacity fixed beforehand.
template <class Row>
class table {
 public:
  constexpr table() = default;
  constexpr table(Row* rows, int size, int capacity)
      : rows_(rows), size_(size), capacity_(capacity) {}

  constexpr Row& operator[](int i) { return rows_[i]; }
  constexpr const Row& operator[](int i) const { return rows_[i]; }
  constexpr int size() const { return size_; }
  constexpr bool full() const { return size_ >= capacity_; }
  constexpr int capacity() const { return capacity_; }
  constexpr int add(const Row& row) {
    rows_[size_] = row;
    return size_++;
  }
  constexpr void shrink(int size) { size_ = size; }
  constexpr const Row* begin() const { return rows_; }
  constexpr const Row* end() const { return rows_ + size_; }

 private:
  Row* rows_ = nullptr;
  int size_ = 0;
  int capacity_ = 0;
};

/// How many rows of each table a graph has, or may come to have.
struct graph_counts {
  int nodes = 0, values = 0, edges = 0, variables = 0, scopes = 0, inputs = 0, losses = 0;
  int end_points = 0, heads = 0;

  friend constexpr graph_counts operator+(graph_counts a, const graph_counts& b) {
    a.nodes += b.nodes, a.values += b.values, a.edges += b.edges, a.variables += b.variables;
    a.scopes += b.scopes, a.inputs += b.inputs, a.losses += b.losses;
    a.end_points += b.end_points, a.heads += b.heads;
    return a;
  }
  friend constexpr graph_counts operator*(int n, graph_counts a) {
    a.nodes *= n, a.values *= n, a.edges *= n, a.variables *= n;
    a.scopes *= n, a.inputs *= n, a.losses *= n, a.end_points *= n, a.heads *= n;
    return a;
  }
};

/// A graph, as views of its tables. Rows are in topological order.
struct graph {
  table<node_row> nodes;
  table<value_row> values;
  table<int> edges;
  table<variable_row> variables;
  table<scope_row> scopes;
  table<int> scope_buckets;  ///< by hash; only lowering opens scopes, so passes do not copy it
  table<input_row> inputs;
  table<end_point_row> end_points;
  table<int> heads;          ///< values: outputs of `heads`, each of which needs a loss
  table<int> losses;         ///< values: scalars, collection "losses"
  table<int> regularizers;   ///< values: scalars, collection "regularization_losses"
  int batch = 0;
  bool exact = false;        ///< kernels compute convolutions by their definition, untransformed
  int output = -1;           ///< value
  int total_loss = -1;       ///< value
  bool may_prepare = false;  ///< a kernel may ask for its weights in another form
  message failure{};         ///< the first error, or empty

  constexpr int input(const node_row& n, int i) const { return edges[n.first_input + i]; }
  constexpr int output_of(const node_row& n, int i) const { return edges[n.first_output + i]; }
  constexpr const shape& input_shape(const node_row& n, int i) const {
    return values[input(n, i)].dims;
  }
  constexpr const shape& output_shape(const node_row& n, int i) const {
    return values[output_of(n, i)].dims;
  }
  constexpr graph_counts counts() const {
    return {nodes.size(),  values.size(), edges.size(), variables.size(),
            scopes.size(), inputs.size(), losses.size() + regularizers.size(),
            end_points.size(), heads.size()};
  }
};

/// The memory of a graph whose tables hold at most C rows.
template <graph_counts C>
struct graph_storage {
  static constexpr int room(int n) { return n > 0 ? n : 1; }

  node_row nodes[room(C.nodes)]{};
  value_row values[room(C.values)]{};
  int edges[room(C.edges)]{};
  variable_row variables[room(C.variables)]{};
  scope_row scopes[room(C.scopes)]{};
  int scope_buckets[room(C.scopes)]{};
  input_row inputs[room(C.inputs)]{};
  end_point_row end_points[room(C.end_points)]{};
  int heads[room(C.heads)]{};
  int losses[room(C.losses)]{};
  int regularizers[room(C.losses)]{};
  graph_counts size{};
  int regularizer_count = 0;
  int batch = 0, output = -1, total_loss = -1;
  bool exact = false;
  message failure{};

  /// The rows stored so far, with the rest of the capacity free. Only a storage that is not
  /// const may be written through it.
  constexpr graph view() const {
    auto* self = const_cast<graph_storage*>(this);
    graph g;
    g.nodes = {self->nodes, size.nodes, C.nodes};
    g.values = {self->values, size.values, C.values};
    g.edges = {self->edges, size.edges, C.edges};
    g.variables = {self->variables, size.variables, C.variables};
    g.scopes = {self->scopes, size.scopes, C.scopes};
    g.scope_buckets = {self->scope_buckets, room(C.scopes), room(C.scopes)};
    g.inputs = {self->inputs, size.inputs, C.inputs};
    g.end_points = {self->end_points, size.end_points, C.end_points};
    g.heads = {self->heads, size.heads, C.heads};
    g.losses = {self->losses, size.losses, C.losses};
    g.regularizers = {self->regularizers, regularizer_count, C.losses};
    g.batch = batch, g.output = output, g.total_loss = total_loss, g.failure = failure;
    g.exact = exact;
    return g;
  }

  /// Takes over what a view of this storage came to hold.
  constexpr void keep(const graph& g) {
    size = g.counts();
    size.losses = g.losses.size();
    regularizer_count = g.regularizers.size();
    batch = g.batch, output = g.output, total_loss = g.total_loss, failure = g.failure;
    exact = g.exact;
  }
};

/// What a pass may change: nodes, values and edges. The other tables stay the lowered graph's.
template <graph_counts C>
struct pass_storage {
  static constexpr int room(int n) { return n > 0 ? n : 1; }

  node_row nodes[room(C.nodes)]{};
  value_row values[room(C.values)]{};
  int edges[room(C.edges)]{};
  int node_count = 0, value_count = 0, edge_count = 0;
  int output = -1, total_loss = -1;
  bool with_losses = true;
  message failure{};

  constexpr graph view(const graph& lowered) const {
    auto* self = const_cast<pass_storage*>(this);
    graph g = lowered;
    g.nodes = {self->nodes, node_count, C.nodes};
    g.values = {self->values, value_count, C.values};
    g.edges = {self->edges, edge_count, C.edges};
    g.output = output, g.total_loss = total_loss, g.failure = failure;
    if (!with_losses) g.losses.shrink(0), g.regularizers.shrink(0);
    return g;
  }
  constexpr void keep(const graph& g) {
    node_count = g.nodes.size(), value_count = g.values.size(), edge_count = g.edges.size();
    output = g.output, total_loss = g.total_loss, failure = g.failure;
    with_losses = g.losses.size() + g.regularizers.size() > 0;
  }
};

/// Rows of `g` without its dead nodes and their edges.
constexpr graph_counts living(const graph& g) {
  graph_counts c = g.counts();
  c.nodes = c.edges = 0;
  for (const node_row& n : g.nodes)
    if (!n.dead) ++c.nodes, c.edges += n.inputs + n.outputs;
  return c;
}

/// Copies the nodes of `from` that are not dead, with their edges, and all values into `to`.
constexpr void copy_living(const graph& from, graph& to) {
  to.output = from.output, to.total_loss = from.total_loss, to.failure = from.failure;
  if (from.losses.size() == 0) to.losses.shrink(0);
  if (from.regularizers.size() == 0) to.regularizers.shrink(0);
  for (const value_row& row : from.values) to.values.add(row);
  for (const node_row& row : from.nodes) {
    if (row.dead) continue;
    node_row& copy = to.nodes[to.nodes.add(row)];
    copy.first_input = to.edges.size();
    for (int i = 0; i < row.inputs; ++i) to.edges.add(from.input(row, i));
    copy.first_output = to.edges.size();
    for (int i = 0; i < row.outputs; ++i) to.edges.add(from.output_of(row, i));
  }
}

/// Writes the path of a scope, "vgg_16/conv1/conv1_1".
template <class Scopes, class Out>
constexpr void write_scope_path(const Scopes& scopes, int scope, Out& out) {
  if (scope < 0) return;
  const scope_row& row = scopes[scope];
  write_scope_path(scopes, row.parent, out);
  if (row.leaf.empty()) return;
  if (!out.empty()) out << "/";
  out << row.leaf;
  if (row.suffix >= 0) out << "_" << row.suffix;
}

constexpr message scope_path(const graph& g, int scope) {
  message m;
  write_scope_path(g.scopes, scope, m);
  return m;
}

/// The full name of a variable, "vgg_16/conv1/conv1_1/weights". Graph: a graph or a program.
template <class Graph>
constexpr message variable_name(const Graph& g, const variable_row& v) {
  message name;
  write_scope_path(g.scopes, v.scope, name);
  if (!name.empty()) name << "/";
  return name << v.leaf;
}

/// The variable with this full name, or -1.
constexpr int find_variable(const graph& g, std::string_view name) {
  for (int i = 0; i < g.variables.size(); ++i)
    if (name.ends_with(g.variables[i].leaf) && variable_name(g, g.variables[i]).view() == name)
      return i;
  return -1;
}

/// How far two names are apart: the characters they do not share at the front or at the back.
constexpr int distance(std::string_view a, std::string_view b) {
  const std::size_t shorter = a.size() < b.size() ? a.size() : b.size();
  std::size_t front = 0, back = 0;
  while (front < shorter && a[front] == b[front]) ++front;
  while (front + back < shorter && a[a.size() - 1 - back] == b[b.size() - 1 - back]) ++back;
  return static_cast<int>(a.size() + b.size() - 2 * (front + back));
}

/// Keeps the name that is nearest to a wanted one.
struct closest_name {
  std::string_view wanted;
  message name{};
  int best = -1;  ///< its distance; -1: there is none

  constexpr void offer(const message& candidate) {
    const int apart = distance(wanted, candidate.view());
    if (best < 0 || apart < best) best = apart, name = candidate;
  }
};

/// "there is no variable named ...; the closest is ...".
constexpr message nothing_named(std::string_view kind, const closest_name& closest) {
  message m;
  m << "there is no " << kind << " named " << closest.wanted;
  if (closest.best >= 0) m << "; the closest is " << closest.name.view();
  return m;
}

constexpr message no_variable(const graph& g, std::string_view name) {
  closest_name closest{name};
  for (const variable_row& v : g.variables) closest.offer(variable_name(g, v));
  return nothing_named("variable", closest);
}

constexpr message end_point_name(const graph& g, const end_point_row& row) {
  message m;
  if (row.key.empty())
    write_scope_path(g.scopes, row.scope, m);
  else
    m << row.key;
  return m;
}

constexpr message no_end_point(const graph& g, std::string_view name) {
  closest_name closest{name};
  for (const end_point_row& row : g.end_points) closest.offer(end_point_name(g, row));
  return nothing_named("end point", closest);
}

/// The value of the end point with this name, or -1. Of several with one key the last counts.
constexpr int find_end_point(const graph& g, std::string_view name) {
  for (int i = g.end_points.size() - 1; i >= 0; --i) {
    const end_point_row& row = g.end_points[i];
    // The leaf is compared first: composing every path would count in a constant expression.
    if (row.key.empty() ? name.find(g.scopes[row.scope].leaf) == name.npos : row.key != name)
      continue;
    if (end_point_name(g, row).view() == name) return row.value;
  }
  return -1;
}

constexpr int find_input(const graph& g, std::string_view name) {
  for (int i = 0; i < g.inputs.size(); ++i)
    if (g.inputs[i].name == name) return i;
  return -1;
}

}  // namespace slim
