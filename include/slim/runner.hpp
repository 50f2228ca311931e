// Runs programs: owns the arenas of one model and checks what it is given. Knows nothing of the
// types the network was spelled with, so it compiles once an element type.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device.hpp"
#include "error.hpp"
#include "graph/program.hpp"
#include "initializers.hpp"
#include "memory.hpp"

namespace slim {

/// An input that does not fit the model: too many images, a wrong label.
struct input_error : error {
  using error::error;
};

/// Elements in memory that belongs to a model, with their shape.
template <class T>
struct tensor_view {
  T* data = nullptr;
  shape dims{};

  std::span<T> span() const { return {data, static_cast<std::size_t>(dims.count())}; }
  T* begin() const { return data; }
  T* end() const { return data + dims.count(); }
  T& operator[](long i) const { return data[i]; }
};

namespace detail {

/// Whether a container of Eigen's, or one like it, keeps its elements in another order than a row-
/// major tensor of its extents.
template <class Container>
constexpr bool column_major = [] {
  if constexpr (requires { Container::NumIndices, Container::Layout; })
    return Container::NumIndices > 1 && Container::Layout == 0;  // Eigen's tensors
  else if constexpr (requires { Container::IsRowMajor, Container::IsVectorAtCompileTime; })
    return !Container::IsRowMajor && !Container::IsVectorAtCompileTime;  // and its matrices
  else
    return false;
}();

/// A container of Ts in one piece: a span, vector, array, map or tensor.
template <class Container, class T>
concept elements_of = requires(const Container& c) {
  { c.data() } -> std::convertible_to<const T*>;
  { c.size() } -> std::convertible_to<std::size_t>;
};

}  // namespace detail

/// Data the caller lends to a model for one call, without a copy: anything with data() and size(),
/// such as a span, a vector or a row-major map or tensor of Eigen's, or a tensor_view, whose shape
/// is checked, too.
template <class T>
class input_data {
 public:
  template <detail::elements_of<T> Container>
  input_data(const Container& c)
      : data_(static_cast<const T*>(c.data())), count_(static_cast<std::size_t>(c.size())) {}
  template <detail::elements_of<int> Container>
  input_data(const Container& c)
      : data_(static_cast<const int*>(c.data())), count_(static_cast<std::size_t>(c.size())),
        type_(element::int32) {}
  input_data(const tensor_view<const T>& view)
      : data_(view.data), count_(static_cast<std::size_t>(view.dims.count())), dims_(view.dims) {}
  input_data(const tensor_view<T>& view) : input_data(tensor_view<const T>{view.data, view.dims}) {}
  input_data(const tensor_view<const int>& view)
      : data_(view.data), count_(static_cast<std::size_t>(view.dims.count())),
        type_(element::int32), dims_(view.dims) {}

  const void* data() const { return data_; }
  long count() const { return static_cast<long>(count_); }
  element type() const { return type_; }
  /// Whether these are examples of an input of this shape, as far as their own shape is known.
  bool fits(const shape& batch) const {
    return dims_.rank == 0 || (dims_.rank == batch.rank && dims_.with(0, batch[0]) == batch);
  }
  const shape& dims() const { return dims_; }

 private:
  const void* data_;
  std::size_t count_;
  element type_ = element::scalar;
  shape dims_{};  // of rank 0 if it is not known
};

/// The same by name.
template <class T>
struct named_tensor {
  std::string name;
  tensor_view<T> values;
};

/// Elements [first, last) of the arena of variables.
struct element_range {
  long first, last;
};

/// The arenas and programs of one model.
template <class T>
class runner {
 public:
  /// `training` may be null: then there is nothing to differentiate.
  runner(cpu_device* device, const program& inference, const program* training)
      : own_device_(device == nullptr ? std::make_unique<cpu_device>() : nullptr),
        device_(device == nullptr ? own_device_.get() : device),
        inference_(inference),
        training_(training == nullptr ? inference : *training),
        trains_(training != nullptr),
        variables_(bytes(inference.variable_elements)),
        gradients_(trains_ ? bytes(inference.variable_elements) : 0),
        prepared_(static_cast<std::size_t>(inference.memory.prepared_bytes)),
        arena_(static_cast<std::size_t>(
            std::max(inference.memory.bytes, training_.memory.bytes))),
        losses_(static_cast<std::size_t>(training_.losses.size())),
        regularization_(static_cast<std::size_t>(training_.regularizers.size())),
        bound_(static_cast<std::size_t>(inference.inputs.size())) {
    for (const variable_row& row : inference_.variables) add_trainable(row);
  }

