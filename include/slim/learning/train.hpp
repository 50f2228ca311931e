// TF-Slim's training loop: steps until an end, with checkpoints, summaries and a way to resume.
//
//   auto op = learning::create_train_op(m, momentum{0.01, 0.9});
//   learning::console_progress bar;
//   learning::train(op, batches, "logdir", {.number_of_steps = 1000, .progress = &bar});
#pragma once

#include <chrono>
#include <fstream>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "../checkpoint/saver.hpp"
#include "../profile.hpp"
#include "../summaries/event_writer.hpp"
#include "../summaries/graph_def.hpp"
#include "progress.hpp"
#include "stop_signal.hpp"
#include "train_op.hpp"

namespace slim::learning {

struct train_options {
  /// The global step at which training ends: of all runs in a log directory together. It is looked
  /// at behind each step, so a run that is started when it is done takes one step more, as
  /// TF-Slim's.
  std::optional<std::int64_t> number_of_steps{};
  /// Which steps `progress` hears of; 0: none.
  int log_every_n_steps = 1;
  /// Seconds between checkpoints and between summaries; 0: only at the start and the end.
  double save_interval_secs = 600, save_summaries_secs = 600;
  /// Called before the first step where the log directory holds no checkpoint.
  std::function<void()> init_fn{};
  /// Writes summaries of the caller's, besides total_loss, learning_rate, global_step/sec and those
  /// of the train op: a function, or a summaries::summary_set.
  std::function<void(summaries::event_writer&, std::int64_t step)> summarize{};
  /// True behind a step ends training.
  std::function<bool(std::int64_t step)> should_stop{};
  saver_options saver{};
  learning::progress* progress = nullptr;
  /// Of dropout: its masks follow from this and the step. A resumed run keeps the one it began
  /// with.
  std::uint64_t seed = 1;
  /// Every so many steps one is written to the log directory as tf_trace-<step>.json, the time of
  /// each of its kernels (profile.hpp); 0: never.
  int trace_every_n_steps = 0;
  /// SIGINT and SIGTERM end training behind the step that is being taken, with a checkpoint.
  bool stop_on_signals = true;
};

/// What a step leaves: the loss before it, and whether it was the last.
template <class T>
struct step_result {
  T loss;
  bool should_stop = false;
};

namespace detail {

/// Comes due every so many seconds.
class interval {
  using clock = std::chrono::steady_clock;

 public:
  explicit interval(double seconds) : seconds_(seconds) {}
  bool due() const { return seconds_ > 0 && since() >= seconds_; }
  void restart() { last_ = clock::now(); }
  double since() const { return std::chrono::duration<double>(clock::now() - last_).count(); }

 private:
  double seconds_;
  clock::time_point last_ = clock::now();
};

inline void check_options(const train_options& o, const std::string& logdir) {
  if (o.number_of_steps && *o.number_of_steps <= 0)
    throw std::invalid_argument("train: number_of_steps is " + std::to_string(*o.number_of_steps));
  if (logdir.empty() && o.trace_every_n_steps > 0)
    throw std::invalid_argument("train: trace_every_n_steps needs a log directory");
}

/// A step as `op` takes it.
struct plain_step {
  template <class Op, class Batch>
  auto operator()(Op& op, Batch& batch) const {
    return step_result<typename Op::T>{std::apply(op, batch.inputs())};
  }
};

/// Has a model profiled while it lives.
template <class Model>
class profiled {
 public:
  profiled(Model& m, profiler& p) : model_(m) { model_.set_profiler(&p); }
  profiled(const profiled&) = delete;
  profiled& operator=(const profiled&) = delete;
  ~profiled() { model_.set_profiler(nullptr); }

 private:
  Model& model_;
};

/// One call of train.
template <class Op, class Batches, class StepFn>
class training_run {
 public:
  using T = typename Op::T;

  training_run(Op& op, Batches& batches, const std::string& logdir, const train_options& options,
               StepFn step_fn)
      : op_(op),
        batches_(batches),
        options_(options),
        step_fn_(std::move(step_fn)),
        folder_(logdir),
        seed_(options.seed),
        saver_(options.saver),
        save_due_(options.save_interval_secs),
        summaries_due_(options.save_summaries_secs) {
    if (!folder_.empty()) log_.emplace(folder_);
  }

  T run() {
    if (options_.stop_on_signals) signal_.emplace();
    begin();
    T loss = 0;
    while (!ended()) {
      const interval step(0);
      auto* batch = batches_.next();
      if (batch == nullptr) {
        note("the input has ended");
        break;
      }
      op_.model().set_random(seed_, static_cast<std::uint64_t>(now()));
      const step_result<T> result = take_step(*batch);
      loss = result.loss;
      done_ = result.should_stop;
      behind_step(loss, step.since(), batch->size());
    }
    end();
    return loss;
  }

 private:
  std::int64_t now() const { return op_.model().global_step(); }
  void note(const std::string& text) {
    if (options_.progress != nullptr) options_.progress->note(text);
  }
  std::string in_folder(const std::string& name) const {
    return (std::filesystem::path(folder_) / name).string();
  }

