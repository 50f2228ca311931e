// Offsets into one arena, from the lifetimes of the values: first fit over a sorted list of holes.
// Views share their input's memory, and an op that can work in place takes over an input that
// nobody reads afterwards.
#pragma once

#include "builder.hpp"
#include "scratch.hpp"

namespace slim {

/// Where every value of a graph and the workspace of every node lie, in bytes.
struct memory_plan {
  long bytes = 0;            ///< the peak: the arena's size
  long workspace_bytes = 0;  ///< of which the largest workspace
  long prepared_bytes = 0;   ///< of the arena of prepared values
};

/// Where a value's memory is: its own, or that of the value it shares memory with.
struct placement {
  storage where = storage::buffer;
  int index = -1;    ///< input or variable
  long offset = -1;  ///< in bytes, into the arena (or that of prepared values); -1: never written
  bool output = false;  ///< the network's output, which may lie in the caller's memory instead
};

/// Every buffer starts on a cache line.
inline constexpr long buffer_alignment = 64;

constexpr long element_bytes(element e, int scalar_bytes) {
  switch (e) {
    case element::scalar: return scalar_bytes;
    case element::int32: return 4;
    case element::bfloat16: return 2;
    case element::byte: break;
  }
  return 1;
}
constexpr long value_bytes(const value_row& v, int scalar_bytes) {
  const long bytes = v.dims.count() * element_bytes(v.type, scalar_bytes);
  return (bytes + buffer_alignment - 1) / buffer_alignment * buffer_alignment;
}

/// Which values share memory, and from which to which node each piece of memory is in use.
class lifetimes {
 public:
  static constexpr int for_ever = 1 << 30;

  constexpr lifetimes(const graph& g, int scalar_bytes)
      : g_(g),
        scalar_bytes_(scalar_bytes),
        shares_(g.values.size()),
        birth_(g.values.size()),
        last_(g.values.size()) {
    follow_views();
    find_uses();
    work_in_place();
  }

  /// The value whose memory `value` uses.
  constexpr int root(int value) const {
    while (shares_[value] > 0) value = shares_[value] - 1;
    return value;
  }
  /// The node that first writes it, or -1.
  constexpr int birth(int root) const { return birth_[root] - 1; }
  constexpr int last_use(int root) const { return last_[root] - 1; }

 private:
  constexpr void follow_views() {
    for (const node_row& n : g_.nodes)
      if (!n.dead && n.op->view) shares_[g_.output_of(n, 0)] = root(g_.input(n, 0)) + 1;
  }
  constexpr void use(int value, int at) {
    const int r = root(value);
    if (last_[r] < at + 1) last_[r] = at + 1;
  }
  constexpr void find_uses() {
    for (int i = 0; i < g_.nodes.size(); ++i) {
      const node_row& n = g_.nodes[i];
      if (n.dead) continue;
      for (int k = 0; k < n.inputs; ++k) use(g_.input(n, k), i);
      for (int k = 0; k < n.outputs; ++k) {
        const int r = root(g_.output_of(n, k));
        if (birth_[r] == 0 && !n.op->view) birth_[r] = i + 1;
        use(r, i);
      }
    }
    for (int i = 0; i < g_.values.size(); ++i)
      if (g_.values[i].fetched) use(i, for_ever);
    if (g_.output >= 0) use(g_.output, for_ever);
    if (g_.total_loss >= 0) use(g_.total_loss, for_ever);
    for (int loss : g_.losses) use(loss, for_ever);
    for (int loss : g_.regularizers) use(loss, for_ever);
  }
  // Backwards, so that a chain of in-place ops ends in the memory of its last value.
  constexpr void work_in_place() {
    for (int i = g_.nodes.size() - 1; i >= 0; --i) {
      const node_row& n = g_.nodes[i];
      if (n.dead || n.op->in_place < 0 || n.op->in_place >= n.inputs) continue;
      const int in = root(g_.input(n, n.op->in_place)), out = root(g_.output_of(n, 0));
      if (in == out || g_.values[in].where != storage::buffer || last_use(in) != i) continue;
      if (birth(in) < 0 || birth(out) != i) continue;
      if (value_bytes(g_.values[in], scalar_bytes_) != value_bytes(g_.values[out], scalar_bytes_) ||
          g_.values[in].type != g_.values[out].type)
        continue;
      shares_[in] = out + 1;
      birth_[out] = birth_[in];
    }
  }

  const graph& g_;
  int scalar_bytes_;
  scratch<int> shares_, birth_, last_;  // plus one; 0 is none
};

/// Free ranges below the high-water mark, as a list sorted by offset. Taking looks from the front
/// (first fit), giving from the back, where the most recent buffers lie.
class hole_list {
 public:
  constexpr explicit hole_list(int capacity) : holes_(capacity + 2) {}

