// Inference of one model by many threads: its variables are shared and only read, and every caller
// has an arena of its own.
//
//   model_t m;
//   restore(m, "vgg_16.ckpt");
//   std::jthread other([&] {
//     session s(m);                          // one thread; session s(m, device) for more
//     auto logits = s.forward(images);
//   });
#pragma once

#include "forward.hpp"
#include "runner.hpp"

namespace slim {

/// The passes of a session: those of another runner's inference program.
template <class T>
class session_runner {
 public:
  session_runner(runner<T>& model, cpu_device* device)
      : model_(&model),
        on_(model.on() == nullptr ? nullptr : model.on()->another()),
        passes_(device, 1, model.inference_program(), model.inference_program().memory.bytes,
                on_.get()) {
    refresh();
  }

  void refresh() { shared_ = model_->share(); }

  tensor_view<const T> forward(std::initializer_list<input_data<T>> inputs) {
    forward_into({}, inputs);
    return output();
  }
  void forward_into(const detail::output_memory<T>& output,
                    std::initializer_list<input_data<T>> inputs) {
    if (model_->version() != shared_.version)
      throw stale_error(
          "session: the model's variables may have changed since it was made; "
          "refresh() takes the new ones");
    const program& p = model_->inference_program();
    passes_.start(p, shared_.memory, inputs, output);
    passes_.run(p.first_run, p.steps.size());
    passes_.deliver();
  }

  cpu_device& device() { return passes_.device(); }
  void set_observer(step_observer* observer) { passes_.set_observer(observer); }
  tensor_view<const T> value(int v) const { return passes_.value(v); }
  tensor_view<const T> output() const { return passes_.output(); }
  std::vector<named_tensor<const T>> end_points() const { return passes_.end_points(); }

 private:
  runner<T>* model_;
  std::unique_ptr<accelerator> on_;  // a stream of its own, where the model has one
  passes<T> passes_;
  typename runner<T>::shared_memory shared_{};
};

/// One caller's view of a model that outlives it: forward passes in an arena of its own, with the
/// same bits as the model's. Sessions of one model may run at once, each on one thread at a time,
/// and may be made and refreshed at once. Making the first prepares the model (folds batch norm,
/// ...).
///
/// While sessions run, the model's variables must stay as they are. Whatever may change them - an
/// update, restore, initialize, asking for variable(...) of a model that is not const - makes its
/// sessions stale: forward then throws stale_error until refresh(), which must not run while
/// another session does.
template <class Model>
class session : public detail::forward_passes<typename Model::facts,
                                              session_runner<typename Model::element_type>,
                                              typename Model::element_type> {
  using base =
      detail::forward_passes<typename Model::facts, session_runner<typename Model::element_type>,
                             typename Model::element_type>;

 public:
  /// On a device of its own with one thread, the caller's.
  explicit session(Model& m) : base(std::in_place, m.shared_runner(), nullptr) {}
  /// On a device that outlives it and that no one else uses meanwhile.
  session(Model& m, cpu_device& device) : base(std::in_place, m.shared_runner(), &device) {}

  /// Takes the model's variables as they are now.
  void refresh() { this->runner_.refresh(); }
};

}  // namespace slim
