// Runs the programs of one model: owns its variables, gradients and prepared values. Knows nothing
// of the types the network was spelled with, so it compiles once an element type.
#pragma once

#include <array>
#include <atomic>
#include <mutex>
#include <utility>

#include "graph/freeze.hpp"
#include "initializers.hpp"
#include "passes.hpp"

namespace slim {

/// A frozen model was asked for what it gave up: variables that can be changed, or training.
struct frozen_error : error {
  using error::error;
};
/// A session's model has got other variables since the session last looked.
struct stale_error : error {
  using error::error;
};

namespace detail {

/// Another value for as long as this lives.
template <class V>
class set_meanwhile {
 public:
  set_meanwhile(V& at, V value) : at_(at), before_(std::exchange(at, value)) {}
  set_meanwhile(const set_meanwhile&) = delete;
  set_meanwhile& operator=(const set_meanwhile&) = delete;
  ~set_meanwhile() { at_ = before_; }

 private:
  V& at_;
  V before_;
};

}  // namespace detail

/// The variables and programs of one model, and its own passes.
template <class T>
class runner {
 public:
  /// On a device that outlives it or, without one, on its own of `threads` threads (0: as many as
  /// the machine has). `training` may be null: then there is nothing to differentiate.
  /// Kernels run `on` an accelerator, if one is given.
  runner(cpu_device* device, const program& inference, const program* training, int threads = 0,
         std::unique_ptr<accelerator> on = nullptr)
      : inference_(inference),
        training_(training == nullptr ? inference : *training),
        trains_(training != nullptr),
        on_(std::move(on)),
        variables_(bytes(inference.variable_elements), bytes(inference.kernel_elements), on_.get(),
                   "variables"),
        gradients_(trains_ ? bytes(inference.variable_elements) : 0, on_.get(), "gradients"),
        prepared_(static_cast<std::size_t>(inference.memory.prepared_bytes), on_.get(),
                  "prepared weights"),
        training_prepared_(trains_ ? static_cast<std::size_t>(training_.memory.prepared_bytes) : 0,
                           on_.get(), "prepared weights of training"),
        passes_(device, threads, inference_,
                std::max(inference.memory.bytes, training_.memory.bytes), on_.get()),
        losses_(static_cast<std::size_t>(training_.losses.size())),
        regularization_(static_cast<std::size_t>(training_.regularizers.size())) {
    for (const variable_row& row : inference_.variables)
      if (row.trainable) add_range(row, trainable_);
    updated_ = trainable_;
  }

  runner(const runner&) = delete;  // sessions and the last run's program are kept by address
  runner& operator=(const runner&) = delete;

  cpu_device& device() { return passes_.device(); }
  accelerator* on() const { return on_.get(); }

  /// Fills every variable by its initializer, as a function of the seed and the variable's name.
  void initialize(std::uint64_t seed) {
    for (int v = 0; v < inference_.variables.size(); ++v) {
      const variable_row& row = inference_.variables[v];
      const std::uint64_t key = random_at(seed, hash_text(name_of(v)));
      const long count = row.dims.count(), shard = 1 << 16;
      T* data = variable(v).data;
      device().parallel(static_cast<int>((count + shard - 1) / shard), [&](int task, int) {
        const long first = task * shard;
        row.hooks->fill(data, first, std::min(first + shard, count), row.dims, key);
      });
    }
  }

