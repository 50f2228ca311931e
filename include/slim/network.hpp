// A network on its inputs: lowered once, checked, counted. Needs no kernels; `model` (model.hpp)
// adds them.
#pragma once

#include "graph/count.hpp"
#include "graph/differentiate.hpp"
#include "graph/prune.hpp"
#include "branches.hpp"
#include "layers/avg_pool2d.hpp"
#include "layers/batch_norm.hpp"
#include "layers/bias_add.hpp"
#include "layers/conv2d.hpp"
#include "layers/conv2d_in_plane.hpp"
#include "layers/conv2d_transpose.hpp"
#include "layers/dropout.hpp"
#include "layers/flatten.hpp"
#include "layers/fully_connected.hpp"
#include "layers/local_response_normalization.hpp"
#include "layers/max_pool2d.hpp"
#include "layers/one_hot_encoding.hpp"
#include "layers/separable_conv2d.hpp"
#include "layers/softmax.hpp"
#include "layers/spatial_squeeze.hpp"
#include "layers/unit_norm.hpp"
#include "layers/variable.hpp"
#include "losses.hpp"
#include <utility>

namespace slim {

/// An input of a model: its name, element type and shape, the batch first.
template <text Name, class T, int... Extent>
struct named_input {
  static constexpr graph_counts needs{.values = 1, .inputs = 1};
  static constexpr bool is_input = true;

  template <class B>
  static constexpr int lower(B& b) {
    constexpr bool integer = std::is_same_v<T, int>;
    constexpr std::string_view name = static_text<Name>::view();
    if (!integer && !std::is_same_v<T, float> && !std::is_same_v<T, double>)
      return b.fail("input ", name, ": its elements must be int, float or double");
    return b.add_input(name, shape{Extent...}, integer ? element::int32 : element::scalar);
  }
};

/// The images or other data a network starts from, named "inputs".
template <int... Extent>
struct input : named_input<"inputs", float, Extent...> {};

/// Class numbers, int [n], named "labels".
template <int N>
struct labels : named_input<"labels", int, N> {};

/// A distribution over classes for each example, [n, classes], named "labels".
template <int N, int Classes>
struct one_hot_labels : named_input<"labels", float, N, Classes> {};

/// End points a model keeps, so that the caller can read them: `fetch<"vgg_16/pool5">`. Their
/// kernels then write them, so nothing is fused across.
template <text... Name>
struct fetch {
  static constexpr graph_counts needs{};

  template <class B>
  static constexpr void lower(B& b) {
    (mark(b, static_text<Name>::view()), ...);
  }

 private:
  static constexpr void mark(graph_builder& b, std::string_view name) {
    const int value = find_end_point(b.g, name);
    if (value < 0)
      b.fail("fetch: ", no_end_point(b.g, name).view());
    else
      b.g.values[value].fetched = true;
  }
};

/// Every end point is kept.
struct fetch_all {
  static constexpr graph_counts needs{};

  template <class B>
  static constexpr void lower(B& b) {
    for (const end_point_row& row : b.g.end_points) b.g.values[row.value].fetched = true;
  }
};

/// How convolutions may be computed: by the fastest kernel, or by their definition alone.
enum class precision { fast, exact };
inline constexpr precision exact = precision::exact;

/// A part of a model: convolution<exact> keeps direct convolution everywhere. Winograd's transforms,
/// which round otherwise and save multiplications, are then not used; float's errors are those of
/// plain sums of products.
template <precision P>
struct convolution {
  static constexpr graph_counts needs{};

