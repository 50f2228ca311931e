// The whole state of a training run in checkpoints: variables, optimizer's slots, the global step,
// and whatever else an exact resume needs.
//
//   saver keep({.max_to_keep = 5});
//   keep.save(m, optimizer, "logdir/model.ckpt");       // logdir/model.ckpt-1200
//   keep.save_in_background(m, optimizer, "logdir/model.ckpt");   // while training goes on
//   restore_training(m, optimizer, "logdir");
#pragma once

#include <chrono>
#include <cmath>
#include <future>

#include "../optimizers.hpp"
#include "checkpoint_state.hpp"
#include "restore.hpp"

namespace slim {

/// Numbers that a checkpoint carries besides the model's, by name.
using extra_state = std::map<std::string, std::int64_t>;

struct saver_options {
  /// Older checkpoints are deleted; 0 keeps all.
  int max_to_keep = 5;
  /// One of each such interval is kept for good.
  double keep_checkpoint_every_n_hours = 10'000;
};

namespace detail {

inline constexpr std::string_view updates_name = "slim/updates", extra_prefix = "slim/extra/";

/// A tensor of a model that training saves: a variable or one of its slots.
struct training_tensor {
  std::string name;  // in TensorFlow's checkpoints: of slots <variable>/Adam, <variable>/Adam_1
  int variable, slot = -1;

