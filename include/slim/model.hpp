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
#include "kernels/cpu/all.hpp"
#include "network.hpp"
#include "optimizers.hpp"
#include "runner.hpp"

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
constexpr bool is_backend = std::is_same_v<Part, backend::eigen> ||
                            std::is_same_v<Part, backend::cpu>;

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

/// Another type than float or double is refused by the model; until then it stands for float.
template <class T>
using supported = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class... Part>
using target_of =
    target<supported<typename settings<Part...>::scalar>, typename settings<Part...>::backend>;

}  // namespace detail

/// Net on its parts: inputs, labels, losses, fetch<...>, scalar<T>, backend::eigen. One thread at a
/// time may use a model.
template <class Net, class... Part>
class model : public network_facts<detail::target_of<Part...>, Net, Part...> {
  using target_type = detail::target_of<Part...>;
  static_assert(std::is_same_v<typename detail::settings<Part...>::scalar,
                               typename target_type::scalar>,
                "a model computes in float or double");
  using facts = network_facts<target_type, Net, Part...>;

 public:
  using lowering = typename facts::lowering;

 private:
  static_assert(detail::said(lowering::explanation));  // a wrong network is refused here, once
  using T = typename target_type::scalar;
  using inference = detail::compiled<target_type, lowering, false>;
  using training = detail::compiled<target_type, lowering, true>;

 public:
  using element_type = T;

  /// Whether there is a loss to differentiate.
  static constexpr bool trains = lowering::refused || facts::lowered().losses.size() > 0;

  /// Bytes of the arena of activations and workspaces of a forward pass at full batch.
  static constexpr long inference_bytes() { return inference::program_view().memory.bytes; }
  /// The same of forward and backward.
  static constexpr long training_bytes() { return training::program_view().memory.bytes; }
  static constexpr program inference_program() { return inference::program_view(); }
  static constexpr program training_program() { return training::program_view(); }

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

  /// The output for n <= batch examples; n follows from the size of the inputs, which are given in
  /// the order of the model's parts (labels may be left out). The view holds until the next call.
  /// Throws input_error, with nothing changed, if an input does not fit.
  template <class... Input>
  tensor_view<const T> forward(const Input&... inputs) {
    static_assert(!(detail::column_major<Input> || ...),
                  "an input must be row-major: use Eigen::RowMajor maps");
    return runner_.forward({input_data<T>(inputs)...});
  }

  /// The total loss of n examples and its gradients. Throws as forward does.
  template <class... Input>
  T backward(const Input&... inputs) {
    static_assert(trains, "backward: the model has no loss among its parts");
    static_assert(!(detail::column_major<Input> || ...),
                  "an input must be row-major: use Eigen::RowMajor maps");
    return runner_.backward({input_data<T>(inputs)...});
  }

  /// The output of n examples, written to memory of the caller's without a copy: a span, vector or
  /// row-major map of exactly its elements. A fetched value that shares the output's memory stays
  /// readable as long as that memory is there.
  template <class Output, class... Input>
    requires detail::elements_of<Output, T>
  void forward_into(Output&& output, const Input&... inputs) {
    static_assert(!detail::column_major<std::remove_cvref_t<Output>>,
                  "the memory of an output must be row-major");
    static_assert(!(detail::column_major<Input> || ...),
                  "an input must be row-major: use Eigen::RowMajor maps");
    T* const data = output.data();
    runner_.forward({input_data<T>(inputs)...}, data, static_cast<long>(output.size()));
  }

  /// Moves the moving averages of batch norm by the statistics of the last backward: TF-Slim's
  /// UPDATE_OPS. `update` does that, too; a second call without another backward does nothing.
  void run_update_ops() { runner_.run_update_ops(); }

  /// One optimizer step with the gradients of the last backward, and the update ops.
  template <class Optimizer>
  void update(const Optimizer& optimizer) {
    static_assert(trains, "update: the model has no loss among its parts");
    runner_.run_update_ops();
    optimizer.update(runner_);
    ++global_step_;
  }

  /// The seed of dropout and the step its masks are drawn for.
  void set_random(std::uint64_t seed, std::uint64_t step) { runner_.set_random(seed, step); }

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
  tensor_view<T> gradient(int i) { return runner_.gradient(i); }
  std::string variable_name(int i) const { return runner_.name_of(i); }
  bool trainable(int i) const { return (collections(i) & trainable_variables) != 0; }
  /// The collections a variable is in: bits of `collection`, and the name of one of the user's.
  unsigned collections(int i) const { return runner_.row(i).collections; }
  std::string_view collection_name(int i) const { return runner_.row(i).collection; }

  /// Updates made, by any optimizer: TF-Slim's global step.
  long global_step() const { return global_step_; }
  void set_global_step(long step) { global_step_ = step; }

  /// What the last forward or backward wrote at a fetched end point.
  template <text Name>
  tensor_view<const T> fetched() const {
    constexpr int value = detail::required_end_point<lowering, Name>();
    static_assert(facts::lowered().values[value].fetched,
                  "fetched: name the end point in fetch<...> among the model's parts");
    return runner_.value(value);
  }

  /// TF-Slim's end_points of the last forward or backward, by full name in the network's order: the
  /// layers with outputs_collections that are fetched (fetch_all: every one).
  std::vector<named_tensor<const T>> end_points() const { return runner_.end_points(); }

  /// The output of the last forward or backward.
  tensor_view<const T> output() const { return runner_.output(); }

  T total_loss() const { return runner_.total_loss(); }
  std::span<const T> losses() const { return runner_.losses(); }
  std::span<const T> regularization_losses() const { return runner_.regularization_losses(); }
  cpu_device& device() { return runner_.device(); }

  /// Has every step timed by a profiler (profile.hpp) that outlives its use; null: no longer.
  void set_profiler(step_observer* profiler) { runner_.set_observer(profiler); }

 private:
  explicit model(cpu_device* device)
      : runner_(device, inference::program_view(), training_or_null()) {}

  static const program* training_or_null() {
    if constexpr (trains) {
      static const program p = training::program_view();
      return &p;
    } else {
      return nullptr;
    }
  }

  runner<T> runner_;
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
