// A graph built at run time: the passes and kernels are ordinary functions, so a grid of hundreds
// of cases needs no types of its own.
#pragma once

#include <slim/slim.hpp>

namespace slim_test {

/// Tables with room for `capacity` nodes.
class dynamic_graph {
 public:
  explicit dynamic_graph(int capacity = 64)
      : nodes_(size(capacity)), values_(size(4 * capacity)), edges_(size(32 * capacity)),
        variables_(size(capacity)), scopes_(size(capacity)), buckets_(size(capacity)),
        inputs_(8), end_points_(size(capacity)), heads_(8), losses_(size(capacity)),
        regularizers_(size(capacity)) {
    g.nodes = {nodes_.data(), 0, capacity};
    g.values = {values_.data(), 0, 4 * capacity};
    g.edges = {edges_.data(), 0, 32 * capacity};
    g.variables = {variables_.data(), 0, capacity};
    g.scopes = {scopes_.data(), 0, capacity};
    g.scope_buckets = {buckets_.data(), capacity, capacity};
    g.inputs = {inputs_.data(), 0, 8};
    g.end_points = {end_points_.data(), 0, capacity};
    g.heads = {heads_.data(), 0, 8};
    g.losses = {losses_.data(), 0, capacity};
    g.regularizers = {regularizers_.data(), 0, capacity};
  }
  dynamic_graph(const dynamic_graph&) = delete;

  slim::graph g;

 private:
  static std::size_t size(int n) { return static_cast<std::size_t>(n); }

  std::vector<slim::node_row> nodes_;
  std::vector<slim::value_row> values_;
  std::vector<int> edges_;
  std::vector<slim::variable_row> variables_;
  std::vector<slim::scope_row> scopes_;
  std::vector<int> buckets_;
  std::vector<slim::input_row> inputs_;
  std::vector<slim::end_point_row> end_points_;
  std::vector<int> heads_, losses_, regularizers_;
};

/// The program of a graph whose kernels are chosen.
class dynamic_program {
 public:
  dynamic_program(const slim::graph& g, int scalar_bytes)
      : steps_(size(g.nodes.size())), tensors_(size(g.values.size())), edges_(size(g.edges.size())),
        variables_(size(g.variables.size())), scopes_(size(g.scopes.size())),
        inputs_(size(g.inputs.size())), end_points_(size(g.end_points.size())),
        losses_(size(g.losses.size())), regularizers_(size(g.regularizers.size())) {
    const auto bind = [](auto& table, auto& rows) {
      table = {rows.data(), 0, static_cast<int>(rows.size())};
    };
    bind(p.steps, steps_), bind(p.tensors, tensors_), bind(p.edges, edges_);
    bind(p.variables, variables_), bind(p.scopes, scopes_), bind(p.inputs, inputs_);
    bind(p.end_points, end_points_), bind(p.losses, losses_), bind(p.regularizers, regularizers_);
    std::vector<slim::placement> places(size(g.values.size()));
    std::vector<long> workspaces(size(g.nodes.size()));
    const slim::memory_plan memory =
        slim::plan_memory(g, scalar_bytes, places.data(), workspaces.data());
    slim::make_program(g, scalar_bytes, memory, places.data(), workspaces.data(), p);
  }
  dynamic_program(const dynamic_program&) = delete;

  slim::program p;

 private:
  static std::size_t size(int n) { return static_cast<std::size_t>(n) + 1; }

