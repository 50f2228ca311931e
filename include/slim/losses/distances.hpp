// Losses that look at a whole vector of elements at once.
#pragma once

#include "../op/losses.hpp"
#include "loss.hpp"

namespace slim {

/// An axis, counted from 0 or, where negative, from the end.
struct axis {
  static constexpr std::string_view slot = "axis";
  int value;
};

namespace ops {

struct cosine_distance {
  static constexpr std::string_view name = "cosine_distance";
  static constexpr std::string_view options[] = {"loss_weight", "axis",        "logits",
                                                 "predictions", "labels_from", "weights_from"};
  template <class O, class B>
  static constexpr void build(B& b) {
    if (O::find("axis") < 0) {
      b.fail("axis is missing");
      return;
    }
    const int from = loss_logits<O>(b);
    if (b.failed()) return;
    const shape& dims = b.g.values[from].dims;
    const int to = loss_labels<O>(b, element::scalar, dims);
    attributes a;
    const int given = O::template get<"axis">(axis{0}).value;
    a.integer = given < 0 ? given + dims.rank : given;
    if (a.integer < 0 || a.integer >= dims.rank)
      b.fail("there is no axis ", given, " in predictions ", dims);
    if (a.integer == 0 && O::find("weights_from") >= 0)
      b.fail("axis 0 sums the batch, which leaves nothing that weights_from could weigh");
    collect_loss<O>(b, b.template add<op::cosine_distance>({from, to}, a));
  }
};

struct mean_pairwise_squared_error {
  static constexpr std::string_view name = "mean_pairwise_squared_error";
  static constexpr std::string_view options[] = {"loss_weight", "logits", "predictions",
                                                 "labels_from", "weights_from"};
  template <class O, class B>
  static constexpr void build(B& b) {
    const int from = loss_logits<O>(b);
    if (b.failed()) return;
    const int to = loss_labels<O>(b, element::scalar, b.g.values[from].dims);
    collect_loss<O>(b, b.template add<op::pairwise_squared_error>({from, to}), true);
  }
};

}  // namespace ops

/// 1 - sum(p y) over `axis`, which must be given. As in TF-Slim nothing is normalised: the caller
/// gives unit vectors.
template <auto... Option>
struct cosine_distance : loss<ops::cosine_distance, constant<Option>...> {};

/// The mean over all ordered pairs (i, j) of an example's elements of ((p_i - y_i) - (p_j -
/// y_j))^2, weighted and summed over the examples: not averaged, as in TF-Slim. Weights are one an
/// example.
template <auto... Option>
struct mean_pairwise_squared_error : loss<ops::mean_pairwise_squared_error, constant<Option>...> {};

}  // namespace slim