  runner(const runner&) = delete;  // the last run's program is kept by address
  runner& operator=(const runner&) = delete;

  cpu_device& device() { return *device_; }

  /// Fills every variable by its initializer, as a function of the seed and the variable's name.
  void initialize(std::uint64_t seed) {
    for (int v = 0; v < inference_.variables.size(); ++v) {
      const variable_row& row = inference_.variables[v];
      const std::uint64_t key = random_at(seed, hash_text(name_of(v)));
      const long count = row.dims.count(), shard = 1 << 16;
      T* data = variable(v).data;
      device_->parallel(static_cast<int>((count + shard - 1) / shard), [&](int task, int) {
        const long first = task * shard;
        row.hooks->fill(data, first, std::min(first + shard, count), row.dims, key);
      });
    }
  }

  /// May be written until the next pass: asking for it is what tells the runner of the change.
  tensor_view<T> variable(int v) {
    variables_changed();
    return at(variables_, v);
  }
  tensor_view<T> gradient(int v) { return at(gradients_, v); }
  std::string name_of(int v) const {
    return std::string(variable_name(inference_, inference_.variables[v]).view());
  }
  /// All variables, or gradients, as one flat range.
  std::span<T> flat_variables() {
    variables_changed();
    return flat(variables_);
  }
  /// What was derived from the variables no longer holds.
  void variables_changed() { is_prepared_ = false; }
  const variable_row& row(int v) const { return inference_.variables[v]; }
  std::span<T> flat_gradients() { return flat(gradients_); }

  /// The variables an optimizer may change, neighbours taken together.
  std::span<const element_range> trainable_ranges() const { return trainable_; }

  /// Counts an update by this optimizer, and gives its N slots, arenas of the variables' layout.
  /// The first update by an optimizer of another name makes new ones, filled with `initial`.
  template <std::size_t N>
  std::array<std::span<T>, N> slots(std::string_view optimizer,
                                    const std::array<double, N>& initial) {
    if (optimizer != optimizer_) {
      std::vector<aligned_buffer> made;
      for (std::size_t i = 0; i < N; ++i) {
        made.emplace_back(variables_.size());
        const std::span<T> elements = flat(made.back());
        if (initial[i] != 0)
          std::fill(elements.begin(), elements.end(), static_cast<T>(initial[i]));
      }
      slots_ = std::move(made);
      optimizer_ = optimizer;
      updates_ = 0;
    }
    ++updates_;
    std::array<std::span<T>, N> spans;
    for (std::size_t i = 0; i < N; ++i) spans[i] = flat(slots_[i]);
    return spans;
  }
  /// Updates by the optimizer whose slots these are.
  long updates() const { return updates_; }

  /// Runs the inference program on n images; returns the output of the images given. With `output`
  /// it is written there: `count` elements, as many as the images given have.
  tensor_view<const T> forward(std::initializer_list<input_data<T>> inputs,
                               T* output = nullptr, long count = 0) {
    const execution run = start(inference_, inputs, output, count);
    if (!is_prepared_) run_range(inference_, run, 0, inference_.first_run);
    is_prepared_ = true;
    run_range(inference_, run, inference_.first_run, inference_.steps.size());
    return value(inference_.output);
  }

