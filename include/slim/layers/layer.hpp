// What every layer is made of: a tag that says how it builds itself, and its own options. A
// user's layer is written the same way:
//
//   struct my_tag {
//     static constexpr std::string_view name = "my_layer", function = "my_layer";
//     static constexpr std::string_view default_scope = "MyLayer";
//     static constexpr std::string_view options[] = {"stride"};
//     template <class... O> ... layer alias, for stack
//     template <class O, class B> static constexpr int build(B& b, int x);   // returns the output
//   };
//   template <auto... Options> struct my_layer : layer<my_tag, constant<Options>...> {};
#pragma once

#include "../activations.hpp"
#include "../initializers.hpp"
#include "../op/dropout.hpp"
#include "../op/matmul.hpp"
#include "../op/regularizer.hpp"
#include "../op/softmax.hpp"
#include "../regularizers.hpp"
#include "../scopes.hpp"

namespace slim {

/// The options of one layer, with the scopes they came from: a layer inside it is given those.
template <class Context, class List>
struct resolved_options : List {
  using context = Context;
};

/// Refuses a tag that lacks a member.
template <class Tag, class B>
constexpr int refuse_tag(B& b, std::string_view kind, std::string_view missing) {
  if constexpr (requires { Tag::name; })
    return b.fail(Tag::name, ": the tag of this ", kind, " lacks `", missing, "`");
  else
    return b.fail("the tag of a ", kind, " lacks `", missing, "`");
}

template <class Tag, class... Own>
struct layer {
  using own = option_list<Own...>;
  static constexpr std::string_view function = [] {
    if constexpr (requires { Tag::function; })
      return std::string_view(Tag::function);
    else
      return std::string_view();  // refused when it is lowered
  }();
  /// Room for the rows one layer adds; a tag that adds more says so in `needs`.
  static constexpr graph_counts needs = [] {
    if constexpr (requires { Tag::needs; })
      return Tag::needs;
    else
      return graph_counts{.nodes = 12, .values = 20, .edges = 64, .variables = 7, .scopes = 3,
                          .losses = 6, .end_points = 2};
  }();

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    using options =
        resolved_options<Context, concatenate<typename Context::template options<Tag>, own>>;
    if (b.failed()) return -1;
    constexpr std::string_view missing = missing_part<options, B>();
    if constexpr (missing.empty())
      return lower_in_scope<options>(b, x);
    else
      return refuse_tag<Tag>(b, "layer", missing);
  }

 private:
  /// What the tag lacks of the members above, or "".
  template <class Options, class B>
  static constexpr std::string_view missing_part() {
    if (!requires { Tag::name; }) return "name";
    if (!requires { Tag::function; }) return "function";
    if (!requires { Tag::default_scope; }) return "default_scope";
    if (!requires { Tag::options; }) return "options";
    if (!requires(B& b, int x) { Tag::template build<Options>(b, x); }) return "build<O>(b, x)";
    return {};
  }

  template <class options, class B>
  static constexpr int lower_in_scope(B& b, int x) {
    const bool outer_reusing = b.reusing;
    const variable_settings outer_settings = b.variables;
    b.variables.collection = options::template get_text<"variables_collections">();
    b.reusing |= options::template get<"reuse">(reuse_variables{false}).value;
    opened_scope open(b, options::template get_text<"scope">(), Tag::default_scope);
    const int outer = b.layer;
    const std::string_view outer_name = b.layer_name;
    b.layer = b.scope;
    b.layer_name = Tag::name;
    const int y = b.failed() ? -1 : checked<options>(b, x);
    b.layer = outer;
    b.layer_name = outer_name;
    b.reusing = outer_reusing;
    b.variables = outer_settings;
    return b.reached >= 0 ? -1 : y;
  }

  static constexpr std::string_view unknown = unknown_slot<Tag>(own::slots, own::size);
  static constexpr std::string_view twice = repeated_slot(own::slots, own::size);

  template <class Options, class B>
  static constexpr int checked(B& b, int x) {
    if (!unknown.empty()) return b.fail("does not take the option ", unknown);
    if (!twice.empty()) return b.fail("the option ", twice, " is given twice");
    const int scope = b.scope;
    if (b.g.scopes[scope].layer && !b.reusing)
      return b.fail("a layer with this scope already exists");
    b.g.scopes[scope].layer = true;
    const int y = Tag::template build<Options>(b, x);
    if (b.failed()) return -1;
    b.add_end_point(y, Options::template get_text<"outputs_collections">());
    return y;
  }
};

/// Adds a regularizer's penalty on the variable v.
template <class Regularizer, class B>
constexpr int penalize(B& b, std::string_view leaf, int v) {
  if (const std::string_view fault = Regularizer::value.fault(); !fault.empty())
    return b.fail(leaf, ": ", Regularizer::value.name, ": ", fault);
  if (!Regularizer::value.active() || b.failed()) return v;
  const int penalty = b.template add<op::regularizer<Regularizer>>({v});
  if (b.failed()) return -1;
  b.g.regularizers.add(penalty);
  b.g.variables[b.g.values[v].index].regularizer = Regularizer::value.name;
  return v;
}