  constexpr long take(long bytes) {
    for (int i = holes_[head].next; i != head; i = holes_[i].next) {
      hole& h = holes_[i];
      if (h.size < bytes) continue;
      const long offset = h.first;
      h.first += bytes, h.size -= bytes;
      if (h.size == 0) unlink(i);
      return offset;
    }
    // A hole that touches the end grows.
    const int last = holes_[head].previous;
    long offset = end_;
    if (last != head && holes_[last].first + holes_[last].size == end_) {
      offset = holes_[last].first;
      unlink(last);
    }
    end_ = offset + bytes;
    return offset;
  }
  /// The offset of `bytes` that stay free: for a workspace, used before anything else is taken.
  constexpr long lend(long bytes) {
    for (int i = holes_[head].next; i != head; i = holes_[i].next)
      if (holes_[i].size >= bytes) return holes_[i].first;
    const long offset = take(bytes);
    give(offset, bytes);
    return offset;
  }
  constexpr void give(long offset, long bytes) {
    int before = holes_[head].previous;
    while (before != head && holes_[before].first > offset) before = holes_[before].previous;
    const int after = holes_[before].next;
    if (after != head && offset + bytes == holes_[after].first) {
      bytes += holes_[after].size;
      unlink(after);
    }
    if (before != head && holes_[before].first + holes_[before].size == offset)
      holes_[before].size += bytes;
    else
      link(before, offset, bytes);
  }
  constexpr long end() const { return end_; }

 private:
  static constexpr int head = 0;
  struct hole {
    long first = 0, size = 0;
    int previous = 0, next = 0;
  };

  constexpr void link(int before, long offset, long bytes) {
    const int i = unused_ > 0 ? unused_ : ++made_;
    if (unused_ > 0) unused_ = holes_[unused_].next;
    const int after = holes_[before].next;
    holes_[i] = {offset, bytes, before, after};
    holes_[before].next = holes_[after].previous = i;
  }
  constexpr void unlink(int i) {
    holes_[holes_[i].previous].next = holes_[i].next;
    holes_[holes_[i].next].previous = holes_[i].previous;
    holes_[i].next = unused_;
    unused_ = i;
  }

  scratch<hole> holes_;
  int made_ = 0, unused_ = 0;
  long end_ = 0;
};

/// Plans the arena: the place of every value and the offset of every node's workspace (or -1).
constexpr memory_plan plan_memory(const graph& g, int scalar_bytes, placement* places,
                                  long* workspaces) {
  const lifetimes lives(g, scalar_bytes);
  memory_plan plan;
  hole_list holes(g.values.size());
  // Plus one: the first root that dies at each node, and the next that dies with a root; offsets.
  scratch<int> dying(g.nodes.size()), next(g.values.size());
  scratch<long> offset(g.values.size());
  const auto place = [&](int value) {
    const int r = lives.root(value), death = lives.last_use(r);
    if (offset[r] > 0 || g.values[r].where != storage::buffer || lives.birth(r) < 0) return;
    offset[r] = holes.take(value_bytes(g.values[r], scalar_bytes)) + 1;
    if (death < g.nodes.size()) next[r] = dying[death], dying[death] = r + 1;
  };
  // Small values that stay (losses) go to the front, where they split no hole.
  constexpr long small = 4096;
  for (int v = 0; v < g.values.size(); ++v)
    if (lives.last_use(v) == lifetimes::for_ever && value_bytes(g.values[v], scalar_bytes) <= small)
      place(v);
  for (int i = 0; i < g.nodes.size(); ++i) {
    const node_row& n = g.nodes[i];
    workspaces[i] = -1;
    if (n.dead) continue;
    if (!n.op->view)
      for (int k = 0; k < n.outputs; ++k) place(g.output_of(n, k));
    if (n.kernel.workspace_bytes > 0) {
      const long bytes = (n.kernel.workspace_bytes + buffer_alignment - 1) & -buffer_alignment;
      workspaces[i] = holes.lend(bytes);
      if (bytes > plan.workspace_bytes) plan.workspace_bytes = bytes;
    }
    for (int r = dying[i]; r > 0; r = next[r - 1])
      holes.give(offset[r - 1] - 1, value_bytes(g.values[r - 1], scalar_bytes));
  }
  for (int v = 0; v < g.values.size(); ++v) {
    if (g.values[v].where != storage::prepared || lives.birth(v) < 0) continue;
    offset[v] = plan.prepared_bytes + 1;
    plan.prepared_bytes += value_bytes(g.values[v], scalar_bytes);
  }
  const int output = g.output < 0 ? -1 : lives.root(g.output);
  for (int v = 0; v < g.values.size(); ++v) {
    const int r = lives.root(v);
    places[v] = {g.values[r].where, g.values[r].index, offset[r] - 1,
                 r == output && g.values[r].where == storage::buffer};
  }
  plan.bytes = holes.end();
  return plan;
}

}  // namespace slim
