// Batch normalisation (Ioffe and Szegedy, ICML 2015) over all axes but the last. In training by the
// batch's own statistics, at inference by their moving averages; there it is a scale and a shift,
// which fold into the contraction before it.
#pragma once

#include "../graph/fold.hpp"
#include "../graph/fuse.hpp"
#include "activation.hpp"
#include "bias_add.hpp"

namespace slim::op {

/// Which of the optional inputs a batch norm has, as bits of attributes::integer. Those of a second
/// one in the same node lie `second` bits higher; its epsilon is attributes::second.
struct batch_norm_parts {
  static constexpr int gamma = 1, beta = 2, bias = 4;
  static constexpr int second = 3;
};

namespace detail {

/// Optional inputs follow the fixed ones in the order gamma, beta, bias: the place of `part`, or -1.
constexpr int optional_input(const attributes& a, int fixed, int part) {
  if ((a.integer & part) == 0) return -1;
  int at = fixed;
  for (int before = 1; before < part; before *= 2) at += (a.integer & before) != 0;
  return at;
}

/// Of a node with two batch norms: the options of the second, and its first input.
constexpr attributes second_batch_norm(attributes a) {
  a.integer >>= batch_norm_parts::second, a.number = a.second;
  return a;
}
constexpr int second_batch_norm_input(const attributes& a) {
  return 3 + ((a.integer & batch_norm_parts::gamma) != 0) +
         ((a.integer & batch_norm_parts::beta) != 0);
}

/// Inputs: x [..., c], mean [c], variance [c][, gamma [c]][, beta [c]].
constexpr void infer_batch_norm(inference& s) {
  if (s.in(0).rank < 2) return s.fail("needs a rank of 2 or more, not ", s.in(0));
  const shape channels{s.in(0).back()};
  for (int i = 1; i < s.inputs(); ++i)
    if (!(s.in(i) == channels))
      return s.fail("statistics ", s.in(i), " do not fit the channels of ", s.in(0));
  s.out(s.in(0), s.batched(0));
}

/// Gives the gradients of x, gamma and beta: the outputs of Backward over x, dy, mean, variance and
/// which of gamma and beta are its `parts`. An x that is not input 0 is a second batch norm's.
template <class Backward, class B>
constexpr void give_batch_norm_gradients(B& b, gradient_of& g, int dy, int mean, int variance,
                                         int x = 0) {
  attributes a = x == 0 ? g.node.a : second_batch_norm(g.node.a);
  const int gamma = optional_input(a, x + 3, batch_norm_parts::gamma);
  const int beta = optional_input(a, x + 3, batch_norm_parts::beta);
  a.integer &= Backward::parts;
  int inputs[6] = {g.in(x), dy, mean, variance}, count = 4;
  if ((a.integer & batch_norm_parts::gamma) != 0) inputs[count++] = g.in(gamma);
  if ((a.integer & batch_norm_parts::beta) != 0) inputs[count++] = g.in(beta);
  const int dx = b.template add<Backward>(inputs, count, a);
  if (b.failed()) return;
  const node_row& backward = b.g.nodes[b.g.nodes.size() - 1];
  const int dgamma = b.g.output_of(backward, 1), dbeta = b.g.output_of(backward, 2);
  if (g.wanted(x)) g.give(x, dx);
  if (gamma >= 0 && g.wanted(gamma)) g.give(gamma, dgamma);
  if (beta >= 0 && g.wanted(beta)) g.give(beta, dbeta);
}

/// What an op needs to normalise as the node of a batch norm does: x, its statistics, gamma and
/// beta; returns how many.
constexpr int put_batch_norm(const graph& g, const node_row& norm, int* inputs) {
  inputs[0] = g.input(norm, 0);
  inputs[1] = g.output_of(norm, 1), inputs[2] = g.output_of(norm, 2);
  for (int i = 3; i < norm.inputs; ++i) inputs[i] = g.input(norm, i);
  return norm.inputs;
}
/// Drops what a batch norm has besides: it stays where it is, for what reads its statistics.
constexpr void keep_statistics(node_row& norm, const op_info& statistics) {
  norm.op = &statistics;
  norm.inputs = 1;
  ++norm.first_output, --norm.outputs;
}

constexpr void infer_batch_norm_backward(inference& s) {
  s.out(s.in(0), s.batched(0));
  s.out(s.in(2), false);
  s.out(s.in(2), false);
}

}  // namespace detail

// ---- inference ---------------------------------------------------------------------------------

/// (variance [c][, gamma [c]]) -> gamma / sqrt(variance + a.number) [c].
struct batch_norm_scale {
  static constexpr std::string_view name = "batch_norm_scale";
  static constexpr void infer(inference& s) { s.out(s.in(0), false); }
};

/// (mean [c], scale [c][, beta [c]][, bias [c]]) -> beta + (bias - mean) * scale [c].
struct batch_norm_shift {
  static constexpr std::string_view name = "batch_norm_shift";
  static constexpr void infer(inference& s) { s.out(s.in(0), false); }
};

/// (w [..., c], scale [c]) -> w * scale; for a depthwise filter c is the product of its last two.
struct scale_columns {
  static constexpr std::string_view name = "scale_columns";
  static constexpr void infer(inference& s) { s.out(s.in(0), false); }
};

/// (x [..., c], scale [c], shift [c]) -> activation(x * scale + shift).
template <class A>
struct fused_scale_shift {
  static constexpr std::string_view name = "scale_shift+activation";
  static constexpr int in_place = 0;
  static constexpr void infer(inference& s) { s.fail("is made by fusion only"); }
};

/// (x [..., c], scale [c], shift [c]) -> x * scale + shift.
struct scale_shift {
  static constexpr std::string_view name = "scale_shift";
  static constexpr int in_place = 0;
  static constexpr void infer(inference& s) { s.out(s.in(0), s.batched(0)); }
  template <class B>
  static constexpr int fuse(B& b, fusion& f) {
    return fuse_activation(b, f, name);
  }
};

/// (x, dy, mean, variance[, gamma]) -> dx, dgamma, dbeta, with the statistics held constant.
struct batch_norm_inference_backward {
  static constexpr std::string_view name = "batch_norm_inference_backward";
  static constexpr int parts = batch_norm_parts::gamma;
  static constexpr void infer(inference& s) { detail::infer_batch_norm_backward(s); }
};

/// (x [..., c], mean, variance[, gamma][, beta], each [c]) -> (x - mean) / sqrt(variance +
/// a.number) * gamma + beta.
struct batch_norm_inference {
  static constexpr std::string_view name = "batch_norm_inference";
  using parts = batch_norm_parts;

