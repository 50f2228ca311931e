// Variables by themselves, as entries of a network: they are created in the open scope, and x goes
// on. from<"weights"> takes one as a value.
//
//   variable<"weights", shape{10, 10, 3, 3}, initializer{truncated_normal{0.0, 0.1}},
//            regularizer{l2_regularizer{0.05}}, on_device{"/cpu:0"}>
//
// Defaults as TF-Slim's: xavier, no regularizer, trainable. A variable is in TensorFlow's collection
// of global variables; a model_variable also in that of model variables; a local_variable in that of
// local ones alone: it is never trained, and not saved.
#pragma once

#include "bias_add.hpp"

namespace slim {

template <>
inline constexpr std::string_view slot_of<shape> = "shape";

namespace ops {
/// What the kinds of variables share.
struct variable {
  static constexpr std::string_view name = "variable";
  static constexpr std::string_view options[] = {"shape",     "initializer",           "regularizer",
                                                 "trainable", "variables_collections", "device"};
  static constexpr unsigned char collections = global_variables;
};
struct model_variable : variable {
  static constexpr std::string_view name = "model_variable";
  static constexpr unsigned char collections = global_variables | model_variables;
};
struct local_variable : variable {
  static constexpr std::string_view name = "local_variable";
  static constexpr unsigned char collections = local_variables;
};
}  // namespace ops

namespace detail {

template <class Tag, text Name, class... Own>
struct variable_entry {
  static constexpr std::string_view name = Tag::name, leaf = static_text<Name>::view();
  static constexpr graph_counts needs{.nodes = 1, .values = 2, .edges = 2, .variables = 1,
                                      .losses = 1};

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    using own = option_list<Own...>;
    using options = concatenate<typename Context::template options<Tag>, own>;
    constexpr std::string_view unknown = unknown_slot<Tag>(own::slots, own::size);
    constexpr std::string_view twice = repeated_slot(own::slots, own::size);
    const named_in_errors here(b, name);
    if (!unknown.empty()) return b.fail(leaf, ": does not take the option ", unknown);
    if (!twice.empty()) return b.fail(leaf, ": the option ", twice, " is given twice");
    const variable_settings outer = b.variables;
    b.variables = {Tag::collections, options::template get_text<"variables_collections">(),
                   options::template get_text<"device">()};
    create<options>(b);
    b.variables = outer;
    return b.failed() ? -1 : x;
  }

 private:
  template <class O, class B>
  static constexpr void create(B& b) {
    constexpr shape dims = O::template get<"shape">(shape{});
    constexpr auto init = O::template get<"initializer">(initializer{xavier_initializer{}});
    constexpr auto penalty = O::template get<"regularizer">(regularizer{none});
    constexpr bool trains = O::template get<"trainable">(slim::trainable{true}).value &&
                            Tag::collections != local_variables;
    for (int i = 0; i < dims.rank; ++i)
      if (dims[i] < 1) return void(b.fail(leaf, ": shape ", dims, ": extents must be positive"));
    create_variable(b, leaf, dims, constant<init.value>{}, constant<penalty.value>{}, trains);
  }
};

}  // namespace detail

template <text Name, auto... Option>
struct variable : detail::variable_entry<ops::variable, Name, constant<Option>...> {};
template <text Name, auto... Option>
struct model_variable : detail::variable_entry<ops::model_variable, Name, constant<Option>...> {};
template <text Name, auto... Option>
struct local_variable : detail::variable_entry<ops::local_variable, Name, constant<Option>...> {};

/// add_model_variable<"scope/weights">: a variable there is joins the model variables.
template <text Name>
struct add_model_variable {
  static constexpr std::string_view name = "add_model_variable";
  static constexpr graph_counts needs{};

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    const detail::named_in_errors here(b, name);
    const int v = find_variable(b.g, static_text<Name>::view());
    if (v < 0) return b.fail(no_variable(b.g, static_text<Name>::view()).view());
    b.g.variables[v].collections |= model_variables;
    return x;
  }
};

}  // namespace slim
