// One caller's passes through the programs of a model: the arena they work in, the device they run
// on and what they leave behind. A model has one of these, and so has each of its sessions.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "accelerator.hpp"
#include "device.hpp"
#include "inputs.hpp"
#include "memory.hpp"

namespace slim {

/// What the passes of a model share: all but their arenas.
struct model_memory {
  void* variables = nullptr;
  void* gradients = nullptr;
  const void* host_variables = nullptr;
  std::byte* prepared = nullptr;
};

/// An arena of kernels alone: in host memory, or in an accelerator's.
class kernel_arena {
 public:
  kernel_arena() = default;
  kernel_arena(std::size_t bytes, accelerator* on, std::string_view what) : size_(bytes), on_(on) {
    if (on == nullptr)
      host_ = aligned_buffer(bytes);
    else if (bytes > 0)
      there_ = on->allocate(bytes, what);
  }
  kernel_arena(kernel_arena&& other) noexcept { *this = std::move(other); }
  kernel_arena& operator=(kernel_arena&& other) noexcept {
    std::swap(size_, other.size_), std::swap(host_, other.host_);
    std::swap(on_, other.on_), std::swap(there_, other.there_);
    return *this;
  }
  ~kernel_arena() {
    if (there_ != nullptr) on_->release(there_);
  }

  std::byte* data() { return there_ == nullptr ? host_.data() : there_; }
  std::size_t size() const { return size_; }
  void drop(std::size_t first, std::size_t last) {
    if (there_ == nullptr) host_.drop(first, last);
  }

 private:
  std::size_t size_ = 0;
  aligned_buffer host_;
  accelerator* on_ = nullptr;
  std::byte* there_ = nullptr;
};

namespace detail {

/// The inputs of a pass in an accelerator's memory.
class fed_inputs {
 public:
  fed_inputs(accelerator* on, int inputs) : on_(on), there_(static_cast<std::size_t>(inputs)) {}
  fed_inputs(fed_inputs&& other) noexcept : on_(other.on_) { std::swap(there_, other.there_); }
  fed_inputs& operator=(fed_inputs&& other) noexcept {
    std::swap(on_, other.on_), std::swap(there_, other.there_);
    return *this;
  }
  ~fed_inputs() {
    for (void* p : there_)
      if (p != nullptr) on_->release(static_cast<std::byte*>(p));
  }

  template <class T>
  void feed(const program& p, std::initializer_list<input_data<T>> inputs) {
    int i = 0;
    for (const input_data<T>& data : inputs) {
      const tensor_row& row = p.tensors[p.inputs[i].value];
      void*& to = there_[static_cast<std::size_t>(i)];
      if (p.inputs[i].needed) {
        if (to == nullptr)
          to =
              on_->allocate(static_cast<std::size_t>(row.dims.count()) * sizeof(float), "an input");
        on_->feed(i, static_cast<std::byte*>(to), row.type, data.data(), data.count(),
                  data.on_device());
      }
      ++i;
    }
  }
  const void* const* data() const { return there_.data(); }

 private:
  accelerator* on_;
  std::vector<void*> there_;
};

/// The caller's memory for the output of a pass: so many elements, in host memory or in the
/// accelerator's; null: it lies in the arena alone.
template <class T>
struct output_memory {
  T* data = nullptr;
  long count = 0;
  bool on_device = false;
};

/// The elements of a tensor in an accelerator's memory as Ts.
template <class T>
std::vector<T> downloaded(accelerator& on, const tensor& t) {
  const auto count = static_cast<std::size_t>(t.dims.count());
  std::vector<T> values(count);
  const auto* from = static_cast<const std::byte*>(t.data);
  if (t.type != element::bfloat16) {
    on.download(values.data(), from, count * sizeof(T));
    return values;
  }
  std::vector<std::uint16_t> narrow(count);
  on.download(narrow.data(), from, count * sizeof(std::uint16_t));
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t bits = std::uint32_t{narrow[i]} << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    values[i] = static_cast<T>(value);
  }
  return values;
}

}  // namespace detail

/// Runs programs over an arena of its own. T is the type of their elements.
template <class T>
class passes {
 public:
  using output_memory = detail::output_memory<T>;

  /// On a device that outlives it or, without one, on its own of `threads` threads (0: as many as
  /// the machine has); kernels run `on` an accelerator, if there is one. The first program is what
  /// a caller sees before anything has run.
  passes(cpu_device* device, int threads, const program& first, long arena_bytes,
         accelerator* on = nullptr)
      : own_device_(device == nullptr ? std::make_unique<cpu_device>(threads) : nullptr),
        device_(device == nullptr ? own_device_.get() : device),
        on_(on),
        arena_(static_cast<std::size_t>(arena_bytes), on, "activations and workspaces"),
        inputs_(first.inputs.size()),
        fed_(on, on == nullptr ? 0 : first.inputs.size()),
        last_(&first) {}

