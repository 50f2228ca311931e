// What a model and its sessions have in common: forward passes, and what those leave to be read.
#pragma once

#include "network.hpp"
#include "passes.hpp"

namespace slim::detail {

/// Facts are the network's, Runner is a runner<T> or a session_runner<T>.
template <class Facts, class Runner, class T>
class forward_passes : public Facts {
 public:
  using lowering = typename Facts::lowering;
  using element_type = T;

  /// The output for n <= batch examples; n follows from the size of the inputs, which are given in
  /// the order of the model's parts (labels may be left out). The view holds until the next call.
  /// Throws input_error, with nothing changed, if an input does not fit.
  template <class... Input>
  tensor_view<const T> forward(const Input&... inputs) {
    static_assert(!(column_major<Input> || ...),
                  "an input must be row-major: use Eigen::RowMajor maps");
    return runner_.forward({input_data<T>(inputs)...});
  }

  /// The output of n examples, written to memory of the caller's without a copy: a span, vector or
  /// row-major map of exactly its elements. A fetched value that shares the output's memory stays
  /// readable as long as that memory is there.
  template <class Output, class... Input>
  requires elements_of<Output, T>
  void forward_into(Output&& output, const Input&... inputs) {
    static_assert(!column_major<std::remove_cvref_t<Output>>,
                  "the memory of an output must be row-major");
    static_assert(!(column_major<Input> || ...),
                  "an input must be row-major: use Eigen::RowMajor maps");
    T* const data = output.data();
    runner_.forward_into({data, static_cast<long>(output.size())}, {input_data<T>(inputs)...});
  }
  /// The same into memory of the accelerator that runs the model, where the output is when this
  /// returns.
  template <class... Input>
  void forward_into(const device_span<T>& output, const Input&... inputs) {
    runner_.forward_into({output.data, output.dims.count(), true}, {input_data<T>(inputs)...});
  }

  /// What the last pass wrote at a fetched end point.
  template <text Name>
  tensor_view<const T> fetched() const {
    constexpr int value = required_end_point<lowering, Name>();
    static_assert(Facts::lowered().values[value].fetched,
                  "fetched: name the end point in fetch<...> among the model's parts");
    return runner_.value(value);
  }

  /// TF-Slim's end_points of the last pass, by full name in the network's order: the layers with
  /// outputs_collections that are fetched (fetch_all: every one).
  std::vector<named_tensor<const T>> end_points() const { return runner_.end_points(); }

  /// The output of the last pass.
  tensor_view<const T> output() const { return runner_.output(); }
  cpu_device& device() { return runner_.device(); }

  /// Has every step timed by a profiler (profile.hpp) that outlives its use; null: no longer.
  void set_profiler(step_observer* profiler) { runner_.set_observer(profiler); }

 protected:
  template <class... Argument>
  explicit forward_passes(std::in_place_t, Argument&&... arguments)
      : runner_(std::forward<Argument>(arguments)...) {}

  Runner runner_;
};

}  // namespace slim::detail
