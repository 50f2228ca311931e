// local_response_normalization<depth_radius{5}, bias{1}, alpha{1}, beta{0.5}>, TensorFlow's
// tf.nn.lrn: x / (bias + alpha * sum of x_j^2 over the channels within depth_radius)^beta.
//
// Images [n, h, w, c] to the same shape.
#pragma once

#include "../op/normalize.hpp"
#include "layer.hpp"

namespace slim {

/// Neighbours on either side of a channel.
struct depth_radius {
  static constexpr std::string_view slot = "depth_radius";
  int value;
};
struct bias {
  static constexpr std::string_view slot = "bias";
  double value;
};
struct alpha {
  static constexpr std::string_view slot = "alpha";
  double value;
};
struct beta {
  static constexpr std::string_view slot = "beta";
  double value;
};

template <auto... Option>
struct local_response_normalization;

namespace ops {
struct local_response_normalization {
  static constexpr std::string_view name = "local_response_normalization";
  static constexpr std::string_view function = "lrn";
  static constexpr std::string_view default_scope = "LRN";
  static constexpr std::string_view options[] = {"depth_radius", "bias", "alpha", "beta"};
  template <auto... Argument>
  using layer = slim::local_response_normalization<Argument...>;

  template <class O, class B>
  static constexpr int build(B& b, int x) {
    constexpr op::response_options given{
        O::template get<"depth_radius">(depth_radius{5}).value,
        O::template get<"bias">(bias{1}).value, O::template get<"alpha">(alpha{1}).value,
        O::template get<"beta">(beta{0.5}).value};
    if (given.depth_radius < 0)
      return b.fail("depth_radius must not be negative: ", given.depth_radius);
    return b.template add<op::local_response_normalization<constant<given>>>({x});
  }
};
}  // namespace ops

template <auto... Option>
struct local_response_normalization
    : layer<ops::local_response_normalization, constant<Option>...> {};

}  // namespace slim
