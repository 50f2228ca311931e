// Options of layers: values that read like keyword arguments, in any order. Each is an aggregate
// (so that every compiler can print it back) with the name of its slot.
#pragma once

#include <boost/hana/at.hpp>
#include <boost/hana/tuple.hpp>
#include <boost/hana/type.hpp>
#include <type_traits>

#include "op/elementwise.hpp"

namespace slim {

namespace hana = boost::hana;

/// The explicit "no such thing": beats a value from an arg_scope.
struct none_t {
  friend constexpr bool operator==(none_t, none_t) = default;
};
inline constexpr none_t none{};

template <class T>
constexpr bool is_none = std::is_same_v<std::remove_cvref_t<T>, none_t>;

struct num_outputs {
  static constexpr std::string_view slot = "num_outputs";
  int value;
};
struct kernel_size {
  static constexpr std::string_view slot = "kernel_size";
  int h = 1, w = h;
};
struct stride {
  static constexpr std::string_view slot = "stride";
  int h = 1, w = h;
};
struct rate {
  static constexpr std::string_view slot = "rate";
  int h = 1, w = h;
};
template <class F>
struct activation_fn {
  static constexpr std::string_view slot = "activation_fn";
  F value;
};
template <class F>
activation_fn(F) -> activation_fn<F>;
template <class F>
struct weights_initializer {
  static constexpr std::string_view slot = "weights_initializer";
  F value;
};
template <class F>
weights_initializer(F) -> weights_initializer<F>;
template <class F>
struct biases_initializer {
  static constexpr std::string_view slot = "biases_initializer";
  F value;
};
template <class F>
biases_initializer(F) -> biases_initializer<F>;
template <class F>
struct weights_regularizer {
  static constexpr std::string_view slot = "weights_regularizer";
  F value;
};
template <class F>
weights_regularizer(F) -> weights_regularizer<F>;
template <class F>
struct biases_regularizer {
  static constexpr std::string_view slot = "biases_regularizer";
  F value;
};
template <class F>
biases_regularizer(F) -> biases_regularizer<F>;
/// normalizer_fn{ops::batch_norm{}}: the layer behind a linear one, which then has no biases.
template <class Tag>
struct normalizer_fn {
  static constexpr std::string_view slot = "normalizer_fn";
  Tag value;
};
template <class Tag>
normalizer_fn(Tag) -> normalizer_fn<Tag>;
/// normalizer_params{with<decay{0.9}>{}}: the normalizer's own options.
template <class With>
struct normalizer_params {
  static constexpr std::string_view slot = "normalizer_params";
  With value;
};
template <class With>
normalizer_params(With) -> normalizer_params<With>;
/// A small number that keeps a divisor or a logarithm off zero.
struct epsilon {
  static constexpr std::string_view slot = "epsilon";
  double value;
};
/// The layer's variables are those of an earlier layer of the same scope: TF-Slim's reuse=True.
struct reuse_variables {
  static constexpr std::string_view slot = "reuse";
  bool value;
};
/// Classes of a classifier, or of an encoding.
struct num_classes {
  static constexpr std::string_view slot = "num_classes";
  int value;
};
struct keep_prob {
  static constexpr std::string_view slot = "keep_prob";
  double value;
};
struct is_training {
  static constexpr std::string_view slot = "is_training";
  bool value;
};
struct trainable {
  static constexpr std::string_view slot = "trainable";
  bool value;
};
template <std::size_t N>
struct scope {
  static constexpr std::string_view slot = "scope";
  char value[N];
};
template <std::size_t N>
scope(const char (&)[N]) -> scope<N>;
template <std::size_t N>
struct outputs_collections {
  static constexpr std::string_view slot = "outputs_collections";
  char value[N];
};
template <std::size_t N>
outputs_collections(const char (&)[N]) -> outputs_collections<N>;

/// A collection of the user's that a layer's variables join, besides TensorFlow's own.
template <std::size_t N>
struct variables_collections {
  static constexpr std::string_view slot = "variables_collections";
  char value[N];
};
template <std::size_t N>
variables_collections(const char (&)[N]) -> variables_collections<N>;
/// Where a variable is to live, in TensorFlow's words: a model on a GPU keeps one on "/cpu:0" in
/// host memory, and brings it over when it is read.
template <std::size_t N>
struct on_device {
  static constexpr std::string_view slot = "device";
  char value[N];
};
template <std::size_t N>
on_device(const char (&)[N]) -> on_device<N>;

/// The slot an option fills. An option that cannot say so itself specialises this; what is no
/// option fills a slot that no op has.
template <class Option>
constexpr std::string_view slot_of = [] {
  if constexpr (requires { Option::slot; })
    return std::string_view(Option::slot);
  else
    return std::string_view(std::is_arithmetic_v<Option> ? "(a bare number)" : "(a bare value)");
}();
template <>
inline constexpr std::string_view slot_of<padding> = "padding";

/// The characters of an option such as scope{"conv1"}, in static storage.
template <std::size_t N>
constexpr std::string_view view_of(const char (&characters)[N]) {
  return {characters, N - 1};
}

/// A list of options, each a `constant`; where a slot is filled twice the last one counts.
template <class... Constant>
struct option_list {
  static constexpr int size = sizeof...(Constant);
  static constexpr std::string_view slots[sizeof...(Constant) + 1] = {
      slot_of<std::remove_cvref_t<decltype(Constant::value)>>..., {}};

  static constexpr int find(std::string_view slot) {
    for (int i = size - 1; i >= 0; --i)
      if (slots[i] == slot) return i;
    return -1;
  }

  /// The value that fills `Slot`, or else `fallback`; their types may differ.
  template <text Slot, class Default>
  static constexpr auto get(Default fallback) {
    if constexpr (index<Slot> < 0)
      return fallback;
    else
      return at<index<Slot>>::value;
  }
  /// The characters that fill `Slot`, or "".
  template <text Slot>
  static constexpr std::string_view get_text() {
    if constexpr (index<Slot> < 0)
      return {};
    else
      return view_of(at<index<Slot>>::value.value);
  }

 private:
  // A constant of its own, so that a lowering does not compare names again at each layer.
  template <text Slot>
  static constexpr int index = find(static_text<Slot>::view());
  template <int I>
  using at = typename std::remove_cvref_t<decltype(hana::at_c<I>(
      hana::tuple_t<Constant...>))>::type;
};

namespace detail {
template <class A, class B>
struct concatenated;
template <class... A, class... B>
struct concatenated<option_list<A...>, option_list<B...>> {
  using type = option_list<A..., B...>;
};
}  // namespace detail

template <class A, class B>
using concatenate = typename detail::concatenated<A, B>::type;

/// The first slot of `given` that an op's `options` do not list, or "".
template <class Tag>
constexpr std::string_view unknown_slot(const std::string_view* given, int count) {
  for (int i = 0; i < count; ++i) {
    bool known = given[i] == "scope";
    for (std::string_view option : Tag::options) known |= option == given[i];
    if (!known) return given[i];
  }
  return {};
}

/// The first slot that is filled twice, or "".
constexpr std::string_view repeated_slot(const std::string_view* given, int count) {
  for (int i = 0; i < count; ++i)
    for (int k = 0; k < i; ++k)
      if (given[i] == given[k]) return given[i];
  return {};
}

}  // namespace slim