  template <class B>
  static constexpr void lower(B& b) {
    b.g.exact = P == precision::exact;
  }
};

/// The error of a network, as the name of a type that does not exist: compilers print it.
template <text... Message>
struct network_error;

namespace detail {

template <class Part>
constexpr bool is_input = requires { Part::is_input; };
/// The element type or the backend: nothing to lower.
template <class Part>
constexpr bool is_setting = requires { Part::is_setting; };
/// A complete type that lowers itself: false for one whose definition has an error of its own.
template <class Part>
constexpr bool is_part = requires { Part::needs; };

/// In a network with losses, refuses a head that none of them depends on.
constexpr void check_heads(graph_builder& b) {
  const graph& g = b.g;
  if (b.failed() || g.losses.size() == 0 || g.heads.size() == 0) return;
  scratch<bool> needed(g.values.size());
  for (int loss : g.losses) needed[loss] = true;
  for (int i = g.nodes.size() - 1; i >= 0; --i) {
    bool used = false;
    for (int k = 0; k < g.nodes[i].outputs; ++k) used |= needed[g.output_of(g.nodes[i], k)];
    for (int k = 0; k < g.nodes[i].inputs && used; ++k) needed[g.input(g.nodes[i], k)] = true;
  }
  for (int head : g.heads) {
    if (needed[head]) continue;
    b.scope = g.values[head].scope, b.layer = -1, b.layer_name = "heads";
    b.fail("no loss depends on this head ", g.values[head].dims, ": one with logits{\"",
           scope_path(g, b.scope).view(), "\"} would");
    return;
  }
}

/// Lowers a network and its parts (inputs, losses, fetches) for a target.
template <class Target, class Net, class... Part>
constexpr void lower_into(builder<Target>& b) {
  int x = -1;
  const auto inputs = [&]<class P>(P*) {
    if constexpr (is_input<P>) {
      const int value = P::lower(b);
      if (x < 0) x = value;
    }
  };
  (inputs(static_cast<Part*>(nullptr)), ...);
  if (x < 0) b.fail("the network has no input");
  if (!b.failed()) b.g.output = Net::template lower<no_context>(b, x);
  const auto others = [&]<class P>(P*) {
    if constexpr (!is_input<P> && !is_setting<P>)
      if (!b.failed()) P::lower(b);
  };
  (others(static_cast<Part*>(nullptr)), ...);
  check_heads(b);
}

template <class Target, class Net, class... Part>
constexpr auto lower_network() {
  if constexpr ((is_part<Net> && ... && is_part<Part>)) {
    constexpr graph_counts room = needs_of<Net, Part...>();
    graph_storage<room> storage;
    graph g = storage.view();
    builder<Target> b(g);
    lower_into<Target, Net, Part...>(b);
    storage.keep(g);
    return storage;
  } else {
    graph_storage<graph_counts{}> nothing;
    nothing.failure << (is_part<Net> ? "a part is neither input, loss, fetch nor setting"
                                     : "the network is not a complete net");
    return nothing;
  }
}

/// A message cut at blanks into pieces that a compiler prints whole in the name of a type.
struct message_pieces {
  int count = 0;
  int first[message::capacity / 8]{}, last[message::capacity / 8]{};
};
constexpr message_pieces cut(const message& m) {
#ifdef __clang__
  constexpr int longest = 30;
#else
  constexpr int longest = message::capacity;
#endif
  message_pieces pieces;
  for (int from = 0; from < m.size();) {
    int end = from + longest < m.size() ? from + longest : m.size();
    if (end < m.size())
      for (int blank = end; blank > from; --blank)
        if (m.data()[blank] == ' ') {
          end = blank;
          break;
        }
    pieces.first[pieces.count] = from;
    pieces.last[pieces.count++] = end;
    from = end < m.size() && m.data()[end] == ' ' ? end + 1 : end;
  }
  return pieces;
}

/// Names the incomplete type network_error<"...">, in as many pieces as the compiler needs.
template <class Lowering, std::size_t... I>
#ifdef __clang__
bool  // clang looks at the body last, which keeps its notes short
#else
auto  // g++ looks at the body here, so this is the first error
#endif
explain(std::index_sequence<I...>) {
  if constexpr (sizeof...(I) > 0) {
    constexpr message m = Lowering::failure();
    constexpr message_pieces p = cut(m);
    [[maybe_unused]] network_error<text<static_cast<std::size_t>(p.last[I] - p.first[I] + 1)>(
        m.data() + p.first[I], 0)...> error;
  }
  return true;
}

/// True: using an explanation is what makes the compiler look at it.
template <class F>
constexpr bool said(F) {
  return true;
}

/// One lowering of a network, shared by everything that looks at it. Refuses a wrong network with
/// a single error that names scope path, layer, shapes and fault.
template <class Target, class Net, class... Part>
struct lowering {
  static constexpr auto storage = lower_network<Target, Net, Part...>();

