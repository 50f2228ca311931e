// One network of the probe. Compiled once a network, with these defined:
//   NET         its name, in slim::nets and in TF-Slim
//   ARG_SCOPE   its arg_scope
//   IMAGE_SIZE  its default
//   CHANNELS    of its images, if not 3
//   CLASSES     if not 1000
//   BATCH_NORM  1 if batch statistics tell its training from its inference
//   WITH_GPU    1 if it runs on a GPU, too
#include <numeric>

#include <slim/checkpoint.hpp>
#include <slim/slim.hpp>

#include "probe.hpp"

#ifndef WITH_GPU
#define WITH_GPU 0
#endif
#if WITH_GPU
#include <slim/gpu.hpp>
#endif

#ifndef CHANNELS
#define CHANNELS 3
#endif
#ifndef CLASSES
#define CLASSES 1000
#endif

namespace slim_probe {
namespace {

using namespace slim;

constexpr int batch = 4, size = IMAGE_SIZE;

/// The network in TF-Slim's own arg_scope, without dropout; logits [n, classes] whatever its own.
template <bool Training>
using network_type = sequence<
    nets::ARG_SCOPE<nets::NET<num_classes{CLASSES}, dropout_keep_prob{1.0}, is_training{Training}>>,
    flatten<>>;

/// The network and what it is trained on.
template <bool Training, class T, class Backend, class... More>
using trainer = model<network_type<Training>, input<batch, size, size, CHANNELS>, labels<batch>,
                      sparse_softmax_cross_entropy<>, scalar<T>, Backend, More...>;

template <class Model, class T>
struct run {
  explicit run(const request& q)
      : device(q.threads), m(device), writer(q.out), images(q.images.begin(), q.images.end()) {
    restore(m, q.checkpoint);
  }

  void write(const std::string& name, const tensor_view<const T>& v) {
    writer.add<T>(name, stored_shape_of(v.dims), v.span());
  }
  void write(const std::string& name, T value) { write(name, {&value, shape{}}); }

