// Variables of a model by name. At compile time exact names and prefixes, over the facts that a
// network's type holds; at run time TF-Slim's functions, whose scopes are regular expressions that
// are anchored at the start and see names with ":0" behind them, as in TensorFlow.
#pragma once

#include <boost/hana/tuple.hpp>
#include <algorithm>
#include <map>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

#include "network.hpp"
#include "runner.hpp"

namespace slim {

// ---- compile time --------------------------------------------------------------------------------

/// What a network's type says of one variable.
struct variable_facts {
  message name{};
  shape dims{};
  std::string_view initializer{}, regularizer{}, device{}, collection{};
  bool trainable = false, model_variable = false, local_variable = false;
};

template <class Network>
constexpr variable_facts variable_facts_at(int number) {
  const graph g = Network::lowered();
  const variable_row& v = g.variables[number];
  return {variable_name(g, v), v.dims, v.hooks->initializer, v.regularizer, v.device, v.collection,
          v.trainable, (v.collections & model_variables) != 0,
          (v.collections & local_variables) != 0};
}

/// The facts of the variable with this full name; an unknown name is refused.
template <class Network, text Name>
constexpr variable_facts variable_facts_of() {
  using look_up = detail::variable_named<typename Network::lowering, Name>;
  constexpr int number = detail::required<look_up>();  // no deeper: the error shows each call
  return number < 0 ? variable_facts{} : variable_facts_at<Network>(number);
}

namespace detail {
template <class Network, text Prefix>
struct variables_that_start {
  static constexpr bool fits(int v) {
    const graph g = Network::lowered();
    return variable_name(g, g.variables[v]).view().starts_with(static_text<Prefix>::view());
  }
  static constexpr int count() {
    int found = 0;
    for (int v = 0; v < Network::lowered().variables.size(); ++v) found += fits(v);
    return found;
  }
  static constexpr int number(int nth) {
    int v = 0;
    for (; !fits(v) || nth-- > 0; ++v) {
    }
    return v;
  }
  template <int... I>
  static constexpr auto numbers(std::integer_sequence<int, I...>) {
    return hana::tuple_c<int, number(I)...>;
  }
};
}  // namespace detail

/// The numbers of all variables whose names start with a prefix, as a hana::tuple of hana::int_:
///
///   hana::for_each(variables_with_prefix<model_t, "vgg_16/fc">(), [&](auto v) {
///     constexpr auto facts = variable_facts_at<model_t>(v);
///     ...
///   });
template <class Network, text Prefix>
constexpr auto variables_with_prefix() {
  using found = detail::variables_that_start<Network, Prefix>;
  return found::numbers(std::make_integer_sequence<int, found::count()>());
}

// ---- run time ------------------------------------------------------------------------------------

namespace detail {

/// A pattern of the caller's. Throws std::invalid_argument that names a wrong one.
inline std::regex pattern(const std::string& text) try {
  return std::regex(text);
} catch (const std::regex_error& e) {
  throw std::invalid_argument("\"" + text + "\" is no regular expression: " + e.what());
}

/// Python's re.match on a variable's name, which ends in ":0".
inline bool matches(const std::string& name, const std::regex& scope) {
  return std::regex_search(name + ":0", scope, std::regex_constants::match_continuous);
}

}  // namespace detail

/// The variables in a collection (all global ones unless given), in the model's own order, whose
/// names match `scope` from the start and go on to `suffix` at their end. Both are regular
/// expressions: "conv1" also finds conv10. The views may be written until the model's next pass.
template <class Model>
auto get_variables(Model& m, const std::string& scope = "", std::string suffix = "",
                   collection from = global_variables) {
  using T = typename Model::element_type;
  if (!suffix.empty() && suffix.find(':') == suffix.npos) suffix += ':';
  const std::regex wanted = detail::pattern(suffix.empty() ? scope : scope + ".*" + suffix);
  std::vector<named_tensor<T>> found;
  for (int v = 0; v < Model::variable_count; ++v)
    if ((m.collections(v) & from) != 0 && detail::matches(m.variable_name(v), wanted))
      found.push_back({m.variable_name(v), m.variable(v)});
  return found;
}
template <class Model>
auto get_model_variables(Model& m, const std::string& scope = "", const std::string& suffix = "") {
  return get_variables(m, scope, suffix, model_variables);
}
template <class Model>
auto get_trainable_variables(Model& m, const std::string& scope = "",
                             const std::string& suffix = "") {
  return get_variables(m, scope, suffix, trainable_variables);
}
template <class Model>
auto get_local_variables(Model& m, const std::string& scope = "", const std::string& suffix = "") {
  return get_variables(m, scope, suffix, local_variables);
}
template <class Model>
auto get_variables_by_suffix(Model& m, const std::string& suffix, const std::string& scope = "") {
  return get_variables(m, scope, suffix);
}
/// Those whose last name is `name`. As in TF-Slim one at the root is found whatever the scope.
template <class Model>
auto get_variables_by_name(Model& m, const std::string& name, const std::string& scope = "") {
  return get_variables(m, scope, "/" + name + ":|^" + name + ":");
}
/// The variables that joined a collection of the user's by variables_collections.
template <class Model>
auto get_collection(Model& m, const std::string& name) {
  std::vector<named_tensor<typename Model::element_type>> found;
  for (int v = 0; v < Model::variable_count; ++v)
    if (m.collection_name(v) == name) found.push_back({m.variable_name(v), m.variable(v)});
  return found;
}
/// The one variable with this full name. Throws std::invalid_argument if there is none.
template <class Model>
auto get_unique_variable(Model& m, const std::string& name) {
  for (int v = 0; v < Model::variable_count; ++v)
    if (m.variable_name(v) == name)
      return named_tensor<typename Model::element_type>{name, m.variable(v)};
  throw std::invalid_argument("there is no variable named " + name);
}

/// The names of the global variables that match one of `include` (all, if that is empty) and none of
/// `exclude`, for a checkpoint's variable_map. As in TF-Slim patterns anchor at the start, so
/// excluding "fc6" does not exclude vgg_16/fc6; and what two patterns include is named twice.
template <class Model>
std::vector<std::string> get_variables_to_restore(Model& m,
                                                  const std::vector<std::string>& include = {},
                                                  const std::vector<std::string>& exclude = {}) {
  std::vector<std::regex> excluded;
  for (const std::string& scope : exclude) excluded.push_back(detail::pattern(scope));
  std::vector<std::string> names;
  for (const std::string& scope : include.empty() ? std::vector<std::string>{""} : include)
    for (const auto& v : get_variables(m, scope)) {
      bool out = false;
      for (const std::regex& e : excluded) out |= detail::matches(v.name, e);
      if (!out) names.push_back(v.name);
    }
  return names;
}

/// Of these variables, those that one of `include` finds (all, if that is empty) and none of
/// `exclude`. The patterns are looked for anywhere, or with `search` false at the start.
template <class T>
std::vector<named_tensor<T>> filter_variables(const std::vector<named_tensor<T>>& variables,
                                              const std::vector<std::string>& include = {},
                                              const std::vector<std::string>& exclude = {},
                                              bool search = true) {
  const auto any = [search](const std::string& name, const std::vector<std::string>& patterns) {
    for (const std::string& p : patterns) {
      const std::regex r = detail::pattern(p);
      if (search ? std::regex_search(name + ":0", r) : detail::matches(name, r)) return true;
    }
    return false;
  };
  std::vector<named_tensor<T>> found;
  for (const auto& v : variables)
    if ((include.empty() || any(v.name, include)) && !any(v.name, exclude)) found.push_back(v);
  return found;
}

/// The names of all global variables: those that are saved.
template <class Model>
std::vector<std::string> variable_names(const Model& m) {
  std::vector<std::string> names;
  for (int v = 0; v < Model::variable_count; ++v)
    if ((m.collections(v) & global_variables) != 0) names.push_back(m.variable_name(v));
  return names;
}

/// TF-Slim's assign_from_values: sets variables by name to values, row-major. Throws
/// std::invalid_argument, which names the variable, before any has changed.
template <class Model>
void assign_from_values(
    Model& m, const std::map<std::string, std::vector<typename Model::element_type>>& values) {
  const Model& as_it_is = m;
  std::map<std::string, int> numbers;
  for (int v = 0; v < Model::variable_count; ++v) numbers.emplace(m.variable_name(v), v);
  for (const auto& [name, elements] : values) {
    const auto found = numbers.find(name);
    if (found == numbers.end())
      throw std::invalid_argument("assign_from_values: there is no variable named " + name);
    const long wanted = as_it_is.variable(found->second).dims.count();
    if (std::ssize(elements) != wanted)
      throw std::invalid_argument("assign_from_values: " + name + " has " +
                                  std::to_string(wanted) + " elements, not " +
                                  std::to_string(elements.size()));
  }
  for (const auto& [name, elements] : values)
    std::copy(elements.begin(), elements.end(), m.variable(numbers.at(name)).begin());
}

/// The same as a function to be called later, such as an init_fn's.
template <class Model>
auto assign_from_values_fn(
    std::map<std::string, std::vector<typename Model::element_type>> values) {
  return [values = std::move(values)](Model& m) { assign_from_values(m, values); };
}

}  // namespace slim
