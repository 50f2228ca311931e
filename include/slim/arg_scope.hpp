// arg_scope: default arguments for the ops inside it. Scopes nest; the innermost value of a slot
// wins, a layer's own option beats them all, and an explicit `none` is a value like any other.
#pragma once

#include "options.hpp"

namespace slim {

/// Whether a type is the tag of something that takes options.
template <class Tag>
constexpr bool is_op = requires {
  Tag::name;
  Tag::options;
};
/// Whether args<...> or with<...> makes a layer of a tag. (nvcc sees no member templates here.)
template <class Args, class Tag>
constexpr bool makes_layer =
#ifdef __CUDACC__
    requires { Tag::default_scope; };
#else
    requires { typename Args::template layer<Tag>; };
#endif

/// What a message calls a type that may not have a name.
template <class T>
constexpr std::string_view name_of_type() {
  if constexpr (requires { T::name; })
    return T::name;
  else
    return "what is given";
}

/// The ops an arg_scope speaks to: `on<ops::conv2d, ops::fully_connected>`.
template <class... Tag>
struct on {
  template <class Other>
  static constexpr bool has = (std::is_same_v<Tag, Other> || ...);

  /// Complains if one of the ops does not take one of the options.
  template <class List, class B>
  static constexpr void check(B& b) {
    (check_one<Tag, List>(b), ...);
  }

 private:
  template <class One, class List>
  static constexpr std::string_view unknown = unknown_slot<One>(List::slots, List::size);

  template <class One, class List, class B>
  static constexpr void check_one(B& b) {
    if constexpr (!is_op<One>)
      b.fail("arg_scope: ", name_of_type<One>(), " is no op of a layer, such as ops::conv2d");
    else if (!unknown<One, List>.empty())
      b.fail("arg_scope: ", One::name, " does not take the option ", unknown<One, List>);
    else if (List::find("scope") >= 0)
      b.fail("arg_scope: scope cannot be a default argument of ", One::name);
  }
};

/// The default arguments: `with<activation_fn{relu}, stride{1}>`.
template <auto... Option>
struct with {
  using list = option_list<constant<Option>...>;
  /// A layer that has these options as its own.
  template <class Tag>
  using layer = typename Tag::template layer<Option...>;
};

/// Outside every arg_scope.
struct no_context {
  template <class Tag>
  using options = option_list<>;
};

/// Inside one: the enclosing scopes' options for an op, then this one's.
template <class Parent, class On, class With>
struct context {
  template <class Tag>
  using options = concatenate<
      typename Parent::template options<Tag>,
      std::conditional_t<On::template has<Tag>, typename With::list, option_list<>>>;
};

/// Lowers one entry; refuses what is no layer, such as the op of one.
template <class Entry, class Context, class B>
constexpr int lower_entry(B& b, int x) {
  if constexpr (requires { Entry::template lower<Context>(b, x); })
    return Entry::template lower<Context>(b, x);
  else if constexpr (requires { Entry::default_scope; })
    return b.fail("ops::", Entry::name, " is no layer: write ", Entry::name, "<...>");
  else if constexpr (requires { Entry::name; })
    return b.fail(Entry::name, " is no layer");
  else
    return b.fail("an entry is no layer");
}

/// Runs the entries one after another. An array of functions, for some compilers cap a fold.
template <class Context, class... Entry>
struct in_order {
  template <class B>
  static constexpr int lower(B& b, int x) {
    using function = int (*)(B&, int);
    constexpr function entries[] = {&lower_entry<Entry, Context, B>..., nullptr};
    for (int i = 0; i < static_cast<int>(sizeof...(Entry)) && !b.done(); ++i)
      x = entries[i](b, x);
    return b.done() ? -1 : x;
  }
};

template <class Entry>
constexpr graph_counts needs_of_one() {
  if constexpr (requires { Entry::needs; })
    return Entry::needs;
  else
    return {};  // refused when it is lowered
}
template <class... Entry>
constexpr graph_counts needs_of() {
  graph_counts sum;
  const graph_counts each[] = {needs_of_one<Entry>()..., graph_counts{}};
  for (const graph_counts& one : each) sum = sum + one;
  return sum;
}

/// Layers in order, without a scope of their own.
template <class... Entry>
struct sequence {
  static constexpr graph_counts needs = needs_of<Entry...>();

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    return in_order<Context, Entry...>::lower(b, x);
  }
};

template <class On, class With, class... Entry>
struct arg_scope {
  static constexpr graph_counts needs = needs_of<Entry...>();

  template <class Context, class B>
  static constexpr int lower(B& b, int x) {
    if (!twice.empty()) return b.fail("arg_scope: the option ", twice, " is given twice");
    On::template check<typename With::list>(b);
    if (b.failed()) return -1;
    return in_order<context<Context, On, With>, Entry...>::lower(b, x);
  }

 private:
  static constexpr std::string_view twice = repeated_slot(With::list::slots, With::list::size);
};

}  // namespace slim
