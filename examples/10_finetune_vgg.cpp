// Fine-tunes VGG-16 as TF-Slim's README does: every layer but the last ones comes from a checkpoint
// of TensorFlow, the last ones have other classes and are trained alone; then the result is
// evaluated.
//
//   08_make_glyphs /tmp/letters --characters letters --size 224 --train 2000 --test 200
//   10_finetune_vgg /tmp/letters --checkpoint vgg_16.ckpt --steps 200
#include <CLI/CLI.hpp>

#include <iostream>

#include <slim/evaluation.hpp>
#include <slim/learning.hpp>
#include <slim/metrics.hpp>
#include <slim/preprocessing/vgg_preprocessing.hpp>
#include <slim/slim.hpp>

#include "device.hpp"
#include "glyphs/input.hpp"

namespace {

using namespace slim;

constexpr int batch = 8, size = 224, classes = 26;
using net = nets::vgg_arg_scope<nets::vgg_16<num_classes{classes}>>;
template <class Device>
using vgg =
    model<net, input<batch, size, size, 3>, labels<batch>, sparse_softmax_cross_entropy<>, Device>;

struct options {
  std::string data, checkpoint, logdir = "vgg_log", device = "cpu";
  std::vector<std::string> exclude{"vgg_16/fc8"}, train{"vgg_16/fc8"};
  std::int64_t steps = 100;
  double learning_rate = 0.001;
  int threads = 2;
};

/// One picture as VGG takes it, and its label.
struct decode_rgb {
  void operator()(std::span<const std::byte> record, random_stream&, std::span<float> pixels,
                  std::span<int> label) const {
    const data::example_view e(record);
    const auto encoded = e.at("image/encoded").bytes().at(0);
    const image picture = decode_image(std::as_bytes(std::span(encoded)));
    vgg_preprocess_for_eval(picture, size, size, size, pixels);
    label[0] = static_cast<int>(e.at("image/class/label").int64s().at(0));
  }
};
using rgb_batches = data::pipeline<data::record_set, decode_rgb, float, int>;

template <class Model>
double held_out_accuracy(Model& m, const options& o) {
  const data::record_set records = glyphs::read_split(o.data, "test");
  rgb_batches batches(records,
                      {.batch_size = batch,
                       .shuffle = false,
                       .num_epochs = 1,
                       .threads = o.threads,
                       .allow_smaller_final_batch = true},
                      {}, {size, size, 3}, {});
  metrics::streaming_accuracy accuracy;
  while (auto* b = batches.next()) {
    const auto [images, labels] = b->inputs();
    accuracy.update(metrics::argmax(m.forward(images), classes), labels);
  }
  return accuracy.value();
}

template <class Device>
void finetune(const options& o) {
  cpu_device device(o.threads);
  vgg<Device> m(device);
  m.initialize(1);

  // TF-Slim's get_variables_to_restore and assign_from_checkpoint_fn.
  const variable_map restored(get_variables_to_restore(m, {}, o.exclude));
  const auto init = assign_from_checkpoint_fn<vgg<Device>>(o.checkpoint, restored);
  std::vector<std::string> trained;
  for (const std::string& scope : o.train) {
    const auto found = get_trainable_variables(m, scope);
    if (found.empty()) throw error("--train " + scope + ": no trained variable is in this scope");
    for (const auto& v : found) trained.push_back(v.name);
  }

  const data::record_set records = glyphs::read_split(o.data, "train");
  rgb_batches batches(records, {.batch_size = batch, .threads = o.threads}, {}, {size, size, 3},
                      {});
  auto op = learning::create_train_op(m, momentum{o.learning_rate, 0.9},
                                      {.clip_gradient_norm = 10, .variables_to_train = trained});
  learning::console_progress bar;
  learning::train(op, batches, o.logdir,
                  {.number_of_steps = o.steps,
                   .log_every_n_steps = 10,
                   .init_fn = [&] { init(m); },
                   .saver = {.max_to_keep = 1},
                   .progress = &bar});

  double accuracy = 0;
  evaluation::evaluate_once(m, o.logdir, o.logdir + "/eval",
                            [&] { accuracy = held_out_accuracy(m, o); }, {.final_values = [&] {
                              return evaluation::named_values{{"accuracy", accuracy}};
                            }});
  std::cout << 100 * accuracy << " % of held-out pictures after step " << m.global_step() << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Fine-tunes VGG-16 on glyphs."};
  options o;
  app.add_option("data", o.data, "a folder that make_glyphs wrote: 26 classes, 224x224")
      ->required();
  app.add_option("--checkpoint", o.checkpoint, "VGG-16 as TensorFlow saved it")->required();
  app.add_option("--logdir", o.logdir, "checkpoints and TensorBoard's log")->capture_default_str();
  app.add_option("--exclude", o.exclude, "scopes that are not restored")->capture_default_str();
  app.add_option("--train", o.train, "scopes that are trained")->capture_default_str();
  app.add_option("--steps", o.steps)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--learning-rate", o.learning_rate)->capture_default_str();
  app.add_option("--threads", o.threads)->check(CLI::Range(1, 1024))->capture_default_str();
  examples::add_device(app, o.device);
  try {
    app.parse(argc, argv);
    examples::on_device(o.device, [&]<class Device>(Device) { finetune<Device>(o); });
  } catch (const CLI::ParseError& e) {
    return app.exit(e);
  } catch (const std::exception& e) {
    std::cerr << "finetune_vgg: " << e.what() << "\n";
    return 2;
  }
}