  /// May be written until the next pass: asking for it is what tells the runner of the change.
  /// Throws frozen_error.
  tensor_view<T> variable(int v) {
    if (frozen_)
      throw frozen_error("variable " + name_of(v) + " cannot be changed" +
                         (dropped(v) ? ", and its values were dropped" : "") +
                         ": the model is frozen");
    variables_changed();
    if (!is_apart(v)) return {written(variables_) + row(v).offset, row(v).dims};
    on_->wait();  // kernels may be reading it
    return {in_host(variables_) + row(v).offset, row(v).dims};
  }
  /// To be read. Throws frozen_error if it was dropped.
  tensor_view<const T> variable(int v) const {
    if (dropped(v))
      throw frozen_error("the values of variable " + name_of(v) +
                         " were dropped: the model is frozen");
    const std::byte* all = is_apart(v) ? variables_.host() : variables_.to_read();
    return {reinterpret_cast<const T*>(all) + row(v).offset, row(v).dims};
  }
  tensor_view<T> gradient(int v) {
    forbid_when_frozen("gradient");
    return {written(gradients_) + row(v).offset, row(v).dims};
  }
  std::string name_of(int v) const {
    return std::string(variable_name(inference_, inference_.variables[v]).view());
  }
  /// All variables, or gradients, as one flat range.
  std::span<T> flat_variables() {
    forbid_when_frozen("update");
    variables_changed();
    if (keeps_some_apart()) on_->wait();
    return flat(variables_);
  }
  std::span<T> flat_gradients() { return flat(gradients_); }
  /// Whether a variable lies in host memory alone although an accelerator runs the kernels: one
  /// that was placed on the CPU.
  bool is_apart(int v) const { return row(v).offset >= inference_.kernel_elements; }
  const variable_row& row(int v) const { return inference_.variables[v]; }

  /// The variables an optimizer changes now, neighbours taken together: all trainable ones, unless
  /// update_only is at work.
  std::span<const element_range> trainable_ranges() const { return updated_; }
  /// Where these variables lie, in this order; neighbours are taken together.
  std::vector<element_range> ranges_of(std::span<const int> variables) const {
    std::vector<element_range> ranges;
    for (const int v : variables) add_range(row(v), ranges);
    return ranges;
  }
  /// Calls f, in which optimizers change these ranges alone.
  template <class F>
  void update_only(std::span<const element_range> ranges, F f) {
    const detail::set_meanwhile some(updated_, ranges);
    f();
  }

  /// Counts an update by this optimizer, and gives its N slots, arenas of the variables' layout.
  /// The first update by an optimizer of another name makes new ones, filled with `initial`.
  template <std::size_t N>
  std::array<std::span<T>, N> slots(std::string_view optimizer,
                                    const std::array<double, N>& initial) {
    make_slots(optimizer, initial);
    if (!updating_apart_) ++updates_;
    std::array<std::span<T>, N> spans;
    for (std::size_t i = 0; i < N; ++i) spans[i] = flat(slots_[i]);
    return spans;
  }
  /// Makes an optimizer's slots, unless they are there.
  void make_slots(std::string_view optimizer, std::span<const double> initial) {
    forbid_when_frozen("update");
    if (optimizer == optimizer_ && slots_.size() == initial.size()) return;
    std::vector<mirrored_buffer> made;
    for (const double value : initial) {
      made.emplace_back(variables_.size(), bytes(inference_.kernel_elements), on_.get(),
                        "an optimizer's slots");
      if (value == 0) continue;  // as it is
      const std::span<T> elements = flat(made.back());
      std::fill(elements.begin(), elements.end(), static_cast<T>(value));
    }
    slots_ = std::move(made);
    optimizer_ = optimizer;
    updates_ = 0;
  }
  /// A variable and its gradient in an accelerator's memory, to be read when `wait` has returned.
  /// Throws slim::error where they are not there.
  device_view<T> device_variable(int v) { return there(variables_, v, is_apart(v)); }
  device_view<T> device_gradient(int v) {
    forbid_when_frozen("gradient");
    return there(gradients_, v, false);
  }
  /// A variable's part of a slot.
  tensor_view<T> slot(int slot, int variable) {
    return {written(slots_[static_cast<std::size_t>(slot)]) + row(variable).offset,
            row(variable).dims};
  }
  /// To be read.
  tensor_view<const T> slot(int slot, int variable) const {
    const std::byte* all = slots_[static_cast<std::size_t>(slot)].to_read();
    return {reinterpret_cast<const T*>(all) + row(variable).offset, row(variable).dims};
  }
  /// Has the accelerator update the variables it has, with N slots as `slots` gives them. In
  /// launch_step the update is left for the end of the training pass.
  template <std::size_t N, class Step>
  void update_there(std::string_view optimizer, const std::array<double, N>& initial, Step step) {
    if (N > 0) make_slots(optimizer, initial);
    if (N > 0) ++updates_;
    updated_there_ = within(0, inference_.kernel_elements);
    update_call call{step(), {elements(variables_), elements(gradients_), {}, updated_there_}};
    for (std::size_t i = 0; i < N; ++i) call.memory.slots[i] = elements(slots_[i]);
    for (std::size_t i = 0; i < N; ++i) slots_[i].kernels_wrote();
    if (postponed_ != nullptr)
      *postponed_ = call;
    else
      on_->run(training_, passes_.execution_of(memory_of(training_)), 0, 0, &call);
    variables_.kernels_wrote();
    variables_changed();
  }
  /// Behind update_there: has f, an optimizer's update on the CPU, change the variables that lie
  /// apart, in host memory.
  template <class F>
  void update_apart(F f) {
    if (postponed_ != nullptr || !keeps_some_apart()) return;
    const auto apart = within(inference_.kernel_elements, inference_.variable_elements);
    for (const element_range& r : apart) gradients_.fetch(bytes(r.first), bytes(r.last));
    const detail::set_meanwhile here(updating_apart_, true);
    update_only(apart, f);
    variables_changed();
  }
  bool is_updating_apart() const { return updating_apart_; }
  /// Updates by the optimizer whose slots these are.
  long updates() const { return updates_; }
  void set_updates(long updates) { updates_ = updates; }

