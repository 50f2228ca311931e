// Softmax over the last axis, and cross entropy. A loss lowers itself to log_softmax, a row-wise
// cross entropy and a weighted mean; fusion makes one node of the three.
#pragma once

#include "../graph/fuse.hpp"
#include "elementwise.hpp"

namespace slim::op {

/// (y, dy) -> (dy - sum(dy y)) y.
struct softmax_backward {
  static constexpr std::string_view name = "softmax_backward";
  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
};

struct softmax {
  static constexpr std::string_view name = "softmax";
  static constexpr void infer(inference& s) {
    if (s.in(0).rank < 2) return s.fail("needs a rank of 2 or more, not ", s.in(0));
    s.out(s.in(0), s.batched(0));
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    g.give(0, b.template add<softmax_backward>({g.out(), g.incoming()}));
  }
};

/// (y, dy) of log softmax -> dy - exp(y) sum(dy).
struct log_softmax_backward {
  static constexpr std::string_view name = "log_softmax_backward";
  static constexpr bool full_precision = true;
  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
};

struct log_softmax {
  static constexpr std::string_view name = "log_softmax";
  static constexpr bool full_precision = true;
  static constexpr void infer(inference& s) { softmax::infer(s); }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    g.give(0, b.template add<log_softmax_backward>({g.out(), g.incoming()}));
  }
  template <class B>
  static constexpr int fuse(B& b, fusion& f);
};

/// (log p [n, k], labels, drows [n]) -> -drows * target [n, k], for labels as cross_entropy_rows
/// takes them.
struct cross_entropy_rows_backward {
  static constexpr std::string_view name = "cross_entropy_rows_backward";
  static constexpr bool full_precision = true;
  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
};

/// (log p [n, k], labels) -> -sum(target log p) [n]. Labels are ints [n] or a distribution [n, k];
/// a.number smooths the latter: target = labels (1 - a.number) + a.number / k.
struct cross_entropy_rows {
  static constexpr std::string_view name = "cross_entropy_rows";
  static constexpr bool full_precision = true;
  static constexpr void infer(inference& s) {
    check(s, s.in(0), s.value(1));
    if (!s.b.failed()) s.out(shape{s.in(0)[0]}, s.batched(0));
  }
  static constexpr void check(inference& s, const shape& logits, const value_row& labels) {
    if (logits.rank != 2) return s.fail("needs logits [n,classes], not ", logits);
    if (labels.type == element::int32) {
      if (!(labels.dims == shape{logits[0]}))
        s.fail("labels ", labels.dims, " do not fit logits ", logits, ": ", shape{logits[0]},
               " would");
    } else if (!(labels.dims == logits)) {
      s.fail("one-hot labels ", labels.dims, " do not fit logits ", logits);
    }
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    g.give(0,
           b.template add<cross_entropy_rows_backward>({g.in(0), g.in(1), g.incoming()}, g.node.a));
  }
};

/// (losses, dloss[, weights]) -> dlosses, for weighted_mean.
struct weighted_mean_backward {
  static constexpr std::string_view name = "weighted_mean_backward";
  static constexpr bool full_precision = true;
  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
};
/// (losses, dloss, weights) -> dweights.
struct weighted_mean_weights_backward {
  static constexpr std::string_view name = "weighted_mean_weights_backward";
  static constexpr bool full_precision = true;
  static constexpr void infer(inference& s) { s.out(s.in(2), s.batched(2)); }
};