  static constexpr void infer(inference& s) { detail::infer_batch_norm(s); }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    detail::give_batch_norm_gradients<batch_norm_inference_backward>(b, g, g.incoming(), g.in(1),
                                                                     g.in(2));
  }

  /// Becomes the bias of the contraction before it, whose weights take the scale; or else a scale
  /// and a shift. Both follow from variables, so they are computed only when those change.
  template <class B>
  static constexpr void fold(B& b, folding& f) {
    const node_row n = b.g.nodes[f.node];
    attributes a = n.a;
    const int gamma = detail::optional_input(a, 3, parts::gamma);
    const int beta = detail::optional_input(a, 3, parts::beta);
    const int x = b.g.input(n, 0), mean = b.g.input(n, 1), variance = b.g.input(n, 2);
    attributes of_scale;
    of_scale.number = a.number, of_scale.integer = a.integer & parts::gamma;
    const int scale_of[] = {variance, gamma < 0 ? -1 : b.g.input(n, gamma)};
    const int scale = b.template add<batch_norm_scale>(scale_of, gamma < 0 ? 1 : 2, of_scale);

    const int adding = f.producer(x, B::template info<bias_add>());
    const int contraction = f.foldable(adding < 0 ? x : b.g.input(b.g.nodes[adding], 0));
    const int bias = contraction < 0 || adding < 0 ? -1 : b.g.input(b.g.nodes[adding], 1);
    attributes of_shift;
    of_shift.integer = (a.integer & parts::beta) | (bias < 0 ? 0 : parts::bias);
    int shift_of[4] = {mean, scale}, inputs = 2;
    if (beta >= 0) shift_of[inputs++] = b.g.input(n, beta);
    if (bias >= 0) shift_of[inputs++] = bias;
    const int shift = b.template add<batch_norm_shift>(shift_of, inputs, of_shift);
    if (b.failed()) return;

    if (contraction < 0) {
      b.rewrite(f.node, B::template info<scale_shift>(), {x, scale, shift}, {});
      return;
    }
    node_row& c = b.g.nodes[contraction];
    const int weights = c.first_input + c.op->foldable;
    const int scaled = b.template add<scale_columns>({b.g.edges[weights], scale});
    if (b.failed()) return;
    b.g.edges[weights] = scaled;
    if (adding >= 0) b.g.nodes[adding].dead = true;
    const int sum = b.g.output_of(b.g.nodes[contraction], 0);
    b.rewrite(f.node, B::template info<bias_add>(), {sum, shift}, {});
  }
};

// ---- training ----------------------------------------------------------------------------------

/// (moving [c], batch [c]) -> moving - (moving - batch) * (1 - a.number), into moving itself. With
/// a.integer 1 `batch` is a variance of a.dims[0] elements an example, and its unbiased estimate is
/// taken: times count / max(count - 1, 1).
struct update_moving_average {
  static constexpr std::string_view name = "update_moving_average";
  static constexpr void infer(inference& s) { s.out_variable(0); }
};

