// Trains LeNet on a data set that make_glyphs made, and evaluates it on fonts it has never seen:
// checkpoints, a TensorBoard log, and the learning curve in the terminal and as a picture. Started
// again with the same log directory it goes on where it stopped.
//
//   08_make_glyphs /tmp/glyphs
//   09_train_lenet /tmp/glyphs --logdir /tmp/lenet
#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
#include <iostream>

#include <slim/evaluation.hpp>
#include <slim/learning.hpp>
#include <slim/metrics.hpp>
#include <slim/slim.hpp>

#include "glyphs/input.hpp"
#include "plot/curves.hpp"

namespace {

using namespace slim;

constexpr int batch = 64, size = 28, classes = 10;
using net = nets::lenet_arg_scope<nets::lenet<num_classes{classes}>>;
using lenet =
    model<net, input<batch, size, size, 1>, labels<batch>, sparse_softmax_cross_entropy<>>;

struct options {
  std::string data, logdir = "lenet_log", picture;
  std::int64_t steps = 2000;
  double learning_rate = 0.001;
  int threads = 2;
  std::uint64_t seed = 1;
};

/// The class with the largest logit of each example.
std::vector<int> predicted(const tensor_view<const float>& logits) {
  std::vector<int> all;
  for (const float* row = logits.begin(); row != logits.end(); row += classes)
    all.push_back(static_cast<int>(std::max_element(row, row + classes) - row));
  return all;
}

/// The share of held-out pictures that the model knows, over one pass of them.
class held_out {
 public:
  held_out(const std::string& folder, int threads)
      : records_(glyphs::read_split(folder, "test")),
        batches_(records_,
                 {.batch_size = batch,
                  .shuffle = false,
                  .num_epochs = 1,
                  .threads = threads,
                  .allow_smaller_final_batch = true},
                 glyphs::decode_grey{size}, {size, size, 1}, {}) {}

  double accuracy_of(lenet& m) {
    metrics::streaming_accuracy accuracy;
    batches_.seek(0);
    while (auto* b = batches_.next()) {
      const auto [images, labels] = b->inputs();
      accuracy.update(predicted(m.forward(images)), labels);
    }
    return accuracy.value();
  }

 private:
  data::record_set records_;
  glyphs::grey_batches batches_;
};

/// Keeps the loss of every step for the curve, and passes on what it hears.
class recording : public learning::progress {
 public:
  void step(const learning::step_report& r) override {
    losses.push_back({static_cast<double>(r.step), r.loss});
    if (r.step % 50 == 0 || r.step == r.last) console_.step(r);
  }
  void note(const std::string& text) override { console_.note(text); }

  std::vector<plot::point> losses;

 private:
  learning::console_progress console_;
};

/// Means of runs of points: what a terminal has room for.
std::vector<plot::point> smoothed(const std::vector<plot::point>& all, std::size_t most = 128) {
  const std::size_t run = std::max<std::size_t>(1, all.size() / most);
  std::vector<plot::point> means;
  for (std::size_t i = 0; i + run <= all.size(); i += run) {
    plot::point mean{all[i + run - 1].x, 0};
    for (std::size_t k = i; k < i + run; ++k) mean.y += all[k].y / static_cast<double>(run);
    means.push_back(mean);
  }
  return means;
}

void train(const options& o) {
  const auto start = std::chrono::steady_clock::now();
  cpu_device device(o.threads);
  lenet m(device);
  m.initialize(o.seed);
  const data::record_set records = glyphs::read_split(o.data, "train");
  glyphs::grey_batches batches(records, {.batch_size = batch, .seed = o.seed, .threads = o.threads},
                               glyphs::decode_grey{size}, {size, size, 1}, {});
  held_out test(o.data, o.threads);

  auto op = learning::create_train_op(
      m, adam{},
      {.learning_rate = learning::cosine_decay{o.learning_rate, static_cast<double>(o.steps)}});
  recording seen;
  std::vector<plot::point> accuracies;
  learning::train(op, batches, o.logdir,
                  {.number_of_steps = o.steps,
                   .save_interval_secs = 10,
                   .save_summaries_secs = 2,
                   .summarize =
                       [&](summaries::event_writer& log, std::int64_t step) {
                         const double accuracy = test.accuracy_of(m);
                         accuracies.push_back({static_cast<double>(step), accuracy});
                         log.add_scalar("held_out/accuracy", accuracy, step);
                         log.add_histogram("LeNet/conv1/weights",
                                           m.variable<"LeNet/conv1/weights">(), step);
                       },
                   .progress = &seen});

  double accuracy = 0;
  evaluation::evaluate_once(m, o.logdir, o.logdir + "/eval",
                            [&] { accuracy = test.accuracy_of(m); }, {.final_values = [&] {
                              return evaluation::named_values{{"accuracy", accuracy}};
                            }});
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;

  const plot::curve loss{"loss by step", "#c33", smoothed(seen.losses)};
  const plot::curve known{"held-out accuracy by step", "#36c", accuracies};
  std::cout << plot::to_text(loss) << plot::to_text(known);
  const std::string picture = o.picture.empty() ? o.logdir + "/learning_curve.svg" : o.picture;
  plot::write_svg(picture, "step", {loss, known});
  std::printf(
      "%.2f %% of held-out pictures after step %lld, in %.1f s; checkpoints, events and %s in %s\n",
      100 * accuracy, static_cast<long long>(m.global_step()), took.count(), "the learning curve",
      o.logdir.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Trains LeNet on glyphs."};
  options o;
  app.add_option("data", o.data, "a folder that make_glyphs wrote")->required();
  app.add_option("--logdir", o.logdir, "checkpoints and TensorBoard's log")->capture_default_str();
  app.add_option("--steps", o.steps, "in all, of every run with this log directory")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--learning-rate", o.learning_rate, "of Adam, at the start")
      ->capture_default_str();
  app.add_option("--threads", o.threads)->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--seed", o.seed, "of weights, order and dropout")->capture_default_str();
  app.add_option("--picture", o.picture, "the learning curve as SVG; default within the logdir");
  try {
    app.parse(argc, argv);
    train(o);
  } catch (const CLI::ParseError& e) {
    return app.exit(e);
  } catch (const std::exception& e) {
    std::cerr << "train_lenet: " << e.what() << "\n";
    return 2;
  }
}
