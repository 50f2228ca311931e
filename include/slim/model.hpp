// A model: a network type on its inputs, with everything that runs it.
//
//   using model_t = model<nets::vgg_arg_scope<nets::vgg_16<>>, input<8, 224, 224, 3>>;
//   model_t m;
//   m.initialize(1);
//   auto logits = m.forward(images);          // std::vector<float> of n <= 8 images
//
// With labels and a loss among its parts a model also trains:
//
//   using trainer_t = model<net_t, input<8, 224, 224, 3>, labels<8>,
//                           sparse_softmax_cross_entropy<>>;
//   float loss = m.backward(images, labels);  // gradients of the total loss
//   m.update(gradient_descent{0.01});
#pragma once

#include "compile.hpp"
#include "forward.hpp"
#include "kernels/cpu/all.hpp"
#include "network.hpp"
#include "optimizers.hpp"
#include "runner.hpp"
#include "session.hpp"

namespace slim {

/// A model's element type, as a part of it: scalar<double>. Default float.
template <class T>
struct scalar {
  static constexpr graph_counts needs{};
  static constexpr bool is_setting = true;
  using type = T;
};

namespace detail {

template <class Part>
constexpr bool is_backend =
    std::is_same_v<Part, backend::eigen> || std::is_same_v<Part, backend::cpu>;

template <class... Part>
struct settings {
  using scalar = float;
  using backend = slim::backend::cpu;
};
template <class T, class... Rest>
struct settings<slim::scalar<T>, Rest...> : settings<Rest...> {
  using scalar = T;
};
template <class... Rest>
struct settings<backend::eigen, Rest...> : settings<Rest...> {
  using backend = slim::backend::eigen;
};
template <class First, class... Rest>
struct settings<First, Rest...> : settings<Rest...> {};
/// A part that names the backend it stands for, such as gpu<...>.
template <class First, class... Rest>
  requires requires { typename First::as_backend; }
struct settings<First, Rest...> : settings<Rest...> {
  using backend = typename First::as_backend;
};

/// What runs a backend's kernels besides the CPU, or null.
template <class Backend>
std::unique_ptr<accelerator> accelerator_for(long bytes) {
  if constexpr (requires { Backend::make_accelerator(bytes); })
    return Backend::make_accelerator(bytes);
  else
    return nullptr;
}

/// Another type than float or double is refused by the model; until then it stands for float.
template <class T>
using supported = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class... Part>
using target_of =
    target<supported<typename settings<Part...>::scalar>, typename settings<Part...>::backend>;

}  // namespace detail

/// Net on its parts: inputs, labels, losses, fetch<...>, scalar<T>, convolution<exact>,
/// backend::eigen. One thread at a time may use a model; many may run its sessions (session.hpp).
template <class Net, class... Part>
class model : public detail::forward_passes<network_facts<detail::target_of<Part...>, Net, Part...>,
                                            runner<typename detail::target_of<Part...>::scalar>,
                                            typename detail::target_of<Part...>::scalar> {
  using target_type = detail::target_of<Part...>;
  static_assert(
      std::is_same_v<typename detail::settings<Part...>::scalar, typename target_type::scalar>,
      "a model computes in float or double");
  using T = typename target_type::scalar;

 public:
  using facts = network_facts<target_type, Net, Part...>;
  using lowering = typename facts::lowering;

 private:
  using base = detail::forward_passes<facts, runner<T>, T>;
  using base::runner_;
  static_assert(detail::said(lowering::explanation));  // a wrong network is refused here, once
  using inference = detail::compiled<target_type, lowering, false>;
  using training = detail::compiled<target_type, lowering, true>;

 public:
  /// Whether there is a loss to differentiate.
  static constexpr bool trains = lowering::refused || facts::lowered().losses.size() > 0;

  /// Bytes of the arena of activations and workspaces of a forward pass at full batch.
  static constexpr long inference_bytes() { return inference::program_view().memory.bytes; }
  /// The same of forward and backward.
  static constexpr long training_bytes() { return training::program_view().memory.bytes; }
  static constexpr program inference_program() { return inference::program_view(); }
  static constexpr program training_program() { return training::program_view(); }

  /// Bytes a frozen model has in use, with its arena at full batch: while it runs, and at most on
  /// the way there from the moment its variables were set. Its device's scratch memory, 2 MiB a
  /// thread, and the program itself come on top.
  static constexpr frozen_memory frozen_bytes() {
    constexpr program p = inference::program_view();
    return freeze_plan(p).memory();
  }

  // Both are templates so that what the passes refuse is refused before their bodies: one error
  // without the calls that led there.

  /// On a device of its own, with as many threads as the machine has.
  template <class Inference = inference>
    requires(detail::compiles<Inference, training, trains>())
  model() : model(nullptr) {}
  /// On a device that outlives it.
  template <class Inference = inference>
    requires(detail::compiles<Inference, training, trains>())
  explicit model(cpu_device& device) : model(&device) {}

  /// Sets every variable by its initializer; equal seeds give equal values.
  void initialize(std::uint64_t seed = 1) { runner_.initialize(seed); }

  /// The total loss of n examples and its gradients. Throws as forward does.
  template <class... Input>
  T backward(const Input&... inputs) {
    static_assert(trains, "backward: the model has no loss among its parts");
    static_assert(!(detail::column_major<Input> || ...),
                  "an input must be row-major: use Eigen::RowMajor maps");
    return runner_.backward({input_data<T>(inputs)...});
  }

  /// Moves the moving averages of batch norm by the statistics of the last backward: TF-Slim's
  /// UPDATE_OPS. `update` does that, too; a second call without another backward does nothing.
  void run_update_ops() { runner_.run_update_ops(); }

  /// Starts a forward pass without waiting for it: `output`, or forward's own views, wait. On the
  /// CPU it is done at once.
  template <class... Input>
  void launch(const Input&... inputs) {
    runner_.launch({input_data<T>(inputs)...});
  }
  /// Starts a step of training: backward, update ops and the optimizer's update, on an accelerator
  /// as one recorded piece of work. Throws as backward does. `wait`, then total_loss and its kind
  /// are those of the step.
  template <class Optimizer, class... Input>
  void launch_step(const Optimizer& optimizer, const Input&... inputs) {
    static_assert(trains, "launch_step: the model has no loss among its parts");
    if constexpr (is_accelerated<Optimizer>) {
      runner_.launch_step({input_data<T>(inputs)...}, [&] { optimizer.update(runner_); });
      ++global_step_;
    } else {
      backward(inputs...);
      update(optimizer);
    }
  }
  /// Waits for what was launched.
  void wait() { runner_.wait(); }

  /// Takes the choices of kernels that a file keeps, as long as nothing has run, and adds those
  /// still to be made. With the same choices an accelerator's bits are the same every run.
  void keep_plans(const std::string& file) {
    if (runner_.on() != nullptr) runner_.on()->keep_plans(file);
  }
  /// The choices an accelerator has made so far, a line each: what, which kernel, milliseconds.
  std::string plans() const { return runner_.on() == nullptr ? "" : runner_.on()->plans(); }

  /// One optimizer step with the gradients of the last backward, and the update ops.
  template <class Optimizer>
  void update(const Optimizer& optimizer) {
    static_assert(trains, "update: the model has no loss among its parts");
    runner_.run_update_ops();
    optimizer.update(runner_);
    ++global_step_;
  }

  /// The same of some variables alone: those in these ranges (runner::ranges_of).
  template <class Optimizer>
  void update(const Optimizer& optimizer, std::span<const element_range> ranges) {
    runner_.update_only(ranges, [&] { update(optimizer); });
  }

  /// The seed of dropout and the step its masks are drawn for.
  void set_random(std::uint64_t seed, std::uint64_t step) { runner_.set_random(seed, step); }

  /// Gives back the memory of all that inference does not read: gradients, optimizers' slots, and
  /// variables whose values only what is prepared from them stands for. From then on forward and
  /// sessions alone work, with the same bits; what would change variables, train, or read one that
  /// was dropped throws frozen_error. On Linux; elsewhere the memory stays.
  void freeze() { runner_.freeze(); }
  bool is_frozen() const { return runner_.is_frozen(); }

  /// What sessions are made of.
  runner<T>& shared_runner() { return runner_; }

  /// A variable and its gradient, by full name. A variable may be written through its view until
  /// the next forward, backward or update; then it must be asked for anew.
  template <text Name>
  tensor_view<T> variable() {
    return runner_.variable(detail::required_variable<lowering, Name>());
  }
  template <text Name>
  tensor_view<T> gradient() {
    static_assert(trains, "gradient: the model has no loss among its parts");
    return runner_.gradient(detail::required_variable<lowering, Name>());
  }
  tensor_view<T> variable(int i) { return runner_.variable(i); }
  /// To be read alone: sessions stay up to date, and a frozen model has those it did not drop.
  template <text Name>
  tensor_view<const T> variable() const {
    return runner_.variable(detail::required_variable<lowering, Name>());
  }
  tensor_view<const T> variable(int i) const { return runner_.variable(i); }
  tensor_view<T> gradient(int i) { return runner_.gradient(i); }
  /// A variable, or its gradient, in the memory of the accelerator that runs the model: for kernels
  /// of the caller's, once `wait` has returned and until the next pass. Throws slim::error where it
  /// is in host memory alone.
  device_view<T> device_variable(int i) { return runner_.device_variable(i); }
  device_view<T> device_gradient(int i) {
    static_assert(trains, "device_gradient: the model has no loss among its parts");
    return runner_.device_gradient(i);
  }
  std::string variable_name(int i) const { return runner_.name_of(i); }
  bool trainable(int i) const { return (collections(i) & trainable_variables) != 0; }
  /// The collections a variable is in: bits of `collection`, and the name of one of the user's.
  unsigned collections(int i) const { return runner_.row(i).collections; }
  std::string_view collection_name(int i) const { return runner_.row(i).collection; }

  /// Updates made, by any optimizer: TF-Slim's global step.
  long global_step() const { return global_step_; }
  void set_global_step(long step) { global_step_ = step; }

  T total_loss() const { return runner_.total_loss(); }
  std::span<const T> losses() const { return runner_.losses(); }
  std::span<const T> regularization_losses() const { return runner_.regularization_losses(); }

 private:
  explicit model(cpu_device* device)
      : base(std::in_place, device, inference::program_view(), training_or_null(), 0,
             detail::accelerator_for<typename target_type::backend>(accelerator_bytes())) {}

  /// Bytes of an accelerator's memory that the arenas of this model take, an optimizer's slots and
  /// a kernel's own scratch memory apart.
  static constexpr long accelerator_bytes() {
    constexpr program i = inference::program_view();
    const long variables = i.kernel_elements * i.scalar_bytes;
    if constexpr (trains) {
      constexpr program t = training::program_view();
      return std::max(i.memory.bytes, t.memory.bytes) + i.memory.prepared_bytes +
             t.memory.prepared_bytes + variables + i.variable_elements * i.scalar_bytes;
    } else {
      return i.memory.bytes + i.memory.prepared_bytes + variables;
    }
  }

  static const program* training_or_null() {
    if constexpr (trains) {
      static const program p = training::program_view();
      return &p;
    } else {
      return nullptr;
    }
  }

  long global_step_ = 0;
};

/// TF-Slim's names for what a backward pass leaves behind.
template <class Model>
auto get_total_loss(const Model& m, bool add_regularization_losses = true) {
  if (add_regularization_losses) return m.total_loss();
  decltype(m.total_loss()) sum = 0;
  for (const auto loss : m.losses()) sum += loss;
  return sum;
}
template <class Model>
auto get_losses(const Model& m) {
  return m.losses();
}
template <class Model>
auto get_regularization_losses(const Model& m) {
  return m.regularization_losses();
}

}  // namespace slim