  /// To be read, and to be written.
  template <class Model>
  tensor_view<const typename Model::element_type> values(Model& m) const {
    return slot < 0 ? std::as_const(m).variable(variable)
                    : std::as_const(m.shared_runner()).slot(slot, variable);
  }
  template <class Model>
  tensor_view<typename Model::element_type> target(Model& m) const {
    return slot < 0 ? m.variable(variable) : m.shared_runner().slot(slot, variable);
  }
};

/// The variables that are saved and, behind them, the slots of those that are trained (all that can
/// be if `trained` is empty).
template <class Model, class Optimizer>
std::vector<training_tensor> training_tensors(const Model& m, const Optimizer& optimizer,
                                              std::span<const int> trained) {
  std::vector<training_tensor> all;
  for (int v = 0; v < Model::variable_count; ++v)
    if ((m.collections(v) & global_variables) != 0) all.push_back({m.variable_name(v), v});
  const int slots = static_cast<int>(optimizer.initial_slots().all().size());
  for (int v = 0; v < Model::variable_count; ++v) {
    const bool listed = std::find(trained.begin(), trained.end(), v) != trained.end();
    if (!m.trainable(v) || (!trained.empty() && !listed)) continue;
    for (int k = 0; k < slots; ++k)
      all.push_back({m.variable_name(v) + "/" + std::string(Optimizer::slot_name) +
                         (k == 0 ? "" : "_" + std::to_string(k)),
                     v, k});
  }
  return all;
}

template <class Optimizer>
std::vector<optimizer_scalar> scalars_of(const Optimizer& optimizer, long updates) {
  if constexpr (requires { optimizer.saved_scalars(updates); }) {
    const auto all = optimizer.saved_scalars(updates);
    return {all.begin(), all.end()};
  } else {
    return {};
  }
}

/// The updates behind a checkpoint of TensorFlow's, which its optimizer's scalars alone tell:
/// powers of what they start as. Where there are none, or they are too small to tell, `otherwise`.
template <class Optimizer>
long updates_of(const Optimizer& optimizer, const tensor_reader& reader, long otherwise) {
  const auto start = scalars_of(optimizer, 0);
  for (std::size_t i = 0; i < start.size(); ++i) {
    if (reader.find(start[i].name) == nullptr) continue;
    const float saved = reader.read<float>(start[i].name).at(0);
    if (!(saved >= std::numeric_limits<float>::min()) || saved > start[i].value) continue;
    const double power = std::log(double(saved)) / std::log(double(start[i].value));
    const long near = std::lround(power) - 1, reach = 8;  // products are rounded, one by one
    for (long t = std::max(near - reach, 0L); t <= near + reach; ++t)
      if (scalars_of(optimizer, t)[i].value == saved) return t;
    return near;
  }
  return otherwise;
}

/// The state of a training run: views of the model's, or copies.
template <class T>
class training_state {
 public:
  template <class Model, class Optimizer>
  training_state(Model& m, const Optimizer& optimizer, const extra_state& extra,
                 std::span<const int> trained, const std::vector<named_tensor<T>>& more) {
    m.shared_runner().make_slots(Optimizer::slot_name, optimizer.initial_slots().all());
    for (const named_tensor<T>& t : more)
      tensors_.push_back({t.name, {t.values.data, t.values.dims}});
    for (const training_tensor& t : training_tensors(m, optimizer, trained))
      tensors_.push_back({t.name, t.values(m)});
    std::sort(tensors_.begin(), tensors_.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    const long updates = m.shared_runner().updates();
    scalars_ = scalars_of(optimizer, updates);
    numbers_.emplace_back("global_step", m.global_step());
    numbers_.emplace_back(updates_name, updates);
    for (const auto& [name, value] : extra)
      numbers_.emplace_back(std::string(extra_prefix) + name, value);
  }

  /// Copies what are views, so that the model may go on.
  void copy() {
    copies_.reserve(tensors_.size());
    for (named_tensor<const T>& t : tensors_) {
      copies_.emplace_back(t.values.begin(), t.values.end());
      t.values.data = copies_.back().data();
    }
  }
  /// Throws checkpoint_error.
  void write(const std::string& prefix) const {
    checkpoint_writer writer(prefix);
    for (const auto& t : tensors_)
      writer.template add<T>(t.name, stored_shape_of(t.values.dims), t.values.span());
    for (const optimizer_scalar& s : scalars_)
      writer.add<float>(std::string(s.name), {}, std::span(&s.value, 1));
    for (const auto& [name, value] : numbers_)
      writer.add<std::int64_t>(name, {}, std::span(&value, 1));
    writer.finish();
  }

 private:
  std::vector<named_tensor<const T>> tensors_;
  std::vector<std::vector<T>> copies_;
  std::vector<optimizer_scalar> scalars_;
  std::vector<std::pair<std::string, std::int64_t>> numbers_;
};

/// A checkpoint's files go, whatever its format; its index first, for without it there is none.
inline void remove_checkpoint(const std::string& prefix) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  fs::remove(prefix + ".index", ignored);
  const fs::path p(prefix);
  const std::string name = p.filename().string();
  const fs::path folder = p.has_parent_path() ? p.parent_path() : fs::path(".");
  for (const auto& file : fs::directory_iterator(folder, ignored)) {
    const std::string other = file.path().filename().string();
    if (other == name || other == name + ".meta" || other.starts_with(name + ".data-"))
      fs::remove(file.path(), ignored);
  }
}

}  // namespace detail

/// Writes the state of a training run as a V2 checkpoint that TensorFlow's Saver restores. `prefix`
/// is all of its name; `more` are tensors besides the model's own, such as moving averages. A kill
/// at any instant leaves it whole or absent, unless it replaces another of its name. Throws
/// checkpoint_error.
template <class Model, class Optimizer>
void save_training(Model& m, const Optimizer& optimizer, const std::string& prefix,
                   const extra_state& extra = {}, std::span<const int> trained = {},
                   const std::vector<named_tensor<typename Model::element_type>>& more = {}) {
  detail::training_state<typename Model::element_type>(m, optimizer, extra, trained, more)
      .write(prefix);
}

/// Restores what save_training wrote, or what TensorFlow's Saver did of a run with the same
/// optimizer; `path` as checkpoint_reader takes it. Returns the extra state. Throws
/// checkpoint_error, which names file, variable and fault, before anything has changed.
template <class Model, class Optimizer>
extra_state restore_training(
    Model& m, const Optimizer& optimizer, const std::string& path,
    std::span<const int> trained = {},
    const std::vector<named_tensor<typename Model::element_type>>& more = {}) {
  const checkpoint_reader reader(path);
  const auto number = [&](std::string_view name) {
    return reader.template read<std::int64_t>(name).at(0);
  };
  const std::int64_t step = number("global_step");
  extra_state extra;
  for (const tensor_info& t : reader.tensors())
    if (t.name.starts_with(detail::extra_prefix))
      extra[t.name.substr(detail::extra_prefix.size())] = number(t.name);
  const bool ours = reader.find(detail::updates_name) != nullptr;
  const long updates =
      ours ? number(detail::updates_name) : detail::updates_of(optimizer, reader, step);

  // Slots are made when all is verified: those of another optimizer would go.
  const auto own = detail::training_tensors(m, optimizer, trained);
  auto all = more;
  for (const detail::training_tensor& t : own) all.push_back({t.name, m.variable(t.variable)});
  std::vector<std::string> names;
  for (const auto& t : all) names.push_back(t.name);
  restore_report report;
  auto plan = detail::plan_restore(all, reader, variable_map(names), {}, report);
  detail::verify_all(plan, reader, m.device());
  m.shared_runner().make_slots(Optimizer::slot_name, optimizer.initial_slots().all());
  for (std::size_t i = 0; i < own.size(); ++i) plan[more.size() + i].target = own[i].target(m);
  detail::copy_all(plan, m.device());
  m.shared_runner().set_updates(updates);
  m.set_global_step(step);
  return extra;
}

/// Saves a run's checkpoints in a folder: names them by the step, writes which is the latest, and
/// deletes old ones, and before its first what a run that was killed has left unfinished. One
/// process at a time may save under a prefix.
class saver {
 public:
  explicit saver(const saver_options& options = {}) : options_(options) {}
  saver(const saver&) = delete;  // a thread may be writing for it
  saver& operator=(const saver&) = delete;

  /// Writes <prefix>-<global step> and the folder's `checkpoint` file, then deletes what is too
  /// old; checkpoints that the file names already count. Returns the name. Throws checkpoint_error;
  /// then everything saved before is still there.
  template <class Model, class Optimizer>
  std::string save(Model& m, const Optimizer& optimizer, const std::string& prefix,
                   const extra_state& extra = {}, std::span<const int> trained = {},
                   const std::vector<named_tensor<typename Model::element_type>>& more = {}) {
    finish();
    const std::string name = prefix + "-" + std::to_string(m.global_step());
    write(state_of(m, optimizer, extra, trained, more), prefix, name);
    return name;
  }

