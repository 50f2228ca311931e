// One caller's passes through the programs of a model: the arena they work in, the device they run
// on and what they leave behind. A model has one of these, and so has each of its sessions.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device.hpp"
#include "inputs.hpp"
#include "memory.hpp"

namespace slim {

/// What the passes of a model share: all but their arenas.
struct model_memory {
  void* variables = nullptr;
  void* gradients = nullptr;
  std::byte* prepared = nullptr;
};

/// Runs programs over an arena of its own. T is the type of their elements.
template <class T>
class passes {
 public:
  /// On a device that outlives it or, without one, on its own of `threads` threads (0: as many as
  /// the machine has). The first program is what a caller sees before anything has run.
  passes(cpu_device* device, int threads, const program& first, long arena_bytes)
      : own_device_(device == nullptr ? std::make_unique<cpu_device>(threads) : nullptr),
        device_(device == nullptr ? own_device_.get() : device),
        arena_(static_cast<std::size_t>(arena_bytes)),
        inputs_(first.inputs.size()),
        last_(&first) {}

  cpu_device& device() { return *device_; }
  aligned_buffer& arena() { return arena_; }

  /// Lets `observer` run the steps from now on; null: they run alone.
  void set_observer(step_observer* observer) { observer_ = observer; }
  /// The seed of dropout and the step it is drawn for, as one number.
  void set_random_key(std::uint64_t key) { random_key_ = key; }

  /// Begins a pass through a program that outlives it. With `output` the output is written there:
  /// `count` elements, as many as the examples given have. Throws input_error, with nothing
  /// changed.
  void start(const program& p, const model_memory& memory,
             std::initializer_list<input_data<T>> inputs, T* output = nullptr, long count = 0) {
    const int n = inputs_.bind(p, inputs);
    if (output != nullptr) check_output(p, n, count);
    last_ = &p;
    execution_ = on(memory, output, n);
  }
  /// Runs steps [first, last) of the pass that was started.
  void run(int first, int last) { run(*last_, execution_, first, last); }
  /// Runs steps of a program that read no input; the results of the last pass stay readable unless
  /// its arena is where they work.
  void run_alone(const program& p, const model_memory& memory, int first, int last) {
    run(p, on(memory, nullptr, 0), first, last);
  }

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
        all.push_back(
            {row.key.empty() ? path_of(row.scope) : std::string(row.key), value(row.value)});
    return all;
  }
  /// Whether the last run's program wrote this value to memory.
  bool written(int v) const {
    const placement& place = last_->tensors[v].place;
    return place.where != storage::buffer || place.offset >= 0;
  }

 private:
  void run(const program& p, const execution& e, int first, int last) {
    if (observer_ == nullptr)
      run_steps(p, e, first, last);
    else
      observer_->run(p, e, first, last);
  }
  execution on(const model_memory& memory, T* output, int n) {
    return {arena_.data(),    memory.prepared, output, memory.variables,
            memory.gradients, inputs_.data(),  n,      device_,
            random_key_,      !execution_.backwards};
  }
  std::string path_of(int scope) const {
    message path;
    write_scope_path(last_->scopes, scope, path);
    return std::string(path.view());
  }

  static void check_output(const program& p, int n, long count) {
    const tensor_row& row = p.tensors[p.output];
    const long wanted = row.batched ? row.dims.count() / row.dims[0] * n : row.dims.count();
    if (!row.place.output)
      throw input_error(
          "the network's output is an input or a variable: it has no memory to place");
    if (count != wanted)
      throw input_error("the memory for the output holds " + std::to_string(count) +
                        " elements, the output of " + std::to_string(n) + " examples has " +
                        std::to_string(wanted));
  }

  std::unique_ptr<cpu_device> own_device_;
  cpu_device* device_;
  aligned_buffer arena_;
  detail::bound_inputs<T> inputs_;
  const program* last_;
  execution execution_{};
  step_observer* observer_ = nullptr;
  std::uint64_t random_key_ = 0;
};

}  // namespace slim