  cpu_device device;
  Model m;
  checkpoint_writer writer;
  std::vector<T> images;
};

template <class Run>
void write_losses(Run& r) {
  r.write("loss", r.m.losses()[0]);
  // Not the total loss less the loss: that would be what rounding leaves of a small number.
  const auto penalties = r.m.regularization_losses();
  r.write("regularization_loss",
          std::accumulate(penalties.begin(), penalties.end(), decltype(r.m.total_loss())(0)));
  r.write("total_loss", r.m.total_loss());
  for (int v = 0; v < decltype(r.m)::variable_count; ++v) {
    if (!r.m.trainable(v)) continue;
    const auto g = r.m.gradient(v);
    r.write("gradients/" + r.m.variable_name(v), {g.data, g.dims});
  }
}

/// The moving averages after one update.
template <class Run>
void write_updated(Run& r) {
  r.m.run_update_ops();
  for (int v = 0; v < decltype(r.m)::variable_count; ++v) {
    if (r.m.trainable(v)) continue;
    const auto moved = r.m.variable(v);
    r.write("updated/" + r.m.variable_name(v), {moved.data, moved.dims});
  }
}

/// Without batch statistics a pass of training and one of inference are one type, compiled once.
template <bool Training>
constexpr bool distinct = Training&& BATCH_NORM;

/// With batch statistics there is only the training pass, which wants labels, whatever they are.
template <bool Training, class T, class Backend>
void answers_of(const request& q) {
  run<trainer<distinct<Training>, T, Backend, fetch_all>, T> r(q);
  const bool labelled = !q.labels.empty();
  if (labelled || distinct<Training>)
    r.m.backward(r.images, labelled ? q.labels : std::vector<int>(q.image_dims[0]));
  else
    r.m.forward(r.images);
  r.write("logits", r.m.output());
  for (const auto& e : r.m.end_points()) r.write("end_points/" + e.name, e.values);
  if (labelled) write_losses(r);
  if (labelled && Training) write_updated(r);
  r.writer.finish();
}

template <class Model>
void update(Model& m, const request& q) {
  const double rate = q.learning_rate;
  if (q.optimizer == "sgd") return m.update(gradient_descent{.learning_rate = rate});
  if (q.optimizer == "momentum") return m.update(momentum{.learning_rate = rate});
  if (q.optimizer == "nesterov")
    return m.update(momentum{.learning_rate = rate, .use_nesterov = true});
  if (q.optimizer == "adam") return m.update(adam{.learning_rate = rate});
  if (q.optimizer == "rmsprop") return m.update(rmsprop{.learning_rate = rate});
  if (q.optimizer == "centered_rmsprop")
    return m.update(rmsprop{.learning_rate = rate, .momentum = 0.9, .centered = true});
  if (q.optimizer == "adagrad") return m.update(adagrad{.learning_rate = rate});
  if (q.optimizer == "adadelta") return m.update(adadelta{.learning_rate = rate});
  if (q.optimizer == "proximal_gradient_descent")
    return m.update(proximal_gradient_descent{.learning_rate = rate,
                                              .l1_regularization_strength = 1e-3,
                                              .l2_regularization_strength = 1e-2});
  if (q.optimizer == "proximal_adagrad")
    return m.update(proximal_adagrad{.learning_rate = rate,
                                     .l1_regularization_strength = 1e-3,
                                     .l2_regularization_strength = 1e-2});
  m.update(ftrl{.learning_rate = rate});
}

template <class T, class Backend>
void steps_of(const request& q) {
  run<trainer<distinct<true>, T, Backend>, T> r(q);
  std::vector<T> losses;
  for (int i = 0; i < q.steps; ++i) {
    losses.push_back(r.m.backward(r.images, q.labels));
    update(r.m, q);
  }
  for (const auto& v : get_model_variables(r.m)) r.write(v.name, {v.values.data, v.values.dims});
  r.write("losses", {losses.data(), shape{q.steps}});
  r.writer.finish();
}

template <class T, class Backend>
void answers_on(const request& q) {
  q.training ? answers_of<true, T, Backend>(q) : answers_of<false, T, Backend>(q);
}
template <class T>
void answers_in(const request& q) {
  q.backend == "eigen" ? answers_on<T, backend::eigen>(q) : answers_on<T, backend::cpu>(q);
}
template <class T>
void steps_in(const request& q) {
  q.backend == "eigen" ? steps_of<T, backend::eigen>(q) : steps_of<T, backend::cpu>(q);
}

/// Calls f(a part of a model) for the precision of a request on a GPU.
template <class F>
void on_gpu(const request& q, F f) {
#if WITH_GPU
  if (q.precision == "float") return f(gpu<float>());
  if (q.precision == "tf32") return f(gpu<tf32>());
  if (q.precision == "bfloat16") return f(gpu<bfloat16>());
  throw error("--precision " + q.precision + ": the GPU computes in float, tf32 or bfloat16");
#else
  (void)f;
  throw error("--device gpu: " + q.net + " was built without GPU kernels");
#endif
}

void answers(const request& q) {
  if (q.device == "gpu") return on_gpu(q, [&]<class Part>(Part) { answers_on<float, Part>(q); });
  q.precision == "double" ? answers_in<double>(q) : answers_in<float>(q);
}
void steps(const request& q) {
  if (q.device == "gpu") return on_gpu(q, [&]<class Part>(Part) { steps_of<float, Part>(q); });
  q.precision == "double" ? steps_in<double>(q) : steps_in<float>(q);
}
/// The variables as their initializers make them.
void weights(const request& q) {
  model<network_type<false>, input<1, size, size, CHANNELS>> m;
  m.initialize(q.seed);
  save_checkpoint(m, q.out);
}

}  // namespace

#define STRING(x) STRING_OF(x)
#define STRING_OF(x) #x
extern const network_entry NET;
const network_entry NET{STRING(NET), IMAGE_SIZE, CHANNELS, &answers, &steps, &weights};

}  // namespace slim_probe