  std::vector<slim::step_row> steps_;
  std::vector<slim::tensor_row> tensors_;
  std::vector<int> edges_;
  std::vector<slim::variable_row> variables_;
  std::vector<slim::scope_row> scopes_;
  std::vector<slim::input_row> inputs_;
  std::vector<slim::end_point_row> end_points_;
  std::vector<int> losses_, regularizers_;
};

/// All passes, one after another on the same tables.
template <class Target>
void compile_for_inference(slim::builder<Target>& b) {
  using slim::pass;
  for (const pass p : {pass::fold, pass::fuse_forward, pass::choose})
    slim::run_pass(b, p, false, slim::added_ops_of<Target>);
}
template <class Target>
void compile_for_training(slim::builder<Target>& b) {
  using slim::pass;
  for (const pass p : {pass::fuse_forward, pass::differentiate, pass::fuse_backward, pass::choose})
    slim::run_pass(b, p, true, slim::added_ops_of<Target>);
}

/// sum(x * g): a test's loss, whose gradient with respect to x is the input g.
struct dot_loss {
  static constexpr std::string_view name = "dot_loss";
  static constexpr void infer(slim::inference& s) { s.out(slim::shape{}, false); }
  template <class B>
  static constexpr void gradient(B& b, slim::gradient_of& g);
};
/// (g, dloss) -> g * dloss.
struct dot_loss_backward {
  static constexpr std::string_view name = "dot_loss_backward";
  static constexpr void infer(slim::inference& s) { s.out(s.in(0), s.batched(0)); }
};
template <class B>
constexpr void dot_loss::gradient(B& b, slim::gradient_of& g) {
  g.give(0, b.template add<dot_loss_backward>({g.in(1), g.incoming()}));
}

/// One network of one op or a few: `build(b, x)` appends it for the input x and returns its output.
/// Variables are filled, and the images' gradient is had, by making x a variable.
template <class T, class Backend>
class dynamic_model {
 public:
  using builder_type = slim::builder<slim::target<T, Backend>>;

  /// `x_dims` is the input's shape, batch first; with `differentiate` the loss is sum(y * g), where
  /// g is the second input, shaped like y, and x is a variable named "x", so that gradient("x") is
  /// its gradient. Throws std::runtime_error with the graph's failure.
  template <class Build>
  dynamic_model(const slim::shape& x_dims, bool differentiate, slim::cpu_device& device,
                Build build) {
    builder_type b(graph_.g);
    int x = -1;
    if (differentiate) {
      b.g.batch = x_dims[0];
      b.enter("input");
      x = b.add_variable("x", x_dims, &slim::variable_hooks_of<T, slim::constant<slim::zeros{}>>,
                         true);
      b.g.values[x].batched = false;
      b.scope = -1;
    } else {
      x = b.add_input("x", x_dims, slim::element::scalar);
    }
    b.g.output = build(b, x);
    if (differentiate && !b.failed() && b.g.losses.size() == 0) {
      const int g = b.add_input("g", b.g.values[b.g.output].dims, slim::element::scalar);
      b.g.losses.add(b.template add<dot_loss>({b.g.output, g}));
    }
    if (differentiate)
      compile_for_training(b);
    else
      compile_for_inference(b);
    if (b.failed()) throw std::runtime_error(std::string(b.g.failure.view()));
    program_ = std::make_unique<dynamic_program>(graph_.g, static_cast<int>(sizeof(T)));
    run_ = std::make_unique<slim::runner<T>>(&device, program_->p,
                                             differentiate ? &program_->p : nullptr);
  }

  slim::runner<T>& run() { return *run_; }
  const slim::program& program() const { return program_->p; }
  const slim::graph& graph() const { return graph_.g; }

  /// The number of the variable whose name ends in `leaf`.
  int find(std::string_view leaf) const {
    for (int v = 0; v < program_->p.variables.size(); ++v)
      if (program_->p.variables[v].leaf == leaf) return v;
    throw std::runtime_error("no variable " + std::string(leaf));
  }
  slim::tensor_view<T> variable(std::string_view leaf) { return run_->variable(find(leaf)); }
  slim::tensor_view<T> gradient(std::string_view leaf) { return run_->gradient(find(leaf)); }

 private:
  dynamic_graph graph_{128};
  std::unique_ptr<dynamic_program> program_;
  std::unique_ptr<slim::runner<T>> run_;
};

}  // namespace slim_test

template <class T>
struct slim::kernel_of<slim_test::dot_loss, T, slim::backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) { return {"test", &run, 0}; }
  static void run(const kernel_call& call) {
    const tensor x = call.in(0), g = call.in(1);
    double sum = 0;
    for (long i = 0; i < x.dims.count(); ++i)
      sum += double(x.as<const T>()[i]) * double(g.as<const T>()[i]);
    *call.out().as<T>() = static_cast<T>(sum);
  }
};
template <class T>
struct slim::kernel_of<slim_test::dot_loss_backward, T, slim::backend::eigen> {
  static constexpr kernel_choice choose(const graph&, const node_row&) { return {"test", &run, 0}; }
  static void run(const kernel_call& call) {
    const tensor g = call.in(0), y = call.out();
    for (long i = 0; i < y.dims.count(); ++i)
      y.as<T>()[i] = g.as<const T>()[i] * *call.in(1).as<const T>();
  }
};