  cpu_device& device() { return *device_; }
  kernel_arena& arena() { return arena_; }
  accelerator* on() const { return on_; }

  /// Lets `observer` run the steps from now on; null: they run alone.
  void set_observer(step_observer* observer) { observer_ = observer; }
  /// The seed of dropout and the step it is drawn for, as one number.
  void set_random_key(std::uint64_t key) { random_key_ = key; }

  /// Begins a pass through a program that outlives it. Memory for the output must hold as many
  /// elements as the examples given have. Throws input_error, with nothing changed.
  void start(const program& p, const model_memory& memory,
             std::initializer_list<input_data<T>> inputs, const output_memory& output = {}) {
    const int n = inputs_.bind(p, inputs, on_ != nullptr);
    if (output.data != nullptr) check_output(p, n, output);
    last_ = &p;
    execution_ = on(memory, on_ == nullptr ? output.data : nullptr, n);
    copies_.clear();
    if (on_ == nullptr) return;
    fed_.feed(p, inputs);
    execution_.inputs = fed_.data();
    wanted_ = output;
  }
  /// Runs steps [first, last) of the pass that was started and, on an accelerator, `then` an
  /// update.
  void run(int first, int last, const update_call* then = nullptr) {
    run(*last_, execution_, first, last, then);
  }
  /// Runs steps of a program that read no input; the results of the last pass stay readable unless
  /// its arena is where they work.
  void run_alone(const program& p, const model_memory& memory, int first, int last) {
    run(p, on(memory, nullptr, 0), first, last);
  }

  /// What an update alone works on.
  execution execution_of(const model_memory& memory) { return on(memory, nullptr, 0); }

  /// A value of the program that ran last.
  tensor_view<const T> value(int v) const {
    const tensor t = tensor_at(*last_, execution_, v);
    const bool in_host = last_->tensors[v].place.where == storage::host_variable;
    if (on_ == nullptr || in_host || t.data == nullptr) return {t.as<const T>(), t.dims};
    for (const auto& [number, values] : copies_)
      if (number == v) return {values->data(), t.dims};
    copies_.emplace_back(v, std::make_unique<std::vector<T>>(detail::downloaded<T>(*on_, t)));
    return {copies_.back().second->data(), t.dims};
  }
  tensor_view<const T> output() const { return value(last_->output); }
  /// Brings the output to the memory that the caller gave; on the CPU it is there.
  void deliver() {
    if (on_ == nullptr || wanted_.data == nullptr) return;
    const tensor t = tensor_at(*last_, execution_, last_->output);
    if (!wanted_.on_device) {
      const tensor_view<const T> v = output();
      std::copy(v.begin(), v.end(), wanted_.data);
    } else if constexpr (std::is_same_v<T, float>) {
      on_->hand_over(wanted_.data, t.template as<const std::byte>(), t.type, wanted_.count);
      on_->wait();
    }
  }
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
  void run(const program& p, const execution& e, int first, int last,
           const update_call* then = nullptr) {
    if (observer_ != nullptr)
      observer_->run(p, e, first, last);
    else if (on_ != nullptr)
      return on_->run(p, e, first, last, then);
    else
      return run_steps(p, e, first, last);
    if (then != nullptr) on_->run(p, e, last, last, then);
  }
  execution on(const model_memory& memory, T* output, int n) {
    return {arena_.data(),
            memory.prepared,
            output,
            memory.variables,
            memory.gradients,
            memory.host_variables,
            inputs_.data(),
            n,
            device_,
            random_key_,
            !execution_.backwards,
            on_};
  }
  std::string path_of(int scope) const {
    message path;
    write_scope_path(last_->scopes, scope, path);
    return std::string(path.view());
  }

  void check_output(const program& p, int n, const output_memory& output) const {
    if (output.on_device && on_ == nullptr)
      throw input_error("the memory for the output is a device's: the model runs on the CPU");
    const tensor_row& row = p.tensors[p.output];
    const long wanted = row.batched ? row.dims.count() / row.dims[0] * n : row.dims.count();
    if (!row.place.output)
      throw input_error(
          "the network's output is an input or a variable: it has no memory to place");
    if (output.count != wanted)
      throw input_error("the memory for the output holds " + std::to_string(output.count) +
                        " elements, the output of " + std::to_string(n) + " examples has " +
                        std::to_string(wanted));
  }

  std::unique_ptr<cpu_device> own_device_;
  cpu_device* device_;
  accelerator* on_;
  kernel_arena arena_;
  detail::bound_inputs<T> inputs_;
  detail::fed_inputs fed_;
  output_memory wanted_{};
  mutable std::vector<std::pair<int, std::unique_ptr<std::vector<T>>>> copies_;  // of values
  const program* last_;
  execution execution_{};
  step_observer* observer_ = nullptr;
  std::uint64_t random_key_ = 0;
};

}  // namespace slim
