// Cross entropy of logits over classes.
#pragma once

#include "loss.hpp"

namespace slim {
namespace detail {

/// Both cross entropies: the labels' type tells them apart.
template <class O, class B>
constexpr void cross_entropy(B& b, element labels_type) {
  attributes a;
  a.number = O::template get<"label_smoothing">(label_smoothing{0}).value;
  if (a.number < 0 || a.number > 1) {
    b.fail("label_smoothing must lie in [0, 1]");
    return;
  }
  const int from = loss_logits<O>(b);
  if (b.failed()) return;
  const shape& logits = b.g.values[from].dims;
  const bool classes = labels_type == element::int32;
  const int to = loss_labels<O>(b, labels_type, classes ? shape{logits[0]} : logits);
  if (b.failed()) return;
  const int log_p = b.template add<op::log_softmax>({from});
  if (b.failed()) return;
  const int rows = b.template add<op::cross_entropy_rows>({log_p, to}, a);
  if (b.failed()) return;
  if (classes && b.g.values[to].where == storage::input)
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

/// Cross entropy of logits [n, k] and a distribution over classes [n, k] (one-hot labels), which
/// gets no gradient.
template <auto... Option>
struct softmax_cross_entropy : loss<ops::softmax_cross_entropy, constant<Option>...> {};

/// Cross entropy of logits [n, k] and class numbers, int [n], each in [0, k).
template <auto... Option>
struct sparse_softmax_cross_entropy : loss<ops::sparse_softmax_cross_entropy, constant<Option>...> {
};

}  // namespace slim
