// Losses that the network computes by its own layers.
#pragma once

#include "loss.hpp"

namespace slim {
namespace detail {

/// The end point `losses_from` names, which must hold numbers that depend on the batch or nothing.
template <class O>
constexpr int given_losses(graph_builder& b) {
  constexpr std::string_view name = O::template get_text<"losses_from">();
  if (name.empty()) return b.fail("losses_from is missing");
  const int losses = loss_end_point(b, name);
  if (!b.failed() && b.g.values[losses].type != element::scalar)
    return b.fail("the end point ", name, " holds no losses but ints");
  return losses;
}

}  // namespace detail

namespace ops {

struct compute_weighted_loss {
  static constexpr std::string_view name = "compute_weighted_loss";
  static constexpr std::string_view options[] = {"losses_from", "loss_weight", "weights_from"};
  template <class O, class B>
  static constexpr void build(B& b) {
    collect_loss<O>(b, detail::given_losses<O>(b));
  }
};

struct add_loss {
  static constexpr std::string_view name = "add_loss";
  static constexpr std::string_view options[] = {"losses_from"};
  template <class O, class B>
  static constexpr void build(B& b) {
    const int loss = detail::given_losses<O>(b);
    if (b.failed()) return;
    const shape& dims = b.g.values[loss].dims;
    if (dims.count() != 1) {
      b.fail("needs a scalar, not ", dims, ": compute_weighted_loss takes the mean of losses");
      return;
    }
    // A loss has rank 0: the mean of its only element.
    if (dims.rank > 0)
      collect_loss<O>(b, loss);
    else
      b.g.losses.add(loss);
  }
};

}  // namespace ops

/// The weighted mean of the losses at an end point of any shape, collected.
template <auto... Option>
struct compute_weighted_loss : loss<ops::compute_weighted_loss, constant<Option>...> {};

/// An end point of one element, collected as it is.
template <auto... Option>
struct add_loss : loss<ops::add_loss, constant<Option>...> {};

}  // namespace slim
