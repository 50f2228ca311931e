// Losses of predictions and labels of one shape, [n, ...], element by element.
#pragma once

#include "../op/losses.hpp"
#include "functions.hpp"
#include "loss.hpp"

namespace slim {

/// f of the predictions and the labels, of the predictions' shape; or -1 behind an error.
template <auto F, class O, class B>
constexpr int elementwise_losses(B& b) {
  if (const std::string_view fault = fault_of(F); !fault.empty()) return b.fail(fault);
  const int from = loss_logits<O>(b);
  if (b.failed()) return -1;
  const int to = loss_labels<O>(b, element::scalar, b.g.values[from].dims);
  if (b.failed()) return -1;
  return b.template add<op::elementwise_loss<constant<F>>>({from, to});
}

namespace ops {

/// A loss by an f that has no options of its own.
template <auto F>
struct elementwise {
  static constexpr std::string_view name = F.name;
  static constexpr std::string_view options[] = {"loss_weight", "logits", "predictions",
                                                 "labels_from", "weights_from"};
  template <class O, class B>
  static constexpr void build(B& b) {
    collect_loss<O>(b, elementwise_losses<F, O>(b));
  }
};
struct log_loss {
  static constexpr std::string_view name = log_loss_fn::name;
  static constexpr std::string_view options[] = {"loss_weight", "epsilon",     "logits",
                                                 "predictions", "labels_from", "weights_from"};
  template <class O, class B>
  static constexpr void build(B& b) {
    constexpr log_loss_fn f{O::template get<"epsilon">(epsilon{1e-7}).value};
    collect_loss<O>(b, elementwise_losses<f, O>(b));
  }
};
struct sigmoid_cross_entropy {
  static constexpr std::string_view name = sigmoid_cross_entropy_fn::name;
  static constexpr std::string_view options[] = {"loss_weight", "label_smoothing", "logits",
                                                 "predictions", "labels_from",     "weights_from"};
  template <class O, class B>
  static constexpr void build(B& b) {
    constexpr sigmoid_cross_entropy_fn f{
        O::template get<"label_smoothing">(label_smoothing{0}).value};
    collect_loss<O>(b, elementwise_losses<f, O>(b));
  }
};
struct hinge_loss {
  static constexpr std::string_view name = hinge_fn::name;
  static constexpr std::string_view options[] = {"logits", "predictions", "labels_from"};

  template <class O, class B>
  static constexpr void build(B& b) {
    const int losses = elementwise_losses<hinge_fn{}, O>(b);
    if (b.failed()) return;
    const int outer = b.scope;
    b.layer = b.scope = -1;
    open(b, O::template get_text<"scope">());
    const int there = b.g.scopes[b.scope].end_point;
    if (there >= 0)
      b.fail("there already is an end point named ", O::template get_text<"scope">());
    b.add_end_point(losses, {});
    b.scope = outer;
  }

 private:
  static constexpr void open(graph_builder& b, std::string_view scope) {
    if (scope.empty())
      b.enter_unique(name);
    else
      b.enter(scope);
  }
};

}  // namespace ops

/// f(p, y) of every element, its weighted mean collected; see losses/functions.hpp for f.
template <auto F, auto... Option>
struct elementwise : loss<ops::elementwise<F>, constant<Option>...> {};

/// |p - y|.
template <auto... Option>
struct absolute_difference : elementwise<absolute_difference_fn{}, Option...> {};

/// (p - y)^2.
template <auto... Option>
struct mean_squared_error : elementwise<squared_error_fn{}, Option...> {};

/// -y log(p + epsilon) - (1 - y) log(1 - p + epsilon), of probabilities.
template <auto... Option>
struct log_loss : loss<ops::log_loss, constant<Option>...> {};

/// Cross entropy of logits and independent probabilities; label_smoothing moves those towards 1/2.
template <auto... Option>
struct sigmoid_cross_entropy : loss<ops::sigmoid_cross_entropy, constant<Option>...> {};

/// max(0, 1 - (2 y - 1) x), of labels that are 0 or 1. As in TF-Slim it is neither reduced nor
/// collected: it is an end point of the logits' shape, named by its `scope` ("hinge_loss"), which
/// compute_weighted_loss can take.
template <auto... Option>
struct hinge_loss : loss<ops::hinge_loss, constant<Option>...> {};

}  // namespace slim