  /// The same without waiting for the disk: takes copies, which a thread writes while the model
  /// goes on. Waits for the one before, if that is still written. What goes wrong on the thread is
  /// thrown by whatever waits for it next, or asks: this, save, `finished` or `wait`.
  template <class Model, class Optimizer>
  std::string save_in_background(
      Model& m, const Optimizer& optimizer, const std::string& prefix,
      const extra_state& extra = {}, std::span<const int> trained = {},
      const std::vector<named_tensor<typename Model::element_type>>& more = {}) {
    finish();
    const std::string name = prefix + "-" + std::to_string(m.global_step());
    auto state = state_of(m, optimizer, extra, trained, more);
    state.copy();
    written_ = std::async(std::launch::async, [this, prefix, name, state = std::move(state)] {
      write(state, prefix, name);
      return name;
    });
    return name;
  }
  /// The checkpoint that was saved in the background, when it has been written; each once.
  std::optional<std::string> finished() {
    if (written_.valid() && written_.wait_for(std::chrono::seconds(0)) == std::future_status::ready)
      finish();
    return std::exchange(finished_, std::nullopt);
  }
  /// Waits for it.
  void wait() { finish(); }

 private:
  template <class Model, class Optimizer>
  static auto state_of(Model& m, const Optimizer& optimizer, const extra_state& extra,
                       std::span<const int> trained,
                       const std::vector<named_tensor<typename Model::element_type>>& more) {
    return detail::training_state<typename Model::element_type>(m, optimizer, extra, trained, more);
  }
  template <class State>
  void write(const State& state, const std::string& prefix, const std::string& name) {
    if (!cleaned_) remove_unfinished(prefix);
    cleaned_ = true;
    withdraw(name);
    state.write(name);
    publish(name);
  }
  void finish() {
    if (written_.valid()) finished_ = written_.get();
  }

  /// While a checkpoint is replaced its files may be of two: the `checkpoint` file then names the
  /// one before, if there is one.
  static void withdraw(const std::string& name) {
    const std::string folder = folder_of(name);
    std::optional<checkpoint_state> state = get_checkpoint_state(folder);
    if (!state || state->all_model_checkpoint_paths.size() < 2 || !forget(*state, name)) return;
    state->model_checkpoint_path = state->all_model_checkpoint_paths.back();
    update_checkpoint_state(folder, *state);
  }
  /// Takes a checkpoint out of the list; whether it was there.
  static bool forget(checkpoint_state& state, const std::string& name) {
    auto& all = state.all_model_checkpoint_paths;
    auto& times = state.all_model_checkpoint_timestamps;
    const auto normal = [](const std::string& p) {
      return std::filesystem::path(p).lexically_normal();
    };
    const auto same = std::find_if(all.begin(), all.end(),
                                   [&](const auto& p) { return normal(p) == normal(name); });
    if (same == all.end()) return false;
    if (times.size() == all.size()) times.erase(times.begin() + (same - all.begin()));
    all.erase(same);
    return true;
  }
  static std::string folder_of(const std::string& name) {
    const std::filesystem::path parent = std::filesystem::path(name).parent_path();
    return parent.empty() ? "." : parent.string();
  }
  static void remove_unfinished(const std::string& prefix) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    const fs::path p(prefix);
    for (const auto& file : fs::directory_iterator(folder_of(prefix), ignored)) {
      const std::string name = file.path().filename().string();
      if (name.starts_with(p.filename().string() + "-") && name.ends_with(".tempstate"))
        fs::remove(file.path(), ignored);
    }
  }
  void publish(const std::string& name) {
    const std::string folder = folder_of(name);
    checkpoint_state state = get_checkpoint_state(folder).value_or(checkpoint_state{});
    auto& all = state.all_model_checkpoint_paths;
    auto& times = state.all_model_checkpoint_timestamps;
    times.resize(all.size(), now());
    forget(state, name);
    all.push_back(name), times.push_back(now());
    state.model_checkpoint_path = name;
    std::vector<std::string> old;
    while (options_.max_to_keep > 0 && std::ssize(all) > options_.max_to_keep) {
      const double interval = options_.keep_checkpoint_every_n_hours * 3600;
      if (times[0] - state.last_preserved_timestamp.value_or(times[0]) >= interval)
        state.last_preserved_timestamp = times[0];  // kept for good
      else
        old.push_back(all[0]);
      if (!state.last_preserved_timestamp) state.last_preserved_timestamp = times[0];
      all.erase(all.begin()), times.erase(times.begin());
    }
    update_checkpoint_state(folder, state);
    for (const std::string& prefix : old) detail::remove_checkpoint(prefix);
  }
  static double now() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  }

  saver_options options_;
  bool cleaned_ = false;
  std::optional<std::string> finished_;  // by the thread, and not asked for
  std::future<std::string> written_;     // last: it is waited for before the rest goes
};

}  // namespace slim
