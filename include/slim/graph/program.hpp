// What is left of a graph at run time: a straight line of kernel calls over one arena.
#pragma once

#include <cstddef>

#include "count.hpp"
#include "plan_memory.hpp"

namespace slim {

class accelerator;
class cpu_device;

/// A value of the program: its shape at full batch and where it lies.
struct tensor_row {
  shape dims{};
  element type = element::scalar;
  bool batched = false;
  bool fetched = false;  ///< stays as it was written until the next run
  placement place{};
};

/// One kernel call.
struct step_row {
  void (*run)(const kernel_call&) = nullptr;
  attributes a{};
  int first_input = 0, inputs = 0, first_output = 0, outputs = 0;  ///< into the edges
  long workspace = -1;                                             ///< bytes into the arena
  std::string_view op{}, kernel{};
  int scope = -1;
  bool backward = false;
  bool update = false, prepare = false;
  long multiply_adds = 0;
};

/// What a program is besides its tables.
struct program_facts {
  int batch = 0, output = -1, total_loss = -1;
  int first_run = 0;     ///< steps before it prepare: they run when variables have changed
  int first_update = 0;  ///< steps from it on change variables
  int scalar_bytes = 4;
  long variable_elements = 0;  ///< of the arena of variables, and of gradients
  long kernel_elements = 0;    ///< of which kernels read so many where they lie: all before them
  memory_plan memory{};
};

/// Views of a program's tables.
struct program : program_facts {
  table<step_row> steps;
  table<tensor_row> tensors;  ///< by the graph's numbers of values
  table<int> edges;
  table<variable_row> variables;
  table<scope_row> scopes;
  table<input_row> inputs;
  table<end_point_row> end_points;
  table<int> losses, regularizers;
};

/// The exact sizes of a program's tables.
struct program_counts {
  int steps = 0, losses = 0, regularizers = 0;
  graph_counts graph{};
};

constexpr program_counts count_program(const graph& g) {
  program_counts c{0, g.losses.size(), g.regularizers.size(), g.counts()};
  for (const node_row& n : g.nodes) c.steps += !n.dead && !n.op->view;
  return c;
}

template <program_counts C>
struct program_storage {
  static constexpr int room(int n) { return n > 0 ? n : 1; }

  step_row steps[room(C.steps)]{};
  tensor_row tensors[room(C.graph.values)]{};
  int edges[room(C.graph.edges)]{};
  variable_row variables[room(C.graph.variables)]{};
  scope_row scopes[room(C.graph.scopes)]{};
  input_row inputs[room(C.graph.inputs)]{};
  end_point_row end_points[room(C.graph.end_points)]{};
  int losses[room(C.losses)]{};
  int regularizers[room(C.regularizers)]{};
  program_facts facts{};

