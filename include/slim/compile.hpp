// From a lowered network to its programs: the passes in order, once for inference and once for
// training, each a constant.
#pragma once

#include "graph/choose.hpp"
#include "graph/differentiate.hpp"
#include "graph/fuse.hpp"
#include "graph/program.hpp"
#include "graph/prune.hpp"
#include "network.hpp"

namespace slim {

/// Rows a program's graph may need beyond the lowered ones: fusion rewrites edges.
constexpr graph_counts compiled_room(const graph_counts& lowered, bool training) {
  graph_counts room = training ? differentiated(lowered) : lowered;
  room.edges += 6 * room.nodes + 16;
  return room;
}

/// The forward program: what the output and the fetched values need.
constexpr void compile_for_inference(graph_builder& b) {
  drop_training_ops(b.g);
  drop_unused(b.g, false);
  fuse(b);
  choose_kernels(b);
}

/// Forward, losses and backward. Fusion runs before differentiation, so that the backward program
/// is that of the fused nodes, and again on the backward nodes.
constexpr void compile_for_training(graph_builder& b, const differentiation_ops& ops) {
  b.training = true;
  drop_unused(b.g, true);
  fuse(b);
  differentiate(b, ops);
  fuse(b);
  drop_unused(b.g, true);
  choose_kernels(b);
}

namespace detail {

template <class Target, graph_counts Room, bool Training>
constexpr auto compile_graph(const graph& lowered) {
  graph_storage<Room> storage;
  graph g = storage.view();
  copy_graph(lowered, g);
  builder<Target> b(g);
  if constexpr (Training) {
    compile_for_training(b, {&op_info_of<op::add, Target>, &op_info_of<op::one, Target>,
                             &op_info_of<op::copy, Target>});
  } else {
    compile_for_inference(b);
  }
  storage.keep(g);
  return storage;
}

template <program_counts C>
constexpr auto store_program(const graph& g, int scalar_bytes) {
  program_storage<C> storage;
  program p = storage.view();
  make_program(g, scalar_bytes, p);
  storage.keep(p);
  return storage;
}

/// One of a network's programs. Lowering is the network's (see network.hpp).
template <class Target, class Lowering, bool Training>
struct compiled {
  static constexpr graph_counts room = compiled_room(Lowering::view().counts(), Training);
  static constexpr auto storage = compile_graph<Target, room, Training>(Lowering::view());
  static constexpr graph view() { return storage.view(); }

  using pieces = std::make_index_sequence<static_cast<std::size_t>(cut(storage.failure).count)>;
  static constexpr bool (*explanation)(pieces) = &explain<compiled>;

  static constexpr program_counts counts =
      explanation != nullptr ? count_program(view()) : program_counts{};
  static constexpr auto stored =
      store_program<counts>(view(), static_cast<int>(sizeof(typename Target::scalar)));
  static constexpr program program_view() { return stored.view(); }
};

}  // namespace detail
}  // namespace slim