  /// What was derived from the variables no longer holds.
  void variables_changed() { version_.fetch_add(1, std::memory_order_release); }
  /// Grows with every change of the variables.
  std::uint64_t version() const { return version_.load(std::memory_order_acquire); }

  /// What sessions read, and the version of the variables that it holds for.
  struct shared_memory {
    model_memory memory;
    std::uint64_t version = 0;
  };
  /// Computes what follows from the variables alone, unless that is done, and waits for it. Several
  /// threads may ask at once, as long as none changes variables.
  shared_memory share() {
    const std::lock_guard lock(preparing_);
    const model_memory m = memory();
    prepare(m);
    if (on_ != nullptr) on_->wait();
    return {m, version()};
  }

  /// Gives back the memory of all that inference does not read: gradients, an optimizer's slots,
  /// and variables and prepared values that only steps that prepare read. Those steps run one by
  /// one, and what each is the last to read goes at once. Then variables cannot be changed, nor
  /// trained.
  void freeze() {
    if (frozen_) return;
    const std::lock_guard lock(preparing_);
    const freeze_plan plan(inference_);
    gradients_ = {}, slots_.clear();
    passes_.arena().drop(static_cast<std::size_t>(inference_.memory.bytes), passes_.arena().size());
    const auto drop_read_at = [&](int step) {
      plan.for_each_last_read(step, [&](storage where, long first, long last) {
        const auto from = static_cast<std::size_t>(first), to = static_cast<std::size_t>(last);
        if (where == storage::variable) return variables_.drop(from, to);
        prepared_.drop(from, to);
      });
    };
    drop_read_at(freeze_plan::never);
    const bool prepared = is_prepared();
    for (int i = 0; i < inference_.first_run; ++i) {
      if (!prepared) passes_.run_alone(inference_, memory(), i, i + 1);
      drop_read_at(i);
    }
    prepared_version_.store(version(), std::memory_order_release);
    for (int v = 0; v < inference_.variables.size(); ++v)
      dropped_.push_back(plan.last_use(v) != freeze_plan::always);
    drop_shared_pages(plan);
    frozen_ = true;
  }
  bool is_frozen() const { return frozen_; }
  /// Whether freezing gave up this variable's values.
  bool dropped(int v) const { return frozen_ && dropped_[static_cast<std::size_t>(v)]; }

