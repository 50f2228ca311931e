// Losses, added to a model as parts of its type:
//
//   model<vgg_16, input<8, 224, 224, 3>, labels<8>, sparse_softmax_cross_entropy<>>
//
// Each takes the network's output, or the end point its `logits` names, and the input its `labels`
// names. The mean is TF-Slim's: sum(weights * loss) / number of non-zero weights.
#pragma once

#include "layers/layer.hpp"

namespace slim {

/// Constant weight of a loss.
struct loss_weight {
  static constexpr std::string_view slot = "loss_weight";
  double value = 1;
};
/// target = labels (1 - value) + value / classes.
struct label_smoothing {
  static constexpr std::string_view slot = "label_smoothing";
  double value = 0;
};
/// The end point a loss looks at.
template <std::size_t N>
struct logits {
  static constexpr std::string_view slot = "logits";
  char value[N];
};
template <std::size_t N>
logits(const char (&)[N]) -> logits<N>;
/// The input that holds the labels.
template <std::size_t N>
struct labels_from {
  static constexpr std::string_view slot = "labels_from";
  char value[N];
};
template <std::size_t N>
labels_from(const char (&)[N]) -> labels_from<N>;
/// The input [n] that holds a weight for each example.
template <std::size_t N>
struct weights_from {
  static constexpr std::string_view slot = "weights_from";
  char value[N];
};
template <std::size_t N>
weights_from(const char (&)[N]) -> weights_from<N>;

/// The input with this name, or an error that names the loss and what it needs there.
constexpr int loss_input(graph_builder& b, std::string_view name, std::string_view type,
                         const shape& dims) {
  const int input = find_input(b.g, name);
  if (input < 0) return b.fail("there is no input named ", name, " of type ", type, ", ", dims);
  return b.g.inputs[input].value;
}

template <class O>
constexpr int loss_logits(graph_builder& b) {
  constexpr std::string_view name = O::template get_text<"logits">();
  if (name.empty()) return b.g.output;
  const int value = find_end_point(b.g, name);
  return value >= 0 ? value : b.fail(no_end_point(b.g, name).view());
}

/// The weighted mean of per-example losses, collected as a loss.
template <class O, class B>
constexpr void collect_loss(B& b, int rows) {
  constexpr std::string_view weights = O::template get_text<"weights_from">();
  attributes a;
  a.number = O::template get<"loss_weight">(loss_weight{1}).value;
  int loss = -1;
  if (b.failed()) return;
  if (weights.empty()) {
    loss = b.template add<op::weighted_mean>({rows}, a);
  } else {
    const int given = loss_input(b, weights, "scalar", b.g.values[rows].dims);
    if (!b.failed()) loss = b.template add<op::weighted_mean>({rows, given}, a);
  }
  if (!b.failed()) b.g.losses.add(loss);
}

/// What every loss is made of: a tag with its name, its options and `build<O>(b)`, which appends
/// the loss and ends in `collect_loss`. A user's loss is written the same way.
template <class Tag, class... Own>
struct loss {
  using options = option_list<Own...>;
  static constexpr graph_counts needs{.nodes = 6, .values = 8, .edges = 24, .losses = 2};

  template <class B>
  static constexpr void lower(B& b) {
    b.layer = -1;
    b.layer_name = Tag::name;
    constexpr std::string_view unknown = unknown_slot<Tag>(options::slots, options::size);
    constexpr std::string_view twice = repeated_slot(options::slots, options::size);
    if (!unknown.empty())
      b.fail("does not take the option ", unknown);
    else if (!twice.empty())
      b.fail("the option ", twice, " is given twice");
    else
      Tag::template build<options>(b);
    b.layer_name = {};
  }
};

namespace detail {

/// Both cross entropies: the labels' type tells them apart.
template <class O, class B>
constexpr void cross_entropy(B& b, element labels_type) {
  constexpr std::string_view given = O::template get_text<"labels_from">();
  attributes a;
  a.number = O::template get<"label_smoothing">(label_smoothing{0}).value;
  if (a.number < 0 || a.number > 1) {
    b.fail("label_smoothing must lie in [0, 1]");
    return;
  }
  const int from = loss_logits<O>(b);
  if (b.failed()) return;
  b.layer = b.g.values[from].scope;
  const bool classes = labels_type == element::int32;
  const std::string_view type = classes ? "int" : "scalar";
  const shape& logits = b.g.values[from].dims;
  const shape wanted = classes ? shape{logits[0]} : logits;
  const int to = loss_input(b, given.empty() ? std::string_view("labels") : given, type, wanted);
  if (b.failed()) return;
  if (b.g.values[to].type != labels_type) {
    b.fail("needs labels of type ", type, ", ", wanted, ", not of type ",
           classes ? "scalar" : "int", ", ", b.g.values[to].dims);
    return;
  }
  const int log_p = b.template add<op::log_softmax>({from});
  if (b.failed()) return;
  const int rows = b.template add<op::cross_entropy_rows>({log_p, to}, a);
  if (b.failed()) return;
  if (labels_type == element::int32)
    b.g.inputs[b.g.values[to].index].index_limit = b.g.values[from].dims.back();
  collect_loss<O>(b, rows);
}

}  // namespace detail

namespace ops {
struct softmax_cross_entropy {
  static constexpr std::string_view name = "softmax_cross_entropy";
  static constexpr std::string_view options[] = {"loss_weight", "label_smoothing", "logits",
                                                 "labels_from", "weights_from"};
  template <class O, class B>
  static constexpr void build(B& b) {
    detail::cross_entropy<O>(b, element::scalar);
  }
};
struct sparse_softmax_cross_entropy {
  static constexpr std::string_view name = "sparse_softmax_cross_entropy";
  static constexpr std::string_view options[] = {"loss_weight", "logits", "labels_from",
                                                 "weights_from"};
  template <class O, class B>
  static constexpr void build(B& b) {
    detail::cross_entropy<O>(b, element::int32);
  }
};
}  // namespace ops

/// Cross entropy of logits [n, k] and a distribution over classes [n, k] (one-hot labels).
template <auto... Option>
struct softmax_cross_entropy : loss<ops::softmax_cross_entropy, constant<Option>...> {};

/// Cross entropy of logits [n, k] and class numbers, int [n], each in [0, k).
template <auto... Option>
struct sparse_softmax_cross_entropy
    : loss<ops::sparse_softmax_cross_entropy, constant<Option>...> {};

}  // namespace slim