  /// Runs the training program: losses and gradients. Variables stay as they are.
  T backward(std::initializer_list<input_data<T>> inputs) {
    const execution run = start(training_, inputs);
    run_range(training_, run, 0, training_.first_update);
    updates_due_ = true;
    for (int i = 0; i < training_.losses.size(); ++i)
      losses_[static_cast<std::size_t>(i)] = *value(training_.losses[i]).data;
    for (int i = 0; i < training_.regularizers.size(); ++i)
      regularization_[static_cast<std::size_t>(i)] = *value(training_.regularizers[i]).data;
    return total_loss_ = *value(training_.total_loss).data;
  }

  /// Moves the moving averages by the statistics of the last backward; once for each.
  void run_update_ops() {
    if (!updates_due_) return;
    run_range(training_, execution_, training_.first_update, training_.steps.size());
    updates_due_ = false;
    variables_changed();
  }

  T total_loss() const { return total_loss_; }
  std::span<const T> losses() const { return losses_; }
  std::span<const T> regularization_losses() const { return regularization_; }

  /// The seed of dropout and the step it is drawn for.
  void set_random(std::uint64_t seed, std::uint64_t step) { random_key_ = random_at(seed, step); }

  /// Lets `observer` run the steps from now on; null: they run alone.
  void set_observer(step_observer* observer) { observer_ = observer; }

  /// A value of the program that ran last.
  tensor_view<const T> value(int v) const {
    const tensor t = tensor_at(*last_, execution_, v);
    return {t.as<const T>(), t.dims};
  }
  tensor_view<const T> output() const { return value(last_->output); }
  /// The layers with outputs_collections whose values are fetched, as the last run wrote them.
  std::vector<named_tensor<const T>> end_points() const {
    std::vector<named_tensor<const T>> all;
    for (const end_point_row& row : last_->end_points)
      if (!row.collection.empty() && last_->tensors[row.value].fetched)
        all.push_back({row.key.empty() ? path_of(row.scope) : std::string(row.key),
                       value(row.value)});
    return all;
  }
  /// Whether the last run's program wrote this value to memory.
  bool written(int v) const {
    const placement& place = last_->tensors[v].place;
    return place.where != storage::buffer || place.offset >= 0;
  }

 private:
  void run_range(const program& p, const execution& e, int first, int last) {
    if (observer_ == nullptr)
      run_steps(p, e, first, last);
    else
      observer_->run(p, e, first, last);
  }
  std::string path_of(int scope) const {
    message path;
    write_scope_path(inference_.scopes, scope, path);
    return std::string(path.view());
  }
  static std::size_t bytes(long elements) { return static_cast<std::size_t>(elements) * sizeof(T); }
  tensor_view<T> at(aligned_buffer& arena, int v) {
    const variable_row& row = inference_.variables[v];
    return {reinterpret_cast<T*>(arena.data()) + row.offset, row.dims};
  }
  std::span<T> flat(aligned_buffer& arena) {
    return {reinterpret_cast<T*>(arena.data()), arena.size() / sizeof(T)};
  }

  void add_trainable(const variable_row& row) {
    if (!row.trainable) return;
    const long last = graph_builder::aligned_end(row.offset + row.dims.count());
    if (!trainable_.empty() && trainable_.back().last == row.offset)
      trainable_.back().last = last;
    else
      trainable_.push_back({row.offset, last});
  }

  execution start(const program& p, std::initializer_list<input_data<T>> inputs,
                  T* output = nullptr, long count = 0) {
    const int n = bind(p, inputs);
    if (output != nullptr) check_output(p, n, count);
    last_ = &p;
    updates_due_ = false;
    execution_ = {arena_.data(),     prepared_.data(), output, variables_.data(),
                  gradients_.data(), bound_.data(),    n,      device_,
                  random_key_};
    return execution_;
  }

