// From a lowered network to its programs: the passes in order, once for inference and once for
// training. Each pass is a constant of its own, with room for just what it may add: that keeps
// every one of them well inside the limits compilers put on a constant expression.
#pragma once

#include "graph/bring.hpp"
#include "graph/choose.hpp"
#include "graph/differentiate.hpp"
#include "graph/fold.hpp"
#include "graph/fuse.hpp"
#include "graph/narrow.hpp"
#include "graph/program.hpp"
#include "graph/prune.hpp"
#include "network.hpp"
#include "op/batch_norm.hpp"

namespace slim {

/// The ops that passes put in themselves.
struct added_ops {
  differentiation_ops differentiating;
  preparation_ops preparing;
  const op_info* bring;
};
template <class Target>
inline constexpr added_ops added_ops_of{
    {&op_info_of<op::add, Target>, &op_info_of<op::one, Target>, &op_info_of<op::copy, Target>},
    {&op_info_of<op::prepared_weights, Target>, &op_info_of<op::scale_columns, Target>},
    &op_info_of<op::bring, Target>};

/// The passes, in the order they run. Inference takes all but `differentiate` and `fuse_backward`,
/// training all but `fold`.
///
/// Fusion runs before differentiation, so that the backward program is that of the fused nodes, and
/// again on the backward nodes.
enum class pass { fold, fuse_forward, differentiate, fuse_backward, choose };

/// Runs one pass on a graph that holds what the pass before it left.
constexpr void run_pass(graph_builder& b, pass which, bool training, const added_ops& ops,
                        const backend_traits& traits = {}) {
  b.training = training;
  if (b.failed()) return;
  switch (which) {
    case pass::fold:
      turn_to_inference(b.g);
      drop_unused(b.g, false);
      fold(b);
      return mark_prepared(b.g);
    case pass::fuse_forward:
      if (training) drop_unused(b.g, true);
      return fuse(b);
    case pass::differentiate: return differentiate(b, ops.differentiating);
    case pass::fuse_backward:
      fuse(b);
      return drop_unused(b.g, training);
    case pass::choose:
      if (traits.apart) bring_from_host(b, *ops.bring);
      if (traits.narrow) narrow(b.g);
      return choose_kernels(b, ops.preparing, !training || traits.prepares_training);
  }
}

/// Room a pass needs on top of the living rows it is given.
constexpr graph_counts room_for(pass which, const graph& g) {
  if (which == pass::differentiate) return differentiated(g);
  if (which == pass::fold) return folded(g);
  if (which == pass::choose) return chosen(g) + brought(g);
  graph_counts room = living(g);
  room.edges += 6 * room.nodes + 8;  // a fused node has at most that many inputs for each it was
  return room;
}

namespace detail {

/// The graph `Before` after one pass.
template <class Target, class Before, pass Which, bool Training>
struct after_pass {
  static constexpr auto run() {
    constexpr graph_counts room = room_for(Which, Before::view());
    pass_storage<room> storage;
    graph g = storage.view(Before::view());
    copy_living(Before::view(), g);
    builder<Target> b(g);
    run_pass(b, Which, Training, added_ops_of<Target>, traits_of<typename Target::backend>());
    storage.keep(g);
    return storage;
  }
  static constexpr auto storage = run();
  static constexpr graph view() { return storage.view(Before::view()); }
};

template <class Target, class Lowering, bool Training>
struct all_passes {
  using folded = after_pass<Target, Lowering, pass::fold, false>;
  using fused = after_pass<Target, folded, pass::fuse_forward, false>;
  using last = after_pass<Target, fused, pass::choose, false>;
};
template <class Target, class Lowering>
struct all_passes<Target, Lowering, true> {
  using fused = after_pass<Target, Lowering, pass::fuse_forward, true>;
  using differentiated = after_pass<Target, fused, pass::differentiate, true>;
  using backward = after_pass<Target, differentiated, pass::fuse_backward, true>;
  using last = after_pass<Target, backward, pass::choose, true>;
};

template <graph_counts C>
constexpr auto make_plan(const graph& g, int scalar_bytes) {
  plan_storage<C> plan;
  plan.memory = plan_memory(g, scalar_bytes, plan.places, plan.workspaces);
  return plan;
}

template <program_counts C, class Plan>
constexpr auto store_program(const graph& g, const Plan& plan, int scalar_bytes) {
  program_storage<C> storage;
  program p = storage.view(false);
  make_program(g, scalar_bytes, plan.memory, plan.places, plan.workspaces, p);
  storage.facts = p;
  return storage;
}

/// The memory plan, and the program, of the graph `Last`; each a constant of its own.
template <class Last, int ScalarBytes>
struct planned {
  static constexpr auto storage = make_plan<Last::view().counts()>(Last::view(), ScalarBytes);
};
template <class Last, int ScalarBytes>
struct programmed {
  static constexpr auto storage = store_program<count_program(Last::view())>(
      Last::view(), planned<Last, ScalarBytes>::storage, ScalarBytes);
  static constexpr program value = storage.view();
};

/// One of a network's programs. Lowering is the network's (see network.hpp).
template <class Target, class Lowering, bool Training>
struct compiled {
  using passes = all_passes<Target, Lowering, Training>;
  using last = typename passes::last;
  static constexpr graph view() { return last::view(); }
  static constexpr message failure() {
    if constexpr (Lowering::refused)
      return {};
    else
      return last::view().failure;
  }

  /// A network that lowering refused has no program, and nothing more is said of it.
  static constexpr program program_view() {
    if constexpr (Lowering::refused)
      return {};
    else
      return result<last>::value;
  }

 private:
  using pieces = std::make_index_sequence<static_cast<std::size_t>(cut(failure()).count)>;
  static constexpr bool (*explanation)(pieces) = &explain<compiled>;
  template <class Last>
  using result = programmed<std::conditional_t<said(explanation), Last, void>,
                            sizeof(typename Target::scalar)>;

 public:
  static constexpr bool explained = said(explanation);
};

/// Explains what the passes refused of a model's programs, once.
template <class Inference, class Training, bool Trains>
constexpr bool compiles() {
  using other = std::conditional_t<Trains && Inference::failure().empty(), Training, Inference>;
  return Inference::explained && other::explained;
}

}  // namespace detail
}  // namespace slim
