// Graphs that branch: values that join, skip, stand aside or are heads. Written in forward order, and
// without tags: what is needed later is named as an end point, by its scope's path or a key.
#pragma once

#include "op/activation.hpp"
#include "op/concat.hpp"
#include "scopes.hpp"

namespace slim {

namespace detail {

/// Lowers each branch from the same x; false where one failed.
template <class Context, class... Branch, class B>
constexpr bool lower_branches(B& b, int x, int* outputs) {
  using function = int (*)(B&, int);
  constexpr function branches[] = {&lower_entry<Branch, Context, B>..., nullptr};
  for (int i = 0; i < static_cast<int>(sizeof...(Branch)); ++i) {
    outputs[i] = branches[i](b, x);
    if (b.done()) return false;
  }
  return true;
}

}  // namespace detail

/// x itself: the branch of a residual unit that does nothing.
using identity = sequence<>;

/// concat<A, B, ...>: the branches' outputs of the same x, joined along the last axis. All other
/// extents must be equal.
template <class... Branch>
struct concat {
  static constexpr std::string_view name = "concat";
  static constexpr graph_counts needs =
      needs_of<Branch...>() +
      graph_counts{.nodes = 1, .values = 1, .edges = static_cast<int>(sizeof...(Branch)) + 1};

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    int outputs[sizeof...(Branch) + 1]{};
    if (!detail::lower_branches<Context, Branch...>(b, x, outputs)) return -1;
    if (sizeof...(Branch) < 2) return sizeof...(Branch) == 0 ? x : outputs[0];
    const detail::named_in_errors here(b, name);
    return b.template add<op::concat>(outputs, sizeof...(Branch));
  }
};

/// sum<A, B, ...>: the branches' outputs of the same x, added. Their shapes must be equal. A residual
/// unit is sum<identity, sequence<...>>, with apply<relu> behind it.
template <class... Branch>
struct sum {
  static constexpr std::string_view name = "sum";
  static constexpr graph_counts needs =
      needs_of<Branch...>() + static_cast<int>(sizeof...(Branch)) *
                                  graph_counts{.nodes = 1, .values = 1, .edges = 3};

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    int outputs[sizeof...(Branch) + 1]{};
    if (!detail::lower_branches<Context, Branch...>(b, x, outputs)) return -1;
    const detail::named_in_errors here(b, name);
    int y = sizeof...(Branch) == 0 ? x : outputs[0];
    for (int i = 1; i < static_cast<int>(sizeof...(Branch)) && !b.failed(); ++i)
      y = b.template add<op::add>({y, outputs[i]});
    return y;
  }
};

/// apply<relu>: an activation function by itself.
template <auto F>
struct apply {
  static constexpr std::string_view name = "apply";
  static constexpr graph_counts needs{.nodes = 1, .values = 1, .edges = 2};

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    const detail::named_in_errors here(b, name);
    return add_activation<constant<F>>(b, x);
  }
};

/// from<"unet/down1/conv1_2">: an earlier end point, an input or a variable instead of x. The name
/// may leave out the scopes that are open here.
template <text Name>
struct from {
  static constexpr std::string_view name = "from";
  static constexpr graph_counts needs{};

  template <class Context, class B>
  static constexpr int lower(B& b, int) {
    constexpr std::string_view wanted = static_text<Name>::view();
    const int found = find(b, wanted);
    if (found >= 0) return found;
    const detail::named_in_errors here(b, name);
    return b.fail(no_end_point(b.g, wanted).view(), ", so far");
  }

  static constexpr int find(const graph_builder& b, std::string_view wanted) {
    if (const int value = in_open_scopes(b, wanted, &find_end_point); value >= 0) return value;
    if (const int input = find_input(b.g, wanted); input >= 0) return b.g.inputs[input].value;
    const int variable = in_open_scopes(b, wanted, &find_variable);
    return variable < 0 ? -1 : b.g.variables[variable].value;
  }