/// (dy, or two that are added, s, x, mean, variance[, gamma]) -> g = dy f'(s), and dx, dgamma and
/// dbeta of a batch norm by g.
template <class A>
struct activation_batch_norm_backward {
  static constexpr std::string_view name = "activation_backward+batch_norm_backward";
  static constexpr void infer(inference& s) { s.fail("is made by fusion only"); }
};

/// (x, dy, mean, variance[, gamma]) -> dx, dgamma, dbeta, through the statistics.
struct batch_norm_backward {
  static constexpr std::string_view name = "batch_norm_backward";
  static constexpr int parts = batch_norm_parts::gamma;
  static constexpr void infer(inference& s) { detail::infer_batch_norm_backward(s); }

  /// Takes along the activation's gradient before it, which others read, too: the sums then need
  /// not read it again.
  template <class B>
  static constexpr int fuse(B& b, fusion& f) {
    graph& g = b.g;
    const node_row norm = g.nodes[f.node];
    const int before = f.last_producer(g.input(norm, 1));
    if (before < 0 || !g.nodes[before].op->has_epilogue) return -1;
    const node_row activation = g.nodes[before];
    const epilogue with = activation.op->as_epilogue("batch_norm_backward", b.training);
    if (!with.found || !with.op->choose(g, norm).found()) return -1;

    // (s, dy) of an activation's gradient alone, (a, b, s) of a sum's.
    const bool sum = activation.inputs == 3;
    int inputs[7] = {g.input(activation, sum ? 0 : 1), g.input(activation, sum ? 1 : 0)};
    int count = 2;
    if (sum) inputs[count++] = g.input(activation, 2);
    for (int i = 0; i < norm.inputs; ++i)
      if (i != 1) inputs[count++] = g.input(norm, i);
    b.rewrite(f.node, *with.op, inputs, count, norm.a);
    b.put_first_output(f.node, g.output_of(activation, 0));
    g.nodes[before].dead = true;
    return f.node;
  }
};

/// (x [..., c]) -> mean [c] and variance [c], biased, of the batch.
struct batch_norm_statistics {
  static constexpr std::string_view name = "batch_norm_statistics";
  static constexpr void infer(inference& s) { s.fail("is made by fusion only"); }
};

namespace detail {

/// The gradient of a sum before the activation A.
template <class A, class B>
constexpr int before_activation(B& b, gradient_of& g) {
  if (std::is_same_v<A, no_activation>) return g.incoming();
  return add_derivative<activation_backward, A>(b, {g.out(), g.incoming()});
}

}  // namespace detail

/// (x, mean, variance[, gamma][, beta], and the same of a second batch norm) -> activation(the sum
/// of both): a residual unit whose shortcut is a projection.
template <class A>
struct batch_norms_add {
  static constexpr std::string_view name = "batch_norm+batch_norm+add";
  static constexpr void infer(inference& s) { s.fail("is made by fusion only"); }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    const int dy = detail::before_activation<A>(b, g);
    for (int x : {0, detail::second_batch_norm_input(g.node.a)})
      detail::give_batch_norm_gradients<batch_norm_backward>(b, g, dy, g.in(x + 1), g.in(x + 2),
                                                             x);
  }
};

/// (x [..., c], mean, variance[, gamma][, beta], each [c], other [..., c]) -> activation(
/// (x - mean) / sqrt(variance + a.number) * gamma + beta + other). The statistics are x's: gradients
/// of x go through them.
template <class A>
struct batch_norm_add {
  static constexpr std::string_view name = "batch_norm+add";
  static constexpr void infer(inference& s) { s.fail("is made by fusion only"); }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    const int dy = detail::before_activation<A>(b, g);
    const int other = g.node.inputs - 1;
    if (g.wanted(other)) g.give(other, dy);
    detail::give_batch_norm_gradients<batch_norm_backward>(b, g, dy, g.in(1), g.in(2));
  }
  /// Behind another batch norm this is an epilogue that normalises for both.
  template <class Target>
  static constexpr epilogue as_epilogue(std::string_view root, bool) {
    if (root == "second_batch_norm") return {true, &op_info_of<batch_norms_add<A>, Target>};
    return {};
  }
};

/// (x, dy, mean, variance[, gamma][, beta]) -> dx, dgamma, dbeta of f(batch norm of x), through the
/// statistics. What f's derivative needs follows from x, which is read anyway: neither is f's
/// output, nor is f's gradient ever in memory.
template <class A>
struct fused_batch_norm_backward {
  static constexpr std::string_view name = "batch_norm+activation_backward";
  static constexpr int parts = batch_norm_parts::gamma | batch_norm_parts::beta;
  static constexpr void infer(inference& s) { detail::infer_batch_norm_backward(s); }
};