  /// The tables with as many rows as are filled: all, or none yet.
  constexpr program view(bool filled = true) const {
    auto* self = const_cast<program_storage*>(this);
    const auto size = [filled](int n) { return filled ? n : 0; };
    program v;
    static_cast<program_facts&>(v) = facts;
    v.steps = {self->steps, size(C.steps), C.steps};
    v.tensors = {self->tensors, size(C.graph.values), C.graph.values};
    v.edges = {self->edges, size(C.graph.edges), C.graph.edges};
    v.variables = {self->variables, size(C.graph.variables), C.graph.variables};
    v.scopes = {self->scopes, size(C.graph.scopes), C.graph.scopes};
    v.inputs = {self->inputs, size(C.graph.inputs), C.graph.inputs};
    v.end_points = {self->end_points, size(C.graph.end_points), C.graph.end_points};
    v.losses = {self->losses, size(C.losses), C.losses};
    v.regularizers = {self->regularizers, size(C.regularizers), C.regularizers};
    return v;
  }
};

/// The memory plan of a graph with at most C rows, kept as a constant.
template <graph_counts C>
struct plan_storage {
  placement places[C.values > 0 ? C.values : 1]{};
  long workspaces[C.nodes > 0 ? C.nodes : 1]{};
  memory_plan memory{};
};

constexpr step_row step_of(const graph& g, const node_row& n, long workspace) {
  step_row s;
  s.run = n.kernel.run, s.a = n.a, s.workspace = workspace;
  s.first_input = n.first_input, s.inputs = n.inputs;
  s.first_output = n.first_output, s.outputs = n.outputs;
  s.op = n.op->name, s.kernel = n.kernel.name, s.scope = n.scope;
  s.backward = n.backward, s.update = n.update, s.prepare = n.prepare;
  if (n.op->has_multiply_adds) s.multiply_adds = n.op->multiply_adds(g, n);
  return s;
}

constexpr void mark_needed_inputs(program& p) {
  for (const step_row& s : p.steps)
    for (int k = 0; k < s.inputs; ++k) {
      const placement& place = p.tensors[p.edges[s.first_input + k]].place;
      if (place.where == storage::input) p.inputs[place.index].needed = true;
    }
}

/// Lays the variables that lie in host memory alone behind all others.
constexpr void lay_out_variables(const graph& g, program& p) {
  for (const bool host : {false, true}) {
    for (int v = 0; v < p.variables.size(); ++v) {
      variable_row& row = p.variables[v];
      if ((g.values[row.value].where == storage::host_variable) != host) continue;
      row.offset = p.variable_elements;
      p.variable_elements = graph_builder::aligned_end(row.offset + row.dims.count());
    }
    if (!host) p.kernel_elements = p.variable_elements;
  }
}

/// Writes the program of a graph whose kernels are chosen and whose memory is planned into `p`.
constexpr void make_program(const graph& g, int scalar_bytes, const memory_plan& memory,
                            const placement* places, const long* workspaces, program& p) {
  p.memory = memory;
  p.batch = g.batch, p.output = g.output, p.total_loss = g.total_loss;
  p.scalar_bytes = scalar_bytes;
  for (int v = 0; v < g.values.size(); ++v)
    p.tensors.add({g.values[v].dims, g.values[v].type, g.values[v].batched, g.values[v].fetched,
                   places[v]});
  // Folding appends nodes that prepare behind their readers; as steps they come first.
  for (const bool prepare : {true, false}) {
    for (int i = 0; i < g.nodes.size(); ++i) {
      const node_row& n = g.nodes[i];
      if (n.dead || n.op->view || n.prepare != prepare) continue;
      p.steps.add(step_of(g, n, workspaces[i]));
      if (!n.update) p.first_update = p.steps.size();
    }
    if (prepare) p.first_run = p.steps.size();
  }
  for (int e : g.edges) p.edges.add(e);
  for (const auto& row : g.variables) p.variables.add(row);
  for (const auto& row : g.scopes) p.scopes.add(row);
  for (const auto& row : g.inputs) p.inputs.add(row);
  mark_needed_inputs(p);
  for (const auto& row : g.end_points) p.end_points.add(row);
  for (int loss : g.losses) p.losses.add(loss);
  for (int loss : g.regularizers) p.regularizers.add(loss);
  lay_out_variables(g, p);
}

/// A tensor as a kernel sees it: n images where the program has a batch.
struct tensor {
  void* data = nullptr;
  shape dims{};
  element type = element::scalar;

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

/// What a run of a program works on.
struct execution {
  std::byte* arena = nullptr;
  std::byte* prepared = nullptr;
  void* output = nullptr;  ///< the caller's memory for the output; null: it lies in the arena
  void* variables = nullptr;
  void* gradients = nullptr;
  const void* host_variables = nullptr;  ///< the arena of variables in host memory
  const void* const* inputs = nullptr;
  int n = 0;  ///< images in this run, at most the program's batch
  cpu_device* device = nullptr;
  unsigned long long random_key = 0;  ///< of this run: seed and step
  bool backwards = false;  ///< every other run: what was read last is still in the caches
  accelerator* on = nullptr;  ///< whose memory all this is; null: the CPU's
  void* stream = nullptr;     ///< the accelerator's own
};

/// Where a tensor of a program lies in a run of it.
inline void* data_at(const program& p, const execution& e, const tensor_row& row) {
  const placement& place = row.place;
  const auto variable_bytes = [&] { return p.variables[place.index].offset * p.scalar_bytes; };
  switch (place.where) {
    case storage::buffer:
      return place.output && e.output != nullptr ? e.output : e.arena + place.offset;
    case storage::prepared: return e.prepared + place.offset;
    case storage::input: return const_cast<void*>(e.inputs[place.index]);
    case storage::variable: return static_cast<std::byte*>(e.variables) + variable_bytes();
    case storage::gradient: return static_cast<std::byte*>(e.gradients) + variable_bytes();
    case storage::host_variable:
      return static_cast<std::byte*>(const_cast<void*>(e.host_variables)) + variable_bytes();
  }
  return nullptr;
}

// Apart from data_at, so that who asks for the data alone does not pay for a copy of the shape.
inline tensor tensor_at(const program& p, const execution& e, int value) {
  const tensor_row& row = p.tensors[value];
  tensor t{data_at(p, e, row), row.dims, row.type};
  if (row.batched) t.dims.extents[0] = e.n;
  return t;
}

/// One step of one run: the argument of every kernel.
class kernel_call {
 public:
  kernel_call(const program& p, const step_row& step, const execution& e)
      : p_(p), step_(step), e_(e) {}

  int inputs() const { return step_.inputs; }
  int outputs() const { return step_.outputs; }
  tensor in(int i) const { return tensor_at(p_, e_, p_.edges[step_.first_input + i]); }
  tensor out(int i = 0) const { return tensor_at(p_, e_, p_.edges[step_.first_output + i]); }
  const attributes& a() const { return step_.a; }
  int n() const { return e_.n; }
  cpu_device& device() const { return *e_.device; }
  template <class T>
  T* workspace() const {
    return reinterpret_cast<T*>(e_.arena + step_.workspace);
  }
  unsigned long long random_key() const { return e_.random_key; }
  /// Where kernels of an accelerator launch.
  void* stream() const { return e_.stream; }
  /// Whether a kernel may walk its weights from their end.
  bool backwards() const { return e_.backwards; }

 private:
  const program& p_;
  const step_row& step_;
  const execution& e_;
};

/// Runs steps [first, last).
inline void run_steps(const program& p, const execution& e, int first, int last) {
  for (int i = first; i < last; ++i) p.steps[i].run(kernel_call(p, p.steps[i], e));
}

/// Runs steps in place of run_steps and takes note of them: a profiler.
struct step_observer {
  virtual ~step_observer() = default;
  virtual void run(const program& p, const execution& e, int first, int last) = 0;
};

}  // namespace slim