  /// Runs the inference program on n images; returns the output of the images given.
  tensor_view<const T> forward(std::initializer_list<input_data<T>> inputs) {
    launch(inputs);
    return output();
  }
  /// The same into memory of the caller's.
  void forward_into(const detail::output_memory<T>& output,
                    std::initializer_list<input_data<T>> inputs) {
    launch(inputs, output);
    passes_.deliver();
  }
  /// Starts a forward pass; whoever reads the output waits for it.
  void launch(std::initializer_list<input_data<T>> inputs,
              const detail::output_memory<T>& output = {}) {
    if (losses_due_) read_losses();  // from where this pass will work
    const model_memory m = locked_memory();
    passes_.start(inference_, m, inputs, output);
    updates_due_ = false;
    if (!is_prepared()) {
      const std::lock_guard lock(preparing_);
      prepare(m);
    }
    passes_.run(inference_.first_run, inference_.steps.size());
  }

  /// Runs the training program: losses and gradients. Variables stay as they are.
  T backward(std::initializer_list<input_data<T>> inputs) {
    forbid_when_frozen("backward");
    passes_.start(training_, memory_of(training_), inputs);
    updates_due_ = false;
    passes_.run(0, training_.first_update);
    gradients_.kernels_wrote();
    updates_due_ = true;
    read_losses();
    return total_loss_;
  }
  /// Starts a whole step of training: losses and gradients, update ops, and the update that f makes
  /// of this runner. On an accelerator nobody waits: `wait` does.
  template <class F>
  void launch_step(std::initializer_list<input_data<T>> inputs, F update) {
    if (on_ == nullptr) {
      backward(inputs);
      run_update_ops();
      return update();
    }
    forbid_when_frozen("backward");
    passes_.start(training_, memory_of(training_), inputs);
    update_call call{};
    {
      const detail::set_meanwhile later(postponed_, &call);
      update();
    }
    passes_.run(0, training_.steps.size(), call.memory.variables == nullptr ? nullptr : &call);
    gradients_.kernels_wrote();
    variables_.kernels_wrote();
    updates_due_ = false;
    losses_due_ = true;
    variables_changed();
    update_apart(update);
  }
  /// Waits for what was launched; then losses can be read.
  void wait() {
    if (losses_due_) read_losses();
    if (on_ != nullptr) on_->wait();
  }

  /// Moves the moving averages by the statistics of the last backward; once for each.
  void run_update_ops() {
    forbid_when_frozen("update");
    if (!updates_due_) return;
    updates_due_ = false;
    if (training_.first_update == training_.steps.size()) return;
    variables_.for_kernels();  // with what was written to them since the backward pass
    passes_.run(training_.first_update, training_.steps.size());
    variables_.kernels_wrote();
    variables_changed();
  }

  T total_loss() const { return total_loss_; }
  std::span<const T> losses() const { return losses_; }
  std::span<const T> regularization_losses() const { return regularization_; }

  /// The seed of dropout and the step it is drawn for.
  void set_random(std::uint64_t seed, std::uint64_t step) {
    passes_.set_random_key(random_at(seed, step));
  }
  void set_observer(step_observer* observer) { passes_.set_observer(observer); }

  tensor_view<const T> value(int v) const { return passes_.value(v); }
  tensor_view<const T> output() const { return passes_.output(); }
  std::vector<named_tensor<const T>> end_points() const { return passes_.end_points(); }
  bool written(int v) const { return passes_.written(v); }

  const program& inference_program() const { return inference_; }

