// one_hot_encoding<num_classes, on_value{1}, off_value{0}>: class numbers, int [n], as rows
// [n, num_classes] with on_value at the class. A label that is no class gives a row of off_value.
#pragma once

#include "../op/one_hot.hpp"
#include "layer.hpp"

namespace slim {

struct on_value {
  static constexpr std::string_view slot = "on_value";
  double value;
};
struct off_value {
  static constexpr std::string_view slot = "off_value";
  double value;
};

template <int NumClasses, auto... Option>
struct one_hot_encoding;

namespace ops {
struct one_hot_encoding {
  static constexpr std::string_view name = "one_hot_encoding";
  static constexpr std::string_view function = "one_hot_encoding";
  static constexpr std::string_view default_scope = "OneHotEncoding";
  static constexpr std::string_view options[] = {"num_classes", "on_value", "off_value",
                                                 "outputs_collections"};
  template <auto... Argument>
  using layer = slim::one_hot_encoding<Argument...>;

  template <class O, class B>
  static constexpr int build(B& b, int x) {
    attributes a;
    a.integer = O::template get<"num_classes">(num_classes{0}).value;
    a.number = O::template get<"on_value">(on_value{1}).value;
    a.second = O::template get<"off_value">(off_value{0}).value;
    if (a.integer < 1) return b.fail("num_classes must be positive, not ", a.integer);
    return b.template add<op::one_hot>({x}, a);
  }
};
}  // namespace ops

template <int NumClasses, auto... Option>
struct one_hot_encoding
    : layer<ops::one_hot_encoding, constant<num_classes{NumClasses}>, constant<Option>...> {};

}  // namespace slim
