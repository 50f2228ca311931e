// Evaluation of checkpoints, once or as they appear beside a running training.
//
//   evaluation::evaluation_loop(m, "logdir", "logdir/eval", [&] {
//     ... run the model on a batch, update metrics ...
//   }, {.num_evals = 20, .final_values = [&] { return metrics::values(map); }});
#pragma once

#include <chrono>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "checkpoint.hpp"
#include "summaries/event_writer.hpp"

namespace slim::evaluation {

/// Numbers by name: what an evaluation found.
using named_values = std::map<std::string, double>;

/// Hears of the evaluation of a checkpoint, and may end it.
struct evaluation_hook {
  virtual ~evaluation_hook() = default;
  /// The checkpoint of this global step has been restored.
  virtual void begin(std::int64_t /*global_step*/) {}
  /// So many steps have been taken; true ends the evaluation.
  virtual bool behind_step(std::int64_t /*eval_step*/) { return false; }
  /// This was found.
  virtual void end(std::int64_t /*global_step*/, const named_values&) {}
};

/// TF-Slim's StopAfterNEvalsHook. `log` hears "evaluation [2/10]" behind each step if there are
/// less than 20, and else behind every tenth of them.
class stop_after_n_evals : public evaluation_hook {
 public:
  explicit stop_after_n_evals(std::int64_t num_evals,
                              std::function<void(const std::string&)> log = {})
      : num_evals_(num_evals), log_(std::move(log)) {}

  bool behind_step(std::int64_t eval_step) override {
    const std::int64_t every = num_evals_ < 20 ? 1 : num_evals_ / 10;
    if (log_ && (eval_step % every == 0 || eval_step == num_evals_))
      log_("evaluation [" + std::to_string(eval_step) + "/" + std::to_string(num_evals_) + "]");
    return eval_step >= num_evals_;
  }

 private:
  std::int64_t num_evals_;
  std::function<void(const std::string&)> log_;
};

/// TF-Slim's SummaryAtEndHook: what was found as scalars, and summaries of the caller's, go to an
/// event file in `logdir` at the checkpoint's global step: one file, however many evaluations.
class summary_at_end : public evaluation_hook {
 public:
  using summarize_fn = std::function<void(summaries::event_writer&, std::int64_t step)>;

  explicit summary_at_end(std::string logdir, summarize_fn summarize = {})
      : logdir_(std::move(logdir)), summarize_(std::move(summarize)) {}

  void end(std::int64_t global_step, const named_values& found) override {
    if (!log_) log_.emplace(logdir_);
    for (const auto& [name, value] : found) log_->add_scalar(name, value, global_step);
    if (summarize_) summarize_(*log_, global_step);
    log_->flush();
  }

 private:
  std::string logdir_;
  summarize_fn summarize_;
  std::optional<summaries::event_writer> log_{};
};

struct evaluate_options {
  /// How often the step of evaluation is taken for a checkpoint.
  int num_evals = 1;
  /// Called when a checkpoint has been restored, before its steps: resets metrics and input.
  std::function<void()> initial{};
  /// What is found when all steps are taken: returned, and written as scalars.
  std::function<named_values()> final_values{};
  /// Writes other summaries, at the checkpoint's global step.
  std::function<void(summaries::event_writer&, std::int64_t step)> summarize{};
  /// Variables that are restored, by their names in the checkpoint; all under their own if empty.
  variable_map variables_to_restore{};
  /// They outlive the evaluation.
  std::vector<evaluation_hook*> hooks{};
};

/// How long to go on.
struct loop_options {
  double eval_interval_secs = 60;  ///< from the start of one evaluation to that of the next
  std::optional<int> max_number_of_evaluations{};
  std::optional<double> timeout{};  ///< seconds without a new checkpoint
  /// Asked after a timeout: true ends the loop. Without it a timeout does.
  std::function<bool()> timeout_fn{};
  double seconds_to_sleep = 1;  ///< between looks at the folder
};

namespace detail {

/// Takes a step; false where it says that there is no more to evaluate.
template <class Step>
bool take_step(Step& step) {
  if constexpr (std::is_same_v<decltype(step()), bool>)
    return step();
  else
    return step(), true;
}

template <class Step>
void take_steps(Step& step, const evaluate_options& options) {
  for (std::int64_t i = 0; i < options.num_evals && take_step(step);) {
    ++i;
    bool stop = false;
    for (evaluation_hook* hook : options.hooks) stop |= hook->behind_step(i);
    if (stop) return;
  }
}

/// An evaluation whose hooks alone write what was found.
template <class Model, class Step>
named_values evaluate(Model& m, const std::string& checkpoint_path, Step& step,
                      const evaluate_options& options) {
  const checkpoint_reader reader(checkpoint_path);
  restore(m, reader,
          options.variables_to_restore.empty() ? variable_map(variable_names(m))
                                               : options.variables_to_restore);
  const bool counted = reader.find("global_step") != nullptr;
  const std::int64_t at = counted ? reader.template read<std::int64_t>("global_step").at(0) : 0;
  m.set_global_step(at);
  if (options.initial) options.initial();
  for (evaluation_hook* hook : options.hooks) hook->begin(at);
  take_steps(step, options);
  const named_values found = options.final_values ? options.final_values() : named_values{};
  for (evaluation_hook* hook : options.hooks) hook->end(at, found);
  return found;
}

/// The options with a hook more, before the others, unless the folder has no name.
inline evaluate_options with_hook(evaluate_options options, const std::string& logdir,
                                  summary_at_end& hook) {
  if (!logdir.empty()) options.hooks.insert(options.hooks.begin(), &hook);
  return options;
}

}  // namespace detail

/// Restores the checkpoint, takes the step num_evals times (or until it returns false, or a hook
/// ends it), and writes what was found to an event file in `logdir` at the checkpoint's global
/// step; with an empty logdir nowhere. Throws checkpoint_error, and what the step throws.
template <class Model, class Step>
named_values evaluate_once(Model& m, const std::string& checkpoint_path, const std::string& logdir,
                           Step step, const evaluate_options& options = {}) {
  summary_at_end hook(logdir, options.summarize);
  return detail::evaluate(m, checkpoint_path, step, detail::with_hook(options, logdir, hook));
}

/// The folder's newest checkpoint as soon as it is another than `last`; none when `timeout` seconds
/// have passed (never, without one).
inline std::optional<std::string> wait_for_new_checkpoint(
    const std::string& folder, const std::optional<std::string>& last = {},
    double seconds_to_sleep = 1, std::optional<double> timeout = {}) {
  using clock = std::chrono::steady_clock;
  const auto start = clock::now();
  for (;;) {
    const std::optional<std::string> latest = latest_checkpoint(folder);
    if (latest && latest != last) return latest;
    const std::chrono::duration<double> waited = clock::now() - start;
    if (timeout && waited.count() + seconds_to_sleep > *timeout) return std::nullopt;
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds_to_sleep));
  }
}

