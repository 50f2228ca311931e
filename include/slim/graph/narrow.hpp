// Mixed precision (Micikevicius et al., ICLR 2018): activations and their gradients as bfloat16,
// what is one number a channel, a variable or a loss as the model's own type.
#pragma once

#include "builder.hpp"
#include "scratch.hpp"

namespace slim {

namespace detail {

/// Which values become bfloat16. A view has the elements of what it shows: the values that share
/// memory are decided together, by their first.
class narrowing {
 public:
  constexpr explicit narrowing(const graph& g)
      : g_(g), shares_(g.values.size()), wide_(g.values.size()), reads_(g.values.size()) {
    for (const node_row& n : g.nodes)
      if (!n.dead && n.op->view) shares_[g.output_of(n, 0)] = first_of(g.input(n, 0)) + 1;
    for (int v = 0; v < g.values.size(); ++v)
      if (!may_be(g.values[v])) wide_[first_of(v)] = true;
    for (const node_row& n : g.nodes) count(n);
  }

  constexpr bool is_narrow(int value) const {
    const int first = first_of(value);
    return !wide_[first] && (reads_[first].narrow > 0 || !reads_[first].stays);
  }

 private:
  struct readers {
    int narrow = 0;      ///< nodes that read it as bfloat16
    bool stays = false;  ///< it is wide unless there are some
  };

  constexpr int first_of(int value) const {
    return shares_[value] > 0 ? shares_[value] - 1 : value;
  }
  static constexpr bool may_be(const value_row& v) {
    return v.type == element::scalar && v.batched && v.dims.rank > 1 &&
           (v.where == storage::buffer || v.where == storage::input);
  }
  constexpr void count(const node_row& n) {
    if (n.dead || n.op->view) return;
    for (int k = 0; k < n.inputs; ++k) {
      readers& r = reads_[first_of(g_.input(n, k))];
      if (n.op->full_precision)
        r.stays |= g_.values[first_of(g_.input(n, k))].where == storage::input;
      else
        ++r.narrow;
    }
    for (int k = 0; k < n.outputs && n.op->full_precision; ++k)
      reads_[first_of(g_.output_of(n, k))].stays = true;
  }

  const graph& g_;
  scratch<int> shares_;  // plus one; 0: its own
  scratch<bool> wide_;   // that one of those that share it cannot be narrow
  scratch<readers> reads_;
};

}  // namespace detail

/// Makes bfloat16 of every value that grows with the batch and has more than one number an example,
/// inputs included. Variables, their gradients, statistics and losses stay as they are, and so does
/// what goes from loss to loss, and inputs that only losses read: labels.
constexpr void narrow(graph& g) {
  const detail::narrowing chosen(g);
  for (int v = 0; v < g.values.size(); ++v)
    if (chosen.is_narrow(v) && g.values[v].type == element::scalar)
      g.values[v].type = element::bfloat16;
}

}  // namespace slim
