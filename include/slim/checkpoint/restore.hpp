// Restores models from TensorFlow's checkpoints by path, and saves them.
#pragma once

#include <functional>

#include "../restore.hpp"
#include "../variables.hpp"
#include "checkpoint_reader.hpp"
#include "checkpoint_writer.hpp"

namespace slim {

/// The same from a checkpoint's prefix, or a folder of checkpoints.
template <class Model>
restore_report restore(Model& m, const std::string& path, const restore_options& options = {}) {
  return restore(m, checkpoint_reader(path), variable_map(variable_names(m)), options);
}

/// TF-Slim's assign_from_checkpoint: every variable of the map must be there in its shape, or be
/// missing where that may be ignored.
template <class Model>
restore_report assign_from_checkpoint(Model& m, const std::string& path, const variable_map& map,
                                      bool ignore_missing_vars = false) {
  return restore(m, checkpoint_reader(path), map, {ignore_missing_vars, false});
}

/// TF-Slim's assign_from_checkpoint_fn: a function that restores the map's variables whenever it is
/// called. Looks at the file now only to drop what is missing where that may be ignored; if nothing
/// is left the function is empty. Throws std::invalid_argument if the map is empty.
template <class Model>
std::function<restore_report(Model&)> assign_from_checkpoint_fn(const std::string& path,
                                                                const variable_map& map,
                                                                restore_options options = {}) {
  if (map.empty())
    throw std::invalid_argument("assign_from_checkpoint_fn: no variables to restore from " + path);
  if (options.ignore_missing_vars) {
    const checkpoint_reader reader(path);
    const auto there = [&](const auto& e) { return reader.find(e.stored) != nullptr; };
    if (std::none_of(map.entries().begin(), map.entries().end(), there)) return {};
  }
  return [=](Model& m) { return restore(m, checkpoint_reader(path), map, options); };
}

/// Saves every variable of the model as a V2 checkpoint under their own names, as TensorFlow's
/// Saver does, byte for byte. Throws checkpoint_error.
template <class Model>
void save_checkpoint(Model& m, const std::string& prefix) {
  auto variables = get_variables(m);
  std::sort(variables.begin(), variables.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  checkpoint_writer writer(prefix);
  for (const auto& v : variables) {
    using T = std::remove_reference_t<decltype(v.values[0])>;
    writer.add<T>(v.name, stored_shape_of(v.values.dims), v.values.span());
  }
  writer.finish();
}

}  // namespace slim