/// batch_norm with the activation behind it.
template <class A>
struct fused_batch_norm {
  static constexpr std::string_view name = "batch_norm+activation";
  static constexpr void infer(inference& s) { s.fail("is made by fusion only"); }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    using whole = fused_batch_norm_backward<A>;
    if (B::template info<whole>().choose(b.g, g.node).found())
      return detail::give_batch_norm_gradients<whole>(b, g, g.incoming(), g.out(1), g.out(2));
    const int dy = add_derivative<activation_backward, A>(b, {g.out(), g.incoming()});
    detail::give_batch_norm_gradients<batch_norm_backward>(b, g, dy, g.out(1), g.out(2));
  }
};

/// (x [..., c], moving mean, moving variance[, gamma][, beta], each [c]) -> (x - mean) /
/// sqrt(variance + a.number) * gamma + beta; mean [c] and variance [c] of the batch, the latter
/// biased. The moving averages are there for what it becomes at inference.
struct batch_norm {
  static constexpr std::string_view name = "batch_norm";
  using at_inference = batch_norm_inference;

  static constexpr void infer(inference& s) {
    detail::infer_batch_norm(s);
    s.out(shape{s.in(0).back()}, false);
    s.out(shape{s.in(0).back()}, false);
  }
  template <class B>
  static constexpr void gradient(B& b, gradient_of& g) {
    detail::give_batch_norm_gradients<batch_norm_backward>(b, g, g.incoming(), g.out(1), g.out(2));
  }
  template <class B>
  static constexpr int fuse(B& b, fusion& f) {
    int merged = fuse_sum(b, f);
    if (merged < 0) merged = fuse_second(b, f);
    return merged >= 0 ? merged : fuse_activation(b, f, name);
  }

 private:
  /// Leaves its statistics here, and normalises where the sum and the activation behind are: what
  /// those read is never in memory.
  template <class B>
  static constexpr int fuse_sum(B& b, fusion& f) {
    graph& g = b.g;
    const op_info& statistics = B::template info<batch_norm_statistics>();
    const op_info* fused = &B::template info<batch_norm_add<no_activation>>();
    const node_row norm = g.nodes[f.node];
    const int sum = f.next(f.node, B::template info<add>());
    if (sum < 0 || !statistics.choose(g, norm).found()) return -1;
    int last = sum;
    if (const int next = f.next(sum); next >= 0 && g.nodes[next].op->has_epilogue)
      if (const epilogue with = g.nodes[next].op->as_epilogue("batch_norm_add", b.training);
          with.found && with.op->choose(g, norm).found())
        fused = with.op, last = next;
    if (!fused->choose(g, norm).found()) return -1;

    const int own = g.output_of(norm, 0), first = g.input(g.nodes[sum], 0);
    const int other = first == own ? g.input(g.nodes[sum], 1) : first;
    // In mixed precision a variable is of another type.
    if (g.values[own].batched != g.values[other].batched) return -1;
    int inputs[6] = {};
    int count = detail::put_batch_norm(g, norm, inputs);
    inputs[count++] = other;
    b.rewrite(last, *fused, inputs, count, norm.a);
    g.nodes[last].scope = norm.scope;  // as that of every fused node, the first one's
    if (last != sum) g.nodes[sum].dead = true;
    detail::keep_statistics(g.nodes[f.node], statistics);
    return last;
  }
  /// The same where the sum has taken a batch norm along already.
  template <class B>
  static constexpr int fuse_second(B& b, fusion& f) {
    graph& g = b.g;
    const op_info& statistics = B::template info<batch_norm_statistics>();
    const node_row norm = g.nodes[f.node];
    const int user = f.next(f.node);
    if (user < 0 || !g.nodes[user].op->has_epilogue) return -1;
    const node_row sum = g.nodes[user];
    const epilogue with = sum.op->as_epilogue("second_batch_norm", b.training);
    const int other = sum.inputs - 1;
    if (!with.found || g.input(sum, other) != g.output_of(norm, 0)) return -1;
    if (!with.op->choose(g, norm).found() || !statistics.choose(g, norm).found()) return -1;

    int inputs[10] = {};
    for (int i = 0; i < other; ++i) inputs[i] = g.input(sum, i);
    const int count = other + detail::put_batch_norm(g, norm, inputs + other);
    attributes a = sum.a;
    a.integer |= norm.a.integer << batch_norm_parts::second, a.second = norm.a.number;
    b.rewrite(user, *with.op, inputs, count, a);
    detail::keep_statistics(g.nodes[f.node], statistics);
    return user;
  }
};

}  // namespace slim::op