  void begin() {
    const auto latest = folder_.empty() ? std::nullopt : latest_checkpoint(folder_);
    if (latest) {
      restore(*latest);
    } else if (options_.init_fn) {
      options_.init_fn();
    }
    first_ = now();
    if (log_ && !latest)  // TensorBoard shows one graph a run
      log_->add_graph(summaries::graph_def<std::remove_cvref_t<decltype(op_.model())>>());
    if (log_) log_->add_session_log(summaries::session_status::start, first_);
    if (!latest && log_) save(), wait_for_save();  // what cannot be written is said at once
    save_due_.restart(), run_time_.restart();
  }
  void restore(const std::string& latest) {
    const extra_state extra =
        restore_training(op_.model(), op_.optimizer(), latest, op_.variables(), op_.more_tensors());
    if (const auto seed = extra.find("random_seed"); seed != extra.end())
      seed_ = static_cast<std::uint64_t>(seed->second);
    if (const auto position = extra.find("input_position"); position != extra.end())
      batches_.seek(position->second);
    saved_ = now();
    note("restored " + latest);
  }

  bool ended() {
    if (signal_ && signal_->wanted()) {
      note("stopped by a signal");
      return true;
    }
    return done_;
  }

  template <class Batch>
  step_result<T> take_step(Batch& batch) {
    const int every = options_.trace_every_n_steps;
    if (every <= 0 || now() % every != 0) return step_fn_(op_, batch);
    profiler trace;
    const step_result<T> result = [&] {
      const profiled on(op_.model(), trace);
      return step_fn_(op_, batch);
    }();
    const std::string path = in_folder("tf_trace-" + std::to_string(now()) + ".json");
    std::ofstream file(path);
    file << trace.trace();
    if (!file.flush()) throw error(path + ": cannot be written");
    return result;
  }

  void behind_step(T loss, double seconds, int examples) {
    const std::int64_t step = now(), last = options_.number_of_steps.value_or(0);
    const int every = options_.log_every_n_steps;
    if (options_.progress != nullptr && every > 0 && step % every == 0)
      options_.progress->step(
          {step, double(loss), seconds, examples, first_, last, run_time_.since()});
    done_ |= (last > 0 && step >= last) || (options_.should_stop && options_.should_stop(step));
    if (!summarized_ || summaries_due_.due() || done_) summarize(loss);
    if (save_due_.due()) save();
    if (log_) log_saved();
  }

  void summarize(T loss) {
    if (!log_) return;
    const std::int64_t step = now();
    log_->add_scalar("total_loss", static_cast<double>(loss), step);
    log_->add_scalar("learning_rate", op_.learning_rate(), step);
    if (summarized_ && summaries_due_.since() > 0)
      log_->add_scalar("global_step/sec",
                       static_cast<double>(step - summarized_at_) / summaries_due_.since(), step);
    if constexpr (requires { op_.summarize(*log_, step); }) op_.summarize(*log_, step);
    if (options_.summarize) options_.summarize(*log_, step);
    log_->flush();
    summarized_ = true, summarized_at_ = step;
    summaries_due_.restart();
  }

  void save() {
    if (!log_) return;
    wait_for_save();
    saver_.save_in_background(op_.model(), op_.optimizer(), in_folder("model.ckpt"),
                              {{"input_position", batches_.position()},
                               {"random_seed", static_cast<std::int64_t>(seed_)}},
                              op_.variables(), op_.more_tensors());
    saved_ = now();
    save_due_.restart();
  }
  void wait_for_save() {
    saver_.wait();
    log_saved();
  }
  /// Notes the checkpoint that was begun last, once it is there. Throws if it could not be written.
  void log_saved() {
    const std::optional<std::string> path = saver_.finished();
    if (!path) return;
    log_->add_session_log(summaries::session_status::checkpoint, saved_, *path);
    log_->flush();
  }

  void end() {
    if (!log_) return;
    if (saved_ != now()) save();
    wait_for_save();
    log_->add_session_log(summaries::session_status::stop, now());
    log_->close();
  }

  Op& op_;
  Batches& batches_;
  const train_options& options_;
  StepFn step_fn_;
  const std::string folder_;
  std::uint64_t seed_;
  slim::saver saver_;
  std::optional<summaries::event_writer> log_;  // where there is a log directory
  interval save_due_, summaries_due_, run_time_{0};
  std::optional<stop_signal> signal_;
  std::int64_t first_ = 0, saved_ = -1, summarized_at_ = 0;
  bool summarized_ = false, done_ = false;
};

}  // namespace detail

/// Trains by `op` on `batches` (a data::pipeline, or what has its next, position and seek) until
/// number_of_steps, the end of the input, a signal, or for ever. Where `logdir` holds a checkpoint
/// it goes on from there: variables, slots, averages, step, input and dropout are as if it had
/// never stopped, in bits. Writes checkpoints (model.ckpt-<step>), by a thread while the next steps
/// run, and an event file there; with an empty logdir nothing. Returns the last loss. Throws
/// std::invalid_argument, checkpoint_error, data::record_error, and as `op` and `batches` do.
///
/// step_fn(op, batch), TF-Slim's train_step_fn, takes each step and returns a step_result.
template <class Op, class Batches, class StepFn = detail::plain_step>
typename Op::T train(Op& op, Batches& batches, const std::string& logdir,
                     const train_options& options = {}, StepFn step_fn = {}) {
  detail::check_options(options, logdir);
  return detail::training_run<Op, Batches, StepFn>(op, batches, logdir, options, std::move(step_fn))
      .run();
}

}  // namespace slim::learning
