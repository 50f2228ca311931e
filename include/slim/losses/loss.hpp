// What every loss is made of: its options, the values it looks at, and its reduction.
#pragma once

#include "../layers/layer.hpp"

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
/// The same, for losses of what are no logits.
template <std::size_t N>
struct predictions {
  static constexpr std::string_view slot = "predictions";
  char value[N];
};
template <std::size_t N>
predictions(const char (&)[N]) -> predictions<N>;
/// The input, or else end point, that holds the labels.
template <std::size_t N>
struct labels_from {
  static constexpr std::string_view slot = "labels_from";
  char value[N];
};
template <std::size_t N>
labels_from(const char (&)[N]) -> labels_from<N>;
/// The input, or else end point, that holds a weight for each example, or for each loss of one: its
/// shape is a prefix of the losses'.
template <std::size_t N>
struct weights_from {
  static constexpr std::string_view slot = "weights_from";
  char value[N];
};
template <std::size_t N>
weights_from(const char (&)[N]) -> weights_from<N>;
/// The end point that holds losses.
template <std::size_t N>
struct losses_from {
  static constexpr std::string_view slot = "losses_from";
  char value[N];
};
template <std::size_t N>
losses_from(const char (&)[N]) -> losses_from<N>;

/// The input or end point with this name, or an error that names the loss and what it needs there.
constexpr int loss_input(graph_builder& b, std::string_view name, std::string_view type,
                         const shape& dims) {
  if (const int input = find_input(b.g, name); input >= 0) return b.g.inputs[input].value;
  if (const int value = find_end_point(b.g, name); value >= 0) return value;
  return b.fail("there is no input or end point named ", name, " of type ", type, ", ", dims);
}

constexpr int loss_end_point(graph_builder& b, std::string_view name) {
  const int value = find_end_point(b.g, name);
  return value >= 0 ? value : b.fail(no_end_point(b.g, name).view());
}

/// The end point that `logits` or `predictions` names, or the network's output. Errors from here on
/// name its scope.
template <class O>
constexpr int loss_logits(graph_builder& b) {
  constexpr std::string_view logits = O::template get_text<"logits">();
  constexpr std::string_view predictions = O::template get_text<"predictions">();
  if (!logits.empty() && !predictions.empty())
    return b.fail("logits and predictions are one option: give one of them");
  constexpr std::string_view name = logits.empty() ? predictions : logits;
  const int value = name.empty() ? b.g.output : loss_end_point(b, name);
  if (!b.failed()) b.layer = b.g.values[value].scope;
  return value;
}

/// The labels: numbers of the shape that would fit, or one error.
template <class O>
constexpr int loss_labels(graph_builder& b, element type, const shape& dims) {
  constexpr std::string_view given = O::template get_text<"labels_from">();
  const auto name_of = [](element e) { return e == element::scalar ? "scalar" : "int"; };
  const int labels =
      loss_input(b, given.empty() ? std::string_view("labels") : given, name_of(type), dims);
  if (b.failed()) return -1;
  const value_row& row = b.g.values[labels];
  if (row.type != type)
    return b.fail("needs labels of type ", name_of(type), ", ", dims, ", not of type ",
                  name_of(row.type), ", ", row.dims);
  return labels;
}

/// The weighted mean of losses of any shape (`summed`: their weighted sum), collected as a loss.
template <class O, class B>
constexpr void collect_loss(B& b, int losses, bool summed = false) {
  constexpr std::string_view weights = O::template get_text<"weights_from">();
  attributes a;
  a.number = O::template get<"loss_weight">(loss_weight{1}).value;
  a.integer = summed;
  if (b.failed()) return;
  int loss = -1;
  if (weights.empty()) {
    loss = b.template add<op::weighted_mean>({losses}, a);
  } else {
    const int given = loss_input(b, weights, "scalar", b.g.values[losses].dims);
    if (!b.failed()) loss = b.template add<op::weighted_mean>({losses, given}, a);
  }
  if (!b.failed()) b.g.losses.add(loss);
}

/// What every loss is made of: a tag with its name, its options and `build<O>(b)`, which appends
/// the loss and ends in `collect_loss`. A user's loss is written the same way.
template <class Tag, class... Own>
struct loss {
  using options = option_list<Own...>;
  static constexpr graph_counts needs{
      .nodes = 6, .values = 8, .edges = 24, .scopes = 1, .losses = 2, .end_points = 1};

  template <class B>
  static constexpr void lower(B& b) {
    constexpr std::string_view missing = missing_part<B>();
    if constexpr (missing.empty())
      build(b);
    else
      refuse_tag<Tag>(b, "loss", missing);
  }

 private:
  /// What the tag lacks, or "".
  template <class B>
  static constexpr std::string_view missing_part() {
    if (!requires { Tag::name; }) return "name";
    if (!requires { Tag::options; }) return "options";
    if (!requires(B& b) { Tag::template build<options>(b); }) return "build<O>(b)";
    return {};
  }

  template <class B>
  static constexpr void build(B& b) {
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
    b.layer = -1;
    b.layer_name = {};
  }
};

}  // namespace slim