  static constexpr graph view() { return storage.view(); }
  static constexpr message failure() { return storage.failure; }

  // The error sits in the body of a function whose address is taken: one error on every compiler,
  // with no cascade.
  using pieces = std::make_index_sequence<static_cast<std::size_t>(cut(storage.failure).count)>;
  static constexpr bool (*explanation)(pieces) = &explain<lowering>;
  static constexpr bool refused = !storage.failure.empty();
  static constexpr bool well_formed = said(explanation) && !refused;
};

/// A count of a network that was refused: fits every comparison, so that a static_assert on it adds
/// no second error.
struct unknown_count {
  constexpr unknown_count(long) {}
  friend constexpr bool operator==(unknown_count, long) { return true; }
  friend constexpr bool operator<(unknown_count, long) { return true; }
  friend constexpr bool operator>(unknown_count, long) { return true; }
  friend constexpr bool operator<=(unknown_count, long) { return true; }
  friend constexpr bool operator>=(unknown_count, long) { return true; }
};

constexpr shape shape_of_output(const graph& g) {
  return g.output >= 0 ? g.values[g.output].dims : shape::unknown();
}

/// A look-up by name: its number, or why there is none. A refused network has no names to miss.
template <class Lowering, text Name>
struct variable_named {
  static constexpr int number = find_variable(Lowering::view(), static_text<Name>::view());
  static constexpr message failure() {
    const bool missing = Lowering::well_formed && number < 0;
    return missing ? no_variable(Lowering::view(), static_text<Name>::view()) : message{};
  }
};
template <class Lowering, text Name>
struct end_point_named {
  static constexpr int number = find_end_point(Lowering::view(), static_text<Name>::view());
  static constexpr message failure() {
    const bool missing = Lowering::well_formed && number < 0;
    return missing ? no_end_point(Lowering::view(), static_text<Name>::view()) : message{};
  }
};

/// The number a look-up found, or -1 behind its error.
template <class LookUp>
constexpr int required() {
  using pieces = std::make_index_sequence<static_cast<std::size_t>(cut(LookUp::failure()).count)>;
  constexpr bool (*explanation)(pieces) = &explain<LookUp>;
  return said(explanation) ? LookUp::number : -1;
}
template <class Lowering, text Name>
constexpr int required_variable() {
  return required<variable_named<Lowering, Name>>();
}
template <class Lowering, text Name>
constexpr int required_end_point() {
  return required<end_point_named<Lowering, Name>>();
}

}  // namespace detail

/// What can be said of a network on its inputs without running it.
template <class Target, class Net, class... Part>
struct network_facts {
  using lowering = detail::lowering<Target, Net, Part...>;
  /// The lowered graph; using it refuses a wrong network.
  static constexpr graph lowered() {
    return lowering::well_formed ? lowering::view() : graph{};
  }

  using count = std::conditional_t<lowering::refused, detail::unknown_count, long>;

  static constexpr int batch = lowered().batch;
  static constexpr shape output_shape = detail::shape_of_output(lowered());
  static constexpr count variable_count = lowered().variables.size();
  /// Elements of all variables.
  static constexpr count parameter_count = count_parameters(lowered());
  static constexpr count trainable_parameter_count = count_parameters(lowered(), true);
  /// Multiply-adds of one forward pass of the whole batch.
  static constexpr count multiply_adds = count_multiply_adds(lowered());
  /// Elements the ops of one forward pass write, before any fusion.
  static constexpr count activation_count = count_activations(lowered());

  /// The shape of an end point, by its full name.
  template <text Name>
  static constexpr shape end_point() {
    constexpr int value = detail::required_end_point<lowering, Name>();
    return value < 0 ? shape::unknown() : lowering::view().values[value].dims;
  }
  /// The shape of a variable, by its full name.
  template <text Name>
  static constexpr shape variable_shape() {
    constexpr int number = detail::required_variable<lowering, Name>();
    return number < 0 ? shape::unknown() : lowering::view().variables[number].dims;
  }
};

/// A network on its inputs, checked and counted: network<vgg_16, input<8, 224, 224, 3>>.
template <class Net, class... Part>
struct network : network_facts<target<float, backend::none>, Net, Part...> {};

}  // namespace slim