/// Creates a variable with its initializer and, unless none, its regularizer.
template <class B, class Initializer, class Regularizer>
constexpr int create_variable(B& b, std::string_view leaf, const shape& dims, Initializer,
                              Regularizer, bool trainable) {
  using T = typename B::target_type::scalar;
  using initializer = std::remove_cvref_t<decltype(Initializer::value)>;
  using regularizer = std::remove_cvref_t<decltype(Regularizer::value)>;
  if constexpr (!is_initializer<initializer>) {
    return b.fail(leaf, ": ", name_of_type<initializer>(),
                  " is no initializer: that has a `name` and f(random_stream&, const fan&)");
  } else if constexpr (!is_none<regularizer> && !is_regularizer<regularizer, T>) {
    return b.fail(leaf, ": ", name_of_type<regularizer>(), " is no regularizer: that has a "
                  "`name`, fault(), active(), r(w) and gradient(w)");
  } else {
    const int v = b.add_variable(leaf, dims, &variable_hooks_of<T, Initializer>, trainable);
    if constexpr (!is_none<regularizer>)
      if (!b.reusing) return penalize<Regularizer>(b, leaf, v);  // else it was counted before
    return v;
  }
}

/// Applies an activation function, unless it is none.
template <class Activation, class B>
constexpr int activate(B& b, int x) {
  if constexpr (is_none<decltype(Activation::value)>)
    return x;
  else
    return add_activation<Activation>(b, x);
}

/// The layer of a normalizer_fn's tag, with the options of its normalizer_params.
template <class Tag, class Params, class Context, class B>
constexpr int normalize(B& b, int y) {
  if constexpr (!requires { typename Params::list; })
    return b.fail("normalizer_params takes with<...>{}, such as with<decay{0.9}>{}");
  else if constexpr (makes_layer<Params, Tag>)
    return Params::template layer<Tag>::template lower<Context>(b, y);
  else if constexpr (requires { Tag::name; })
    return b.fail("normalizer_fn ", Tag::name, " is no op of a layer, such as ops::batch_norm{}");
  else
    return b.fail("normalizer_fn takes an op of a layer, such as ops::batch_norm{}");
}

/// What conv2d, fully_connected and their kin end in: the normalizer or else biases (unless their
/// initializer is none), then the activation.
template <class O, class B>
constexpr int bias_and_activate(B& b, int y, int channels) {
  constexpr auto initializer = O::template get<"biases_initializer">(biases_initializer{zeros{}});
  constexpr auto regularizer = O::template get<"biases_regularizer">(biases_regularizer{none});
  constexpr auto normalizer = O::template get<"normalizer_fn">(normalizer_fn{none});
  constexpr auto params = O::template get<"normalizer_params">(normalizer_params{with<>{}});
  constexpr auto activation = O::template get<"activation_fn">(activation_fn{relu});
  if (b.failed()) return -1;
  if constexpr (!is_none<decltype(normalizer.value)>) {
    y = normalize<std::remove_cvref_t<decltype(normalizer.value)>,
                  std::remove_cvref_t<decltype(params.value)>, typename O::context>(b, y);
    if (b.done()) return -1;
  } else if constexpr (!is_none<decltype(initializer.value)>) {
    const int biases = create_variable(b, "biases", {channels}, constant<initializer.value>{},
                                       constant<regularizer.value>{},
                                       O::template get<"trainable">(trainable{true}).value);
    y = b.template add<op::bias_add>({y, biases});
  }
  return activate<constant<activation.value>>(b, y);
}

template <class O, class B>
constexpr int create_weights(B& b, const shape& dims) {
  constexpr auto initializer =
      O::template get<"weights_initializer">(weights_initializer{xavier_initializer{}});
  constexpr auto regularizer = O::template get<"weights_regularizer">(weights_regularizer{none});
  return create_variable(b, "weights", dims, constant<initializer.value>{},
                         constant<regularizer.value>{},
                         O::template get<"trainable">(trainable{true}).value);
}

/// A window from kernel_size, stride, padding and rate.
template <class O>
constexpr window window_of(stride default_stride, padding default_padding) {
  constexpr auto kernel = O::template get<"kernel_size">(kernel_size{1});
  constexpr auto rates = O::template get<"rate">(rate{1});
  const auto strides = O::template get<"stride">(default_stride);
  window w;
  w.kernel_h = kernel.h, w.kernel_w = kernel.w;
  w.stride_h = strides.h, w.stride_w = strides.w;
  w.rate_h = rates.h, w.rate_w = rates.w;
  w.pad = O::template get<"padding">(default_padding);
  return w;
}

/// What is wrong with a window's numbers, or "".
constexpr message window_fault(const window& w) {
  message m;
  if (w.kernel_h < 1 || w.kernel_w < 1)
    m << "kernel_size must be positive, not " << w.kernel_h << "x" << w.kernel_w;
  else if (w.stride_h < 1 || w.stride_w < 1)
    m << "stride must be positive, not " << w.stride_h << "x" << w.stride_w;
  else if (w.rate_h < 1 || w.rate_w < 1)
    m << "rate must be positive, not " << w.rate_h << "x" << w.rate_w;
  else if ((w.stride_h > 1 || w.stride_w > 1) && (w.rate_h > 1 || w.rate_w > 1))
    m << "stride " << w.stride_h << "x" << w.stride_w << " and rate " << w.rate_h << "x"
      << w.rate_w << " cannot both be above 1";
  return m;
}

/// Pooling by Op, with TF-Slim's defaults: stride 2, VALID.
template <class Op, class O, class B>
constexpr int build_pool(B& b, int x) {
  attributes a;
  a.win = window_of<O>(stride{2}, padding::valid);
  if (O::find("kernel_size") < 0) return b.fail("kernel_size is missing");
  if (const message fault = window_fault(a.win); !fault.empty()) return b.fail(fault.view());
  return b.template add<Op>({x}, a);
}

}  // namespace slim