 private:
  /// What has this name in full, or behind the path of a scope that is open: innermost first.
  static constexpr int in_open_scopes(const graph_builder& b, std::string_view wanted,
                                      int (*find_full)(const graph&, std::string_view)) {
    int found = find_full(b.g, wanted);
    for (int open = b.scope; open >= 0 && found < 0; open = b.g.scopes[open].parent) {
      message path = scope_path(b.g, open);
      found = find_full(b.g, (path << "/" << wanted).view());
    }
    return found;
  }
};

/// end_point<"Mixed_3b", ...>: the entries' output under a key of its own, as the dictionaries of
/// end points of TF-Slim's nets have it.
template <text Key, class... Entry>
struct end_point {
  static constexpr graph_counts needs = needs_of<Entry...>() + graph_counts{.end_points = 1};

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    const int y = in_order<Context, Entry...>::lower(b, x);
    if (!b.done()) b.add_end_point(static_text<Key>::view(), y);
    return b.done() ? -1 : y;
  }
};

/// scoped_end_point<"bottleneck", ...>: entries in a variable scope, whose path names their output,
/// as if they were one layer.
template <text Name, class... Entry>
struct scoped_end_point {
  static constexpr graph_counts needs =
      needs_of<Entry...>() + graph_counts{.scopes = 1, .end_points = 1};

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    opened_scope open(b, static_text<Name>::view(), {});
    const int y = in_order<Context, Entry...>::lower(b, x);
    if (!b.done()) b.add_end_point(y, "end_points");
    return b.done() ? -1 : y;
  }
};

/// aside<...>: entries on x whose output goes nowhere from here, such as an auxiliary head; x goes
/// on.
template <class... Entry>
struct aside {
  static constexpr graph_counts needs = needs_of<Entry...>();

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    in_order<Context, Entry...>::lower(b, x);
    return b.done() ? -1 : x;
  }
};

/// heads<A, B, ...>: several outputs of the same x. The first is the network's output, all are kept
/// for the caller (fetched), and in a model with losses each must feed one.
template <class... Head>
struct heads {
  static_assert(sizeof...(Head) > 0, "heads: name at least one");
  static constexpr graph_counts needs =
      needs_of<Head...>() + graph_counts{.heads = static_cast<int>(sizeof...(Head))};

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    int outputs[sizeof...(Head)]{};
    if (!detail::lower_branches<Context, Head...>(b, x, outputs)) return -1;
    for (const int y : outputs) {
      b.g.values[y].fetched = true;
      b.g.heads.add(y);
    }
    return outputs[0];
  }
};

/// reuse<...>: the scopes inside are opened again, and their variables are those created before:
/// TF-Slim's reuse=True. A variable that is missing, or has another shape, is refused. Regularizers
/// count once.
template <class... Entry>
struct reuse {
  static constexpr graph_counts needs = needs_of<Entry...>();

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    const bool outer = b.reusing;
    b.reusing = true;
    x = in_order<Context, Entry...>::lower(b, x);
    b.reusing = outer;
    return x;
  }
};

/// until<"vgg_16/pool5", Net>: a net up to one of its end points, by path or key: TF-Slim's
/// final_endpoint. What comes behind it is not built.
template <text Name, class... Entry>
struct until {
  static constexpr std::string_view name = "until";
  static constexpr graph_counts needs = needs_of<Entry...>();

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    if (!b.until.empty()) return b.fail("until: one stands inside another");
    const int scope = b.scope;
    b.until = static_text<Name>::view();
    in_order<Context, Entry...>::lower(b, x);
    const int reached = b.reached;
    b.until = {}, b.reached = -1, b.scope = scope;
    if (b.failed() || reached >= 0) return b.failed() ? -1 : reached;
    const detail::named_in_errors here(b, name);
    return b.fail(no_end_point(b.g, static_text<Name>::view()).view());
  }
};

}  // namespace slim
