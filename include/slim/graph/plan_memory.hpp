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
};

/// Where a value's memory is: its own, or that of the value it shares memory with.
struct placement {
  storage where = storage::buffer;
  int index = -1;    ///< input or variable
  long offset = -1;  ///< in bytes, of a buffer in the arena; -1: it is never written
};

/// Every buffer starts on a cache line.
inline constexpr long buffer_alignment = 64;

constexpr long element_bytes(element e, int scalar_bytes) {
  return e == element::scalar ? scalar_bytes : e == element::int32 ? 4 : 1;
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
        shares_(g.values.size(), -1),
        birth_(g.values.size(), -1),
        last_(g.values.size(), -1) {
    follow_views();
    find_uses();
    work_in_place();
  }

  /// The value whose memory `value` uses.
  constexpr int root(int value) const {
    while (shares_[value] >= 0) value = shares_[value];
    return value;
  }
  constexpr int birth(int root) const { return birth_[root]; }  ///< node that first writes it
  constexpr int last_use(int root) const { return last_[root]; }

 private:
  constexpr void follow_views() {
    for (const node_row& n : g_.nodes)
      if (!n.dead && n.op->view) shares_[g_.output_of(n, 0)] = root(g_.input(n, 0));
  }
  constexpr void use(int value, int at) {
    const int r = root(value);
    if (last_[r] < at) last_[r] = at;
  }
  constexpr void find_uses() {
    for (int i = 0; i < g_.nodes.size(); ++i) {
      const node_row& n = g_.nodes[i];
      if (n.dead) continue;
      for (int k = 0; k < n.inputs; ++k) use(g_.input(n, k), i);
      for (int k = 0; k < n.outputs; ++k) {
        const int r = root(g_.output_of(n, k));
        if (birth_[r] < 0 && !n.op->view) birth_[r] = i;
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
      if (in == out || g_.values[in].where != storage::buffer || last_[in] != i) continue;
      if (birth_[in] < 0 || birth_[out] != i) continue;
      if (value_bytes(g_.values[in], scalar_bytes_) != value_bytes(g_.values[out], scalar_bytes_))
        continue;
      shares_[in] = out;
      birth_[out] = birth_[in];
    }
  }

  const graph& g_;
  int scalar_bytes_;
  scratch<int> shares_, birth_, last_;
};

/// Free ranges below the high-water mark, sorted by offset.
class hole_list {
 public:
  constexpr explicit hole_list(int capacity)
      : first_(capacity + 1, 0), size_(capacity + 1, 0) {}

  constexpr long take(long bytes) {
    for (int i = 0; i < holes_; ++i) {
      if (size_[i] < bytes) continue;
      const long offset = first_[i];
      first_[i] += bytes;
      size_[i] -= bytes;
      if (size_[i] == 0) remove(i);
      return offset;
    }
    // A hole that touches the end grows.
    if (holes_ > 0 && first_[holes_ - 1] + size_[holes_ - 1] == end_) {
      const long offset = first_[--holes_];
      end_ = offset + bytes;
      return offset;
    }
    end_ += bytes;
    return end_ - bytes;
  }
  constexpr void give(long offset, long bytes) {
    int i = holes_;
    while (i > 0 && first_[i - 1] > offset) --i;
    const bool joins_before = i > 0 && first_[i - 1] + size_[i - 1] == offset;
    const bool joins_after = i < holes_ && offset + bytes == first_[i];
    if (joins_before) {
      size_[i - 1] += bytes;
      if (joins_after) size_[i - 1] += size_[i], remove(i);
    } else if (joins_after) {
      first_[i] = offset, size_[i] += bytes;
    } else {
      for (int k = holes_; k > i; --k) first_[k] = first_[k - 1], size_[k] = size_[k - 1];
      first_[i] = offset, size_[i] = bytes;
      ++holes_;
    }
  }
  constexpr long end() const { return end_; }

 private:
  constexpr void remove(int i) {
    --holes_;
    for (int k = i; k < holes_; ++k) first_[k] = first_[k + 1], size_[k] = size_[k + 1];
  }

  scratch<long> first_, size_;
  int holes_ = 0;
  long end_ = 0;
};

/// Plans the arena: the place of every value and the offset of every node's workspace (or -1).
constexpr memory_plan plan_memory(const graph& g, int scalar_bytes, placement* places,
                                  long* workspaces) {
  const lifetimes lives(g, scalar_bytes);
  memory_plan plan;
  hole_list holes(g.values.size());
  scratch<int> dying(g.nodes.size(), -1);  // by node: the roots that die there, as a linked list
  scratch<int> next(g.values.size(), -1);
  scratch<long> offset(g.values.size(), -1);
  const auto place = [&](int value) {
    const int r = lives.root(value);
    if (offset[r] >= 0 || g.values[r].where != storage::buffer || lives.birth(r) < 0) return;
    offset[r] = holes.take(value_bytes(g.values[r], scalar_bytes));
    const int death = lives.last_use(r);
    if (death < g.nodes.size()) next[r] = dying[death], dying[death] = r;
  };
  for (int i = 0; i < g.nodes.size(); ++i) {
    const node_row& n = g.nodes[i];
    workspaces[i] = -1;
    if (n.dead) continue;
    if (!n.op->view)
      for (int k = 0; k < n.outputs; ++k) place(g.output_of(n, k));
    if (n.kernel.workspace_bytes > 0) {
      const long bytes = (n.kernel.workspace_bytes + buffer_alignment - 1) & -buffer_alignment;
      workspaces[i] = holes.take(bytes);
      holes.give(workspaces[i], bytes);
      if (bytes > plan.workspace_bytes) plan.workspace_bytes = bytes;
    }
    for (int r = dying[i]; r >= 0; r = next[r])
      holes.give(offset[r], value_bytes(g.values[r], scalar_bytes));
  }
  for (int v = 0; v < g.values.size(); ++v) {
    const int r = lives.root(v);
    places[v] = {g.values[r].where, g.values[r].index, offset[r]};
  }
  plan.bytes = holes.end();
  return plan;
}

}  // namespace slim