/// (losses[, weights]) -> sum(a.number weights losses) / number of losses with a non-zero weight;
/// 0 if there are none. a.integer = 1: the sum itself. The shape of the weights is a prefix of the
/// losses', once its last extent is dropped if that is 1 (and not the only one): a weight serves
/// all losses of the axes behind.
struct weighted_mean {
  static constexpr std::string_view name = "weighted_mean";
  static constexpr bool full_precision = true;
  static constexpr void infer(inference& s) {
    if (s.inputs() > 1) check(s);
    s.out(shape{}, false);
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    const attributes& a = g.node.a;
    const int dloss = g.incoming();
    if (g.node.inputs == 1)
      return g.give(0, b.template add<weighted_mean_backward>({g.in(0), dloss}, a));
    if (g.wanted(0))
      g.give(0, b.template add<weighted_mean_backward>({g.in(0), dloss, g.in(1)}, a));
    if (g.wanted(1))
      g.give(1, b.template add<weighted_mean_weights_backward>({g.in(0), dloss, g.in(1)}, a));
  }

 private:
  static constexpr bool prefix(const shape& given, const shape& of) {
    const int rank = given.rank > 1 && given.back() == 1 ? given.rank - 1 : given.rank;
    if (rank > of.rank) return false;
    for (int i = 0; i < rank; ++i)
      if (given[i] != of[i]) return false;
    return true;
  }
  /// "[2], [2,3] or [2,3,4]", outermost axes first.
  static constexpr message prefixes(shape of) {
    message m;
    const int rank = of.rank;
    for (of.rank = 1; of.rank <= rank; ++of.rank)
      m << (of.rank == 1 ? "" : of.rank == rank ? " or " : ", ") << of;
    return m;
  }
  static constexpr void check(inference& s) {
    const shape& losses = s.in(0);
    if (s.value(1).type != element::scalar) return s.fail("weights must not be ints");
    if (!prefix(s.in(1), losses))
      return s.fail("weights ", s.in(1), " do not fit losses ", losses, ": ",
                    losses.rank == 0 ? std::string_view("none") : prefixes(losses).view(),
                    " would");
    if (s.batched(0) && !s.batched(1)) s.fail("weights ", s.in(1), " are not one an example");
  }
};

/// (gradient [n, k], dloss) -> gradient * dloss.
struct scale {
  static constexpr std::string_view name = "scale";
  static constexpr int in_place = 0;
  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
};

/// (logits [n, k], labels[, weights]) -> the loss; in training also its gradient with respect to
/// the logits. a.number smooths one-hot labels, a.second weights all.
struct softmax_cross_entropy {
  static constexpr std::string_view name = "softmax_cross_entropy";
  static constexpr bool full_precision = true;
  static constexpr void infer(inference& s) { s.fail("is made by fusion only"); }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    value_row row = b.g.values[g.in(0)];
    row.where = storage::buffer, row.fetched = false, row.index = -1;
    const int gradient = b.add_output(g.number, row);
    const int dloss = g.incoming();
    g.give(0, dloss == b.one ? gradient : b.template add<scale>({gradient, dloss}));
  }
};

template <class B>
constexpr int log_softmax::fuse(B& b, fusion& f) {
  const int rows = f.next(f.node, B::template info<cross_entropy_rows>());
  if (rows < 0) return -1;
  const int mean = f.next(rows, B::template info<weighted_mean>());
  if (mean < 0) return -1;
  const graph& g = b.g;
  const int logits = g.input(g.nodes[f.node], 0), labels = g.input(g.nodes[rows], 1);
  attributes a = g.nodes[rows].a;
  a.second = g.nodes[mean].a.number;
  const op_info& fused = B::template info<softmax_cross_entropy>();
  const bool weighted = g.nodes[mean].inputs > 1;
  // The fused node gives weights no gradient.
  if (weighted && g.values[g.input(g.nodes[mean], 1)].differentiable) return -1;
  const int weights = weighted ? g.input(g.nodes[mean], 1) : -1;
  if (weighted ? !f.supported(mean, fused, {logits, labels, weights}, a)
               : !f.supported(mean, fused, {logits, labels}, a))
    return -1;
  if (weighted)
    f.merge({f.node, rows, mean}, mean, fused, {logits, labels, weights}, a);
  else
    f.merge({f.node, rows, mean}, mean, fused, {logits, labels}, a);
  return mean;
}

}  // namespace slim::op