/// New checkpoints of a folder, one after the other; those that appear while one is looked at are
/// passed over, but for the newest.
class checkpoints_iterator {
  using clock = std::chrono::steady_clock;

 public:
  explicit checkpoints_iterator(std::string folder, const loop_options& options = {})
      : folder_(std::move(folder)), options_(options) {}

  /// The next one; none after a timeout that nobody objects to.
  std::optional<std::string> next() {
    if (last_) std::this_thread::sleep_until(started_ + interval());
    for (;;) {
      const auto found =
          wait_for_new_checkpoint(folder_, last_, options_.seconds_to_sleep, options_.timeout);
      if (!found && options_.timeout_fn && !options_.timeout_fn()) continue;
      started_ = clock::now();
      if (found) last_ = found;
      return found;
    }
  }

 private:
  clock::duration interval() const {
    return std::chrono::duration_cast<clock::duration>(
        std::chrono::duration<double>(options_.eval_interval_secs));
  }

  std::string folder_;
  loop_options options_;
  std::optional<std::string> last_;
  clock::time_point started_{};
};

/// Evaluates every new checkpoint of a folder, with one event file for them all; a checkpoint that
/// vanishes meanwhile, for training keeps few, is passed over. Returns what the last evaluation
/// found. Throws as evaluate_once does.
template <class Model, class Step>
named_values evaluation_loop(Model& m, const std::string& checkpoint_dir, const std::string& logdir,
                             Step step, const evaluate_options& options = {},
                             const loop_options& loop = {}) {
  named_values found;
  summary_at_end hook(logdir, options.summarize);
  const evaluate_options with_hook = detail::with_hook(options, logdir, hook);
  checkpoints_iterator checkpoints(checkpoint_dir, loop);
  const int most = loop.max_number_of_evaluations.value_or(std::numeric_limits<int>::max());
  for (int done = 0; done < most;) {
    const std::optional<std::string> path = checkpoints.next();
    if (!path) break;
    try {
      found = detail::evaluate(m, *path, step, with_hook);
    } catch (const checkpoint_error&) {
      std::error_code ignored;
      if (std::filesystem::exists(*path + ".index", ignored)) throw;
      continue;
    }
    ++done;
  }
  return found;
}

/// The same where hooks alone, or the step by returning false, say when a checkpoint is done with,
/// and hooks write what was found: num_evals is not looked at.
template <class Model, class Step>
named_values evaluate_repeatedly(Model& m, const std::string& checkpoint_dir, Step step,
                                 evaluate_options options = {}, const loop_options& loop = {}) {
  options.num_evals = std::numeric_limits<int>::max();
  return evaluation_loop(m, checkpoint_dir, "", step, options, loop);
}

}  // namespace slim::evaluation
