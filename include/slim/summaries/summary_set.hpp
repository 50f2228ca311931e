// TF-Slim's helpers for summaries: what is to be looked at is named once, and written to an event
// file whenever it is time.
//
//   summaries::summary_set all;
//   summaries::add_histogram_summaries(all, get_model_variables(m));
//   summaries::add_scalar_summary(all, "learning_rate", [&] { return op.learning_rate(); });
//   learning::train(op, batches, "logdir", {.summarize = all});
//
// Tags are TF-Slim's. Tensors are views, by name, of memory that outlives the set: a model's.
#pragma once

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <regex>
#include <string>
#include <vector>

#include "../graph/node_names.hpp"
#include "../variables.hpp"
#include "event_writer.hpp"

namespace slim::summaries {

/// What is written each time; callable as train's and evaluate's `summarize`.
class summary_set {
 public:
  using write_fn = std::function<void(event_writer&, const std::string& tag, std::int64_t step)>;

  /// Adds what write() writes under a tag, in which by TensorFlow's rules '_' replaces all but
  /// letters, digits, '-', '/', '.' and '_'; where it is taken, under <tag>_1 and so on. Returns
  /// the tag.
  std::string add(const std::string& tag, write_fn write) {
    const std::string good = cleaned(tag);
    const int copies = taken_[good]++;
    const std::string own = copies == 0 ? good : good + "_" + std::to_string(copies);
    all_.push_back({own, std::move(write)});
    return own;
  }
  /// From now on the tag counts as taken.
  void take(const std::string& tag) { taken_.emplace(cleaned(tag), 1); }
  /// Writes all of them, in the order in which they were added. Throws as event_writer does.
  void operator()(event_writer& log, std::int64_t step) const {
    for (const auto& [tag, write] : all_) write(log, tag, step);
  }
  std::vector<std::string> tags() const {
    std::vector<std::string> all;
    for (const auto& [tag, write] : all_) all.push_back(tag);
    return all;
  }

 private:
  static std::string cleaned(std::string tag) {
    for (char& c : tag)
      if (!std::isalnum(static_cast<unsigned char>(c)) && !std::strchr("-/._", c)) c = '_';
    return tag.substr(std::min(tag.find_first_not_of('/'), tag.size()));
  }

