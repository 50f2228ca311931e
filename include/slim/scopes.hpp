// Variable scopes, nets, and TF-Slim's repeat and stack with their unrolled names.
#pragma once

#include "arg_scope.hpp"

namespace slim {

/// Opens a scope for as long as it lives.
class opened_scope {
 public:
  constexpr opened_scope(graph_builder& b, std::string_view given, std::string_view fallback)
      : b_(b), outer_(b.scope) {
    if (given.empty() && fallback.empty() && b.forced_leaf.empty()) return;
    b.enter_named(given, fallback);
  }
  constexpr ~opened_scope() { b_.scope = outer_; }
  opened_scope(const opened_scope&) = delete;
  opened_scope& operator=(const opened_scope&) = delete;

 private:
  graph_builder& b_;
  int outer_;
};

namespace detail {

/// For as long as it lives, errors speak of the open scope and of `name`.
class named_in_errors {
 public:
  constexpr named_in_errors(graph_builder& b, std::string_view name)
      : b_(b), layer_(b.layer), name_(b.layer_name) {
    b.layer = -1;
    b.layer_name = name;
  }
  constexpr ~named_in_errors() { b_.layer = layer_, b_.layer_name = name_; }
  named_in_errors(const named_in_errors&) = delete;
  named_in_errors& operator=(const named_in_errors&) = delete;

 private:
  graph_builder& b_;
  int layer_;
  std::string_view name_;
};

}  // namespace detail

/// Layers inside a variable scope.
template <text Name, class... Entry>
struct variable_scope {
  static constexpr graph_counts needs = needs_of<Entry...>() + graph_counts{.scopes = 1};

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    opened_scope open(b, static_text<Name>::view(), {});
    return in_order<Context, Entry...>::lower(b, x);
  }
};

/// A network: layers under its own scope. Derive a struct from it to give the network a name that
/// compilers print shortly: `struct vgg_16 : net<"vgg_16", ...> {};`
template <text Name, class... Entry>
struct net : variable_scope<Name, Entry...> {};

/// A layer's function, as TF-Slim's names without a scope have it; "repeat" for what has none.
template <class Layer>
constexpr std::string_view function_name = [] {
  if constexpr (requires { Layer::function; })
    return std::string_view(Layer::function);
  else
    return std::string_view("repeat");
}();

/// repeat<3, conv2d<256, kernel_size{3}>, "conv3">: the layer N times, under the scopes
/// conv3/conv3_1 to conv3/conv3_3. Without a name: Repeat/convolution2d_1, as TF-Slim has it.
template <int N, class Layer, text Scope = "">
struct repeat {
  static constexpr graph_counts needs =
      (N > 0 ? N : 0) * needs_of_one<Layer>() + graph_counts{.scopes = 1};

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    constexpr std::string_view name = static_text<Scope>::view();
    if (N < 0) return b.fail("repeat: the number of repetitions is negative: ", N);
    if (N == 0) return x;
    opened_scope open(b, name, "Repeat");
    for (int i = 1; i <= N && !b.done(); ++i) {
      b.forced_leaf = name.empty() ? function_name<Layer> : name;
      b.forced_suffix = i;
      x = lower_entry<Layer, Context>(b, x);
    }
    b.forced_leaf = {};  // where nothing opened a scope
    return b.done() ? -1 : x;
  }
};

/// The arguments of one layer of a stack.
template <auto... Argument>
struct args {
  template <class Tag>
  using layer = typename Tag::template layer<Argument...>;
};

/// stack<ops::conv2d, "core", args<32, kernel_size{3}>, args<32, kernel_size{1}>>: the op once for
/// each list of arguments, under the scopes core/core_1, core/core_2, ...
template <class Tag, text Scope, class... Args>
struct stack {
  static constexpr bool has_layers =
      requires { Tag::function; } && (makes_layer<Args, Tag> && ...);
  static constexpr graph_counts needs = [] {
    if constexpr (has_layers)
      return needs_of<typename Args::template layer<Tag>...>() + graph_counts{.scopes = 1};
    else
      return graph_counts{};  // refused when it is lowered
  }();

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    if constexpr (has_layers)
      return lower_each<Context>(b, x);
    else
      return b.fail("stack: ", name_of_type<Tag>(), " is no op with a `layer`, such as ops::conv2d");
  }

 private:
  template <class Context, class B>
  static constexpr int lower_each(B& b, int x) {
    constexpr std::string_view name = static_text<Scope>::view();
    if (sizeof...(Args) == 0) return x;
    opened_scope open(b, name, "Stack");
    using function = int (*)(B&, int);
    constexpr function layers[] = {
        &Args::template layer<Tag>::template lower<Context, B>..., nullptr};
    for (int i = 0; i < static_cast<int>(sizeof...(Args)) && !b.done(); ++i) {
      b.forced_leaf = name.empty() ? Tag::function : name;
      b.forced_suffix = i + 1;
      x = layers[i](b, x);
    }
    return b.done() ? -1 : x;
  }
};

}  // namespace slim