 private:
  static std::size_t bytes(long elements) { return static_cast<std::size_t>(elements) * sizeof(T); }
  /// Elements in host memory, to be written.
  static T* written(mirrored_buffer& arena) { return reinterpret_cast<T*>(arena.to_write()); }
  /// Elements where kernels work.
  static auto elements(mirrored_buffer& arena) {
    return reinterpret_cast<float*>(arena.for_kernels());
  }
  device_view<T> there(mirrored_buffer& arena, int v, bool apart) {
    if (on_ == nullptr || apart)
      throw error("variable " + name_of(v) + " is not in a device's memory: " +
                  (apart ? "it was placed on the CPU" : "the model runs on the CPU"));
    return {reinterpret_cast<const T*>(arena.for_kernels()) + row(v).offset, row(v).dims};
  }
  /// Elements in host memory, of which those that lie apart are sure to be of today.
  static T* in_host(mirrored_buffer& arena) { return reinterpret_cast<T*>(arena.host()); }
  std::span<T> flat(mirrored_buffer& arena) const {
    return {updating_apart_ ? in_host(arena) : written(arena), arena.size() / sizeof(T)};
  }
  bool keeps_some_apart() const {
    return inference_.kernel_elements < inference_.variable_elements;
  }
  /// Of the variables an optimizer changes now, those that lie in [first, last).
  std::vector<element_range> within(long first, long last) const {
    std::vector<element_range> part;
    for (const element_range& r : updated_)
      if (std::max(r.first, first) < std::min(r.last, last))
        part.push_back({std::max(r.first, first), std::min(r.last, last)});
    return part;
  }
  model_memory memory() { return memory_of(inference_); }
  /// The same while other threads may make sessions: asking for it may copy.
  model_memory locked_memory() {
    if (on_ == nullptr) return memory();
    const std::lock_guard lock(preparing_);
    return memory();
  }
  model_memory memory_of(const program& p) {
    kernel_arena& prepared = &p == &training_ && trains_ ? training_prepared_ : prepared_;
    return {variables_.for_kernels(), gradients_.for_kernels(), variables_.host(), prepared.data()};
  }
  void read_losses() {
    for (int i = 0; i < training_.losses.size(); ++i)
      losses_[static_cast<std::size_t>(i)] = *value(training_.losses[i]).data;
    for (int i = 0; i < training_.regularizers.size(); ++i)
      regularization_[static_cast<std::size_t>(i)] = *value(training_.regularizers[i]).data;
    total_loss_ = *value(training_.total_loss).data;
    losses_due_ = false;
  }

  void forbid_when_frozen(const char* what) const {
    if (frozen_) throw frozen_error(std::string(what) + ": the model is frozen");
  }
  bool is_prepared() const {
    return prepared_version_.load(std::memory_order_acquire) == version();
  }
  void prepare(const model_memory& m) {
    if (is_prepared()) return;
    passes_.run_alone(inference_, m, 0, inference_.first_run);
    prepared_version_.store(version(), std::memory_order_release);
  }
  /// Pages on which several variables lie go when all of those did.
  void drop_shared_pages(const freeze_plan& plan) {
    for (int v = 0; v < inference_.variables.size();) {
      const int first = v;
      while (v < inference_.variables.size() && dropped_[static_cast<std::size_t>(v)]) ++v;
      if (v > first)
        variables_.drop(static_cast<std::size_t>(plan.first_byte(first)),
                        static_cast<std::size_t>(plan.first_byte(v - 1) + plan.bytes_of(v - 1)));
      else
        ++v;
    }
  }

  static void add_range(const variable_row& row, std::vector<element_range>& ranges) {
    const long last = graph_builder::aligned_end(row.offset + row.dims.count());
    if (!ranges.empty() && ranges.back().last == row.offset)
      ranges.back().last = last;
    else
      ranges.push_back({row.offset, last});
  }

  program inference_, training_;
  bool trains_;
  std::unique_ptr<accelerator> on_;  // before what is in its memory
  mirrored_buffer variables_, gradients_;
  kernel_arena prepared_, training_prepared_;
  passes<T> passes_;
  std::vector<T> losses_, regularization_;
  std::vector<element_range> trainable_;
  std::span<const element_range> updated_;
  std::vector<element_range> updated_there_;  // by the accelerator
  bool updating_apart_ = false;
  std::vector<mirrored_buffer> slots_;
  update_call* postponed_ = nullptr;  // where the update of a launched step goes
  std::string_view optimizer_;        // whose slots they are
  long updates_ = 0;
  std::mutex preparing_;
  std::atomic<std::uint64_t> version_{1};           // of the variables
  std::atomic<std::uint64_t> prepared_version_{0};  // that the prepared values follow from
  bool updates_due_ = false;                        // a backward pass has left statistics
  bool losses_due_ = false;                         // a launched step has left losses
  bool frozen_ = false;
  std::vector<bool> dropped_;  // by variable, once frozen
  T total_loss_ = 0;
};

}  // namespace slim