  struct entry {
    std::string tag;
    write_fn write;
  };
  std::vector<entry> all_;
  std::map<std::string, int> taken_;
};

/// A tensor that is looked up each time it is summarized, for a pass may move it.
template <class T>
struct named_source {
  std::string name;
  std::function<tensor_view<T>()> find;
};

/// An end point of a model's, which outlives it, as the last pass left it. Summarizing it throws
/// std::invalid_argument where that pass did not keep it (fetch, fetch_all).
template <class Model>
named_source<const typename Model::element_type> end_point(const Model& m,
                                                           const std::string& name) {
  return {name, [&m, name] {
            for (const auto& e : m.end_points())
              if (e.name == name) return e.values;
            throw std::invalid_argument("summary of " + name +
                                        ": the last pass kept no such end point");
          }};
}

namespace detail {

// What the functions below take as a tensor: a view that has a name, or a source of such.
template <class T>
std::function<tensor_view<T>()> finder(const named_tensor<T>& tensor) {
  return [v = tensor.values] { return v; };
}
template <class T>
std::function<tensor_view<T>()> finder(const named_source<T>& tensor) {
  return tensor.find;
}
template <class Tensor>
using finder_of = decltype(finder(std::declval<const Tensor&>()));
template <class Tensor>
using element_of = std::remove_cvref_t<decltype(*std::declval<finder_of<Tensor>>()().begin())>;

/// A tensor's own name is taken in TensorFlow, by the op that makes it.
template <class Tensor>
std::string tag_of(summary_set& all, const Tensor& tensor, const std::string& name,
                   const std::string& prefix) {
  all.take(tensor.name);
  return (prefix.empty() ? "" : prefix + "/") + (name.empty() ? tensor.name : name);
}

/// As tf.Print: a message and the first three values, on standard error.
template <class Values>
void print(const std::string& tag, const Values& values) {
  std::string line = tag + "[";
  const auto count = values.end() - values.begin();
  for (std::ptrdiff_t i = 0; i < std::min<std::ptrdiff_t>(count, 3); ++i)
    line += (i == 0 ? "" : " ") + std::to_string(values.begin()[i]);
  std::cerr << line + (count > 3 ? "...]\n" : "]\n");
}

/// The share of a tensor's elements for which this holds; 0 of none.
template <class Tensor, class F>
std::function<double()> fraction(const Tensor& tensor, F holds) {
  return [find = finder(tensor), holds] {
    const auto values = find();
    const auto count = std::count_if(values.begin(), values.end(), holds);
    return count == 0 ? 0 : double(count) / double(values.dims.count());
  };
}

/// Throws std::invalid_argument unless there are so many axes.
inline void check_rank(const std::string& summary, const shape& dims, int rank) {
  if (dims.rank == rank) return;
  message found;
  found << dims;
  throw std::invalid_argument(summary + ": its shape " + std::string(found.view()) + " has not " +
                              std::to_string(rank) + " axes");
}

}  // namespace detail

// ---- TF-Slim's summaries ------------------------------------------------------------------------
// A tensor is a named_tensor, such as get_variables gives, or a named_source. Tags are
// [prefix/]name, or [prefix/]<the tensor's name> without one, and as in TensorFlow <the tensor's
// name>_1 where that is all; each function returns its tag.
// print_summary prints what is written on standard error, too.

/// A number: of a function's.
inline std::string add_scalar_summary(summary_set& all, const std::string& name,
                                      std::function<double()> value, const std::string& prefix = "",
                                      bool print_summary = false) {
  const std::string tag = (prefix.empty() ? "" : prefix + "/") + name;
  return all.add(tag, [value = std::move(value), print_summary](
                          event_writer& log, const std::string& own, std::int64_t step) {
    const double v = value();
    log.add_scalar(own, v, step);
    if (print_summary) detail::print(own, std::vector<double>{v});
  });
}
/// Of a tensor without axes; summarizing another throws std::invalid_argument.
template <class Tensor>
std::string add_scalar_summary(summary_set& all, const Tensor& tensor, const std::string& name = "",
                               const std::string& prefix = "", bool print_summary = false) {
  const std::string tag = detail::tag_of(all, tensor, name, prefix);
  return add_scalar_summary(
      all, tag,
      [find = detail::finder(tensor), tag] {
        const auto values = find();
        detail::check_rank("scalar summary " + tag, values.dims, 0);
        return double(values.data[0]);
      },
      "", print_summary);
}
/// How a tensor's values are distributed.
template <class Tensor>
std::string add_histogram_summary(summary_set& all, const Tensor& tensor,
                                  const std::string& name = "", const std::string& prefix = "") {
  return all.add(
      detail::tag_of(all, tensor, name, prefix),
      [find = detail::finder(tensor)](event_writer& log, const std::string& tag,
                                      std::int64_t step) { log.add_histogram(tag, find(), step); });
}
/// The first three of a tensor's images [n, height, width, 1, 3 or 4]; summarizing one of another
/// rank throws std::invalid_argument.
template <class Tensor>
std::string add_image_summary(summary_set& all, const Tensor& tensor, const std::string& name = "",
                              const std::string& prefix = "", bool print_summary = false) {
  return all.add(detail::tag_of(all, tensor, name, prefix),
                 [find = detail::finder(tensor), print_summary](
                     event_writer& log, const std::string& tag, std::int64_t step) {
                   const auto values = find();
                   detail::check_rank("image summary " + tag, values.dims, 4);
                   const std::vector<float> pixels(values.begin(), values.end());
                   const auto extent = [&](int axis) {
                     return static_cast<int>(values.dims[axis]);
                   };
                   log.add_images(tag, pixels, extent(0), extent(1), extent(2), extent(3), step);
                   if (print_summary) detail::print(tag, pixels);
                 });
}
/// The share of a tensor's values that are 0, as <tag>/Fraction_of_Zero_Values.
template <class Tensor>
std::string add_zero_fraction_summary(summary_set& all, const Tensor& tensor,
                                      const std::string& name = "", const std::string& prefix = "",
                                      bool print_summary = false) {
  using T = detail::element_of<Tensor>;
  return add_scalar_summary(
      all, detail::tag_of(all, tensor, name, prefix) + "/Fraction_of_Zero_Values",
      detail::fraction(tensor, [](T x) { return x == 0; }), "", print_summary);
}

template <class Tensor>
void add_scalar_summaries(summary_set& all, const std::vector<Tensor>& tensors,
                          const std::string& prefix = "", bool print_summary = false) {
  for (const Tensor& t : tensors) add_scalar_summary(all, t, "", prefix, print_summary);
}
template <class Tensor>
void add_histogram_summaries(summary_set& all, const std::vector<Tensor>& tensors,
                             const std::string& prefix = "") {
  for (const Tensor& t : tensors) add_histogram_summary(all, t, "", prefix);
}
template <class Tensor>
void add_image_summaries(summary_set& all, const std::vector<Tensor>& tensors,
                         const std::string& prefix = "") {
  for (const Tensor& t : tensors) add_image_summary(all, t, "", prefix);
}
template <class Tensor>
void add_zero_fraction_summaries(summary_set& all, const std::vector<Tensor>& tensors,
                                 const std::string& prefix = "") {
  for (const Tensor& t : tensors) add_zero_fraction_summary(all, t, "", prefix);
}

// ---- TF-Slim's layers.summaries -----------------------------------------------------------------

/// A scalar of a tensor without axes, else a histogram, as `tag`: <name>_summary unless given.
template <class T>
std::string summarize_tensor(summary_set& all, const named_tensor<T>& tensor,
                             const std::string& tag = "") {
  const std::string own = tag.empty() ? tensor.name + "_summary" : tag;
  return tensor.values.dims.rank == 0 ? add_scalar_summary(all, tensor, own)
                                      : add_histogram_summary(all, tensor, own);
}
template <class T>
void summarize_tensors(summary_set& all, const std::vector<named_tensor<T>>& tensors) {
  for (const auto& t : tensors) summarize_tensor(all, t);
}

/// What an activation of this type gives, [name]/activation as a histogram; of Relu, Relu6 and
/// Softplus also the share of inputs below 0, [name]/zeros, and of Relu6 that above 6,
/// [name]/sixes. They are told by the outputs, as inputs are gone: one that is exactly 0 or 6
/// counts too.
template <class Tensor>
void summarize_activation(summary_set& all, const Tensor& tensor,
                          std::string_view tensorflow_type) {
  using T = detail::element_of<Tensor>;
  const auto add = [&](const char* what, auto holds) {
    add_scalar_summary(all, tensor.name + what, detail::fraction(tensor, holds));
  };
  if (tensorflow_type == "Relu" || tensorflow_type == "Relu6")
    add("/zeros", [](T x) { return x <= 0; });
  if (tensorflow_type == "Softplus") add("/zeros", [](T x) { return double(x) < M_LN2; });
  if (tensorflow_type == "Relu6") add("/sixes", [](T x) { return x >= 6; });
  add_histogram_summary(all, tensor, tensor.name + "/activation");
}

namespace detail {

/// Those whose names a regular expression finds at their start; all of them if it is empty.
template <class T>
std::vector<named_tensor<T>> filtered(std::vector<named_tensor<T>> tensors,
                                      const std::string& name_filter) {
  const std::regex wanted = slim::detail::pattern(name_filter);
  std::erase_if(tensors, [&](const named_tensor<T>& t) {
    return !std::regex_search(t.name, wanted, std::regex_constants::match_continuous);
  });
  return tensors;
}

}  // namespace detail

/// The variables of a collection. name_filter is a regular expression, anchored at the start.
template <class Model>
void summarize_collection(summary_set& all, Model& m, collection from,
                          const std::string& name_filter = "") {
  summarize_tensors(all, detail::filtered(get_variables(m, "", "", from), name_filter));
}
template <class Model>
void summarize_variables(summary_set& all, Model& m, const std::string& name_filter = "") {
  summarize_collection(all, m, global_variables, name_filter);
}
template <class Model>
void summarize_weights(summary_set& all, Model& m, const std::string& name_filter = "") {
  summarize_tensors(all, detail::filtered(get_variables_by_name(m, "weights"), name_filter));
}
template <class Model>
void summarize_biases(summary_set& all, Model& m, const std::string& name_filter = "") {
  summarize_tensors(all, detail::filtered(get_variables_by_name(m, "biases"), name_filter));
}
/// The end points of a model that keeps them (fetch_all, or some by fetch) and outlives the set,
/// under the names of the ops that bring them about: those of the graph.
template <class Model>
void summarize_activations(summary_set& all, const Model& m, const std::string& name_filter = "") {
  using source = named_source<const typename Model::element_type>;
  const std::regex wanted = slim::detail::pattern(name_filter);
  const graph g = Model::lowered();
  const std::vector<std::string> nodes = node_names(g);
  for (const end_point_row& row : g.end_points) {
    const int node = producer_of(g, row.value);
    if (row.collection.empty() || node < 0 || !g.values[row.value].fetched) continue;
    const std::string& name = nodes[static_cast<std::size_t>(node)];
    if (!std::regex_search(name, wanted, std::regex_constants::match_continuous)) continue;
    const source found = end_point(m, std::string(end_point_name(g, row).view()));
    summarize_activation(all, source{name, found.find}, tensorflow_type(g.nodes[node].op->name));
  }
}

}  // namespace slim::summaries