  static void check_output(const program& p, int n, long count) {
    const tensor_row& row = p.tensors[p.output];
    const long wanted = row.batched ? row.dims.count() / row.dims[0] * n : row.dims.count();
    if (!row.place.output)
      throw input_error("the network's output is an input or a variable: it has no memory to place");
    if (count != wanted)
      throw input_error("the memory for the output holds " + std::to_string(count) +
                        " elements, the output of " + std::to_string(n) + " examples has " +
                        std::to_string(wanted));
  }

  /// Checks every input against the program; nothing has run or changed when it throws.
  int bind(const program& p, std::initializer_list<input_data<T>> inputs) {
    int i = 0, n = 0;
    for (const input_data<T>& data : inputs) {
      if (i >= p.inputs.size())
        throw input_error("the model has " + std::to_string(p.inputs.size()) + " inputs, " +
                          std::to_string(inputs.size()) + " were given");
      check(p, i, data, n);
      bound_[static_cast<std::size_t>(i++)] = data.data();
    }
    for (; i < p.inputs.size(); ++i)
      if (needed(p, i))
        throw input_error("input " + std::string(p.inputs[i].name) + " was not given");
    return n;
  }

  static void check(const program& p, int i, const input_data<T>& data, int& n) {
    const tensor_row& row = p.tensors[p.inputs[i].value];
    const std::string name = "input " + std::string(p.inputs[i].name);
    if (data.type() != row.type)
      throw input_error(name + " must hold " +
                        (row.type == element::int32 ? "ints" : "numbers of the model's type"));
    if (!data.fits(row.dims)) {
      message said;
      said << name << " has shape " << data.dims() << ", but " << row.dims << " is needed";
      throw input_error(std::string(said.view()));
    }
    const long each = row.dims.count() / row.dims[0];
    if (data.count() == 0 || data.count() % each != 0)
      throw input_error(name + ": " + std::to_string(data.count()) +
                        " elements are not a whole number of examples of " + std::to_string(each));
    const long given = data.count() / each;
    if (given > p.batch)
      throw input_error(name + ": " + std::to_string(given) + " examples exceed the batch of " +
                        std::to_string(p.batch));
    if (i > 0 && given != n)
      throw input_error(name + " has " + std::to_string(given) + " examples, " +
                        std::string(p.inputs[0].name) + " has " + std::to_string(n));
    n = static_cast<int>(given);
    if (row.type == element::int32) check_range(p.inputs[i], data);
  }

  static void check_range(const input_row& input, const input_data<T>& data) {
    const int* values = static_cast<const int*>(data.data());
    for (long k = 0; k < data.count() && input.index_limit > 0; ++k)
      if (values[k] < 0 || values[k] >= input.index_limit)
        throw input_error("input " + std::string(input.name) + "[" + std::to_string(k) + "] = " +
                          std::to_string(values[k]) + " is not in [0, " +
                          std::to_string(input.index_limit) + ")");
  }

  static bool needed(const program& p, int input) {
    for (const step_row& s : p.steps)
      for (int k = 0; k < s.inputs; ++k) {
        const placement& place = p.tensors[p.edges[s.first_input + k]].place;
        if (place.where == storage::input && place.index == input) return true;
      }
    return false;
  }

  std::unique_ptr<cpu_device> own_device_;
  cpu_device* device_;
  program inference_, training_;
  bool trains_;
  aligned_buffer variables_, gradients_, prepared_, arena_;
  std::vector<T> losses_, regularization_;
  std::vector<const void*> bound_;
  std::vector<element_range> trainable_;
  std::vector<aligned_buffer> slots_;
  std::string_view optimizer_;  // whose slots they are
  long updates_ = 0;
  bool is_prepared_ = false;  // the prepared values follow from the variables as they are
  bool updates_due_ = false;  // a backward pass has left statistics
  T total_loss_ = 0;
  std::uint64_t random_key_ = 0;
  step_observer* observer_ = nullptr;
  const program* last_ = &inference_;
  execution execution_{};
};

}  // namespace slim
