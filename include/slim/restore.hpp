// Restores a model's variables from a file of tensors, whatever its format: from safetensors
// (safetensors.hpp) with no other library, from TensorFlow's checkpoints with checkpoint.hpp.
#pragma once

#include <exception>
#include <map>

#include "checkpoint/tensor_reader.hpp"
#include "runner.hpp"

namespace slim {

/// What restoring may pass over.
struct restore_options {
  bool ignore_missing_vars = false;  ///< variables the file lacks stay as they are
  bool reshape_variables = false;    ///< another shape of as many elements will do, row-major
};

/// What restoring did, by the names of the model's variables.
struct restore_report {
  std::vector<std::string> restored, missing;
};

/// Which variables are restored, and the name each has in the file.
class variable_map {
 public:
  variable_map() = default;
  /// Under their own names.
  variable_map(std::initializer_list<std::string> names)
      : variable_map(std::vector<std::string>(names)) {}
  variable_map(const std::vector<std::string>& names) {
    for (const std::string& n : names) add(n, n);
  }
  /// From the file's name to the model's, as TF-Slim's dictionaries; several variables may have one
  /// source.
  variable_map(const std::multimap<std::string, std::string>& stored_to_variable) {
    for (const auto& [stored, variable] : stored_to_variable) add(stored, variable);
  }
  variable_map(const std::map<std::string, std::string>& stored_to_variable) {
    for (const auto& [stored, variable] : stored_to_variable) add(stored, variable);
  }
  /// The names that a function gives these variables in the file; "" leaves one out.
  template <class F>
  requires std::is_invocable_r_v<std::string, F, const std::string&> variable_map(
      const std::vector<std::string>& names, F stored_name) {
    for (const std::string& n : names)
      if (std::string stored = stored_name(n); !stored.empty()) add(std::move(stored), n);
  }

  struct entry {
    std::string stored, variable;
  };
  const std::vector<entry>& entries() const { return entries_; }
  bool empty() const { return entries_.empty(); }

 private:
  void add(std::string stored, std::string variable) {
    entries_.push_back({std::move(stored), std::move(variable)});
  }

  std::vector<entry> entries_;
};

inline stored_shape stored_shape_of(const shape& s) { return {s.extents, s.extents + s.rank}; }

namespace detail {

/// The variables of a model that files have, in the model's own order.
template <class Model>
auto saved_variables(Model& m) {
  std::vector<named_tensor<typename Model::element_type>> all;
  for (int v = 0; v < Model::variable_count; ++v)
    if ((m.collections(v) & global_variables) != 0)
      all.push_back({m.variable_name(v), m.variable(v)});
  return all;
}

/// A variable and the tensor it is restored from.
template <class T>
struct restoration {
  const tensor_info* tensor;
  tensor_view<T> target;
  std::vector<tensor_piece> pieces{};
};

/// Finds every variable's tensor and checks its type and shape; nothing is read yet.
template <class T>
std::vector<restoration<T>> plan_restore(const std::vector<named_tensor<T>>& variables,
                                         const tensor_reader& reader, const variable_map& map,
                                         const restore_options& options, restore_report& report) {
  std::vector<restoration<T>> plan;
  for (const variable_map::entry& e : map.entries()) {
    const auto v = std::find_if(variables.begin(), variables.end(),
                                [&](const auto& x) { return x.name == e.variable; });
    if (v == variables.end())
      throw checkpoint_error(reader.file(), e.variable, "the model has no such variable");
    const tensor_info* const tensor = reader.find(e.stored);
    if (tensor == nullptr && options.ignore_missing_vars) {
      report.missing.push_back(e.variable);
      continue;
    }
    if (tensor == nullptr) reader.at(e.stored);  // throws
    reader.check_type<T>(*tensor);
    const stored_shape wanted = stored_shape_of(v->values.dims);
    const bool fits = tensor->dims == wanted ||
                      (options.reshape_variables && tensor->count() == v->values.dims.count());
    if (!fits)
      throw checkpoint_error(reader.file(), e.stored,
                             "has shape " + text_of(tensor->dims) + ", the model's " + e.variable +
                                 " has " + text_of(wanted));
    report.restored.push_back(e.variable);
    plan.push_back({tensor, v->values});
  }
  return plan;
}

/// Locates and verifies all tensors, on all threads; throws the first fault in the plan's order.
template <class T>
void verify_all(std::vector<restoration<T>>& plan, const tensor_reader& reader,
                cpu_device& device) {
  std::vector<std::exception_ptr> faults(plan.size());
  device.parallel(static_cast<int>(plan.size()), [&](int task, int) {
    const auto i = static_cast<std::size_t>(task);
    try {
      plan[i].pieces = reader.verified<T>(*plan[i].tensor);
    } catch (...) {
      faults[i] = std::current_exception();
    }
  });
  for (const std::exception_ptr& fault : faults)
    if (fault) std::rethrow_exception(fault);
}

template <class T>
void copy_all(const std::vector<restoration<T>>& plan, cpu_device& device) {
  constexpr std::int64_t most = 1 << 18;  // elements a job: both threads stay busy to the end
  std::vector<copy_job<T>> jobs;
  for (const restoration<T>& r : plan)
    add_copy_jobs(*r.tensor, r.pieces, r.target.data, most, jobs);
  device.parallel(static_cast<int>(jobs.size()), [&](int task, int) {
    const copy_job<T>& job = jobs[static_cast<std::size_t>(task)];
    job.run();
    job.drop_source();
  });
}

}  // namespace detail

/// Restores the variables of a map. Floats of any width become the model's own. Throws
/// checkpoint_error, which names file, variable and fault, before any variable has changed.
template <class Model>
restore_report restore(Model& m, const tensor_reader& reader, const variable_map& map,
                       const restore_options& options = {}) {
  restore_report report;
  auto plan = detail::plan_restore(detail::saved_variables(m), reader, map, options, report);
  detail::verify_all(plan, reader, m.device());
  detail::copy_all(plan, m.device());
  return report;
}

/// Restores every variable of the model under its own name.
template <class Model>
restore_report restore(Model& m, const tensor_reader& reader) {
  std::vector<std::string> names;
  for (const auto& v : detail::saved_variables(m)) names.push_back(v.name);
  return restore(m, reader, variable_map(names));
}

}  // namespace slim
