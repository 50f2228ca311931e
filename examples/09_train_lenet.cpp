// Trains LeNet, or CifarNet, on a data set that make_glyphs made, and evaluates it on fonts it has
// never seen: checkpoints, a TensorBoard log, and the learning curve in the terminal and as a
// picture. Started again with the same log directory it goes on where it stopped.
//
//   08_make_glyphs /tmp/glyphs
//   09_train_lenet /tmp/glyphs --logdir /tmp/lenet
//
//   08_make_glyphs /tmp/colours --size 32
//   09_train_lenet /tmp/colours --net cifarnet --logdir /tmp/cifarnet
#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
#include <iostream>

#include <slim/evaluation.hpp>
#include <slim/learning.hpp>
#include <slim/summaries/summary_set.hpp>

#include "device.hpp"
#include "glyphs/classifiers.hpp"
#include "plot/curves.hpp"

namespace {

using namespace slim;

struct options {
  std::string data, net = "lenet", logdir = "lenet_log", picture, device = "cpu";
  std::int64_t steps = 2000;
  double learning_rate = 0.001;
  int threads = 2;
  std::uint64_t seed = 1;
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

template <class Kind, class Device>
void train(const options& o) {
  const auto start = std::chrono::steady_clock::now();
  cpu_device device(o.threads);
  glyphs::trainer<Kind, Device> m(device);
  m.initialize(o.seed);
  const data::record_set records = glyphs::read_split(o.data, "train");
  auto batches = glyphs::read_batches<Kind>(records, o.threads, o.seed);
  glyphs::held_out<Kind> test(o.data, o.threads);

  auto op = learning::create_train_op(
      m, adam{},
      {.learning_rate = learning::cosine_decay{o.learning_rate, static_cast<double>(o.steps)}});
  recording seen;
  std::vector<plot::point> mistakes;
  summaries::summary_set shown;
  shown.add("held_out", [&](auto& log, const std::string& tag, std::int64_t step) {
    const double accuracy = test.accuracy_of(m);
    mistakes.push_back({static_cast<double>(step), 100 * (1 - accuracy)});
    log.add_scalar(tag + "/accuracy", accuracy, step);
    const int each = Kind::size * Kind::size * Kind::channels;
    log.add_images(tag, test.pictures(), static_cast<int>(test.pictures().size()) / each,
                   Kind::size, Kind::size, Kind::channels, step);
  });
  summaries::summarize_weights(shown, m, ".*/conv");  // of millions it takes a tenth of a second
  learning::train(op, batches, o.logdir,
                  {.number_of_steps = o.steps,
                   .save_interval_secs = 10,
                   .save_summaries_secs = 2,
                   .summarize = shown,
                   .progress = &seen});

  const double accuracy =
      evaluation::evaluate_once(m, o.logdir, o.logdir + "/eval", [&] { test.step(m); },
                                {.num_evals = test.steps(),
                                 .initial = [&] { test.reset(); },
                                 .final_values = [&] { return test.values(); }})
          .at("accuracy");
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;

  const plot::curve loss{"loss by step", "#c33", smoothed(seen.losses), true};
  const plot::curve errors{"held-out pictures taken for others by step, %", "#36c", mistakes, true};
  std::cout << plot::to_text(loss) << plot::to_text(errors);
  const std::string picture = o.picture.empty() ? o.logdir + "/learning_curve.svg" : o.picture;
  plot::write_svg(picture, {loss, errors});
  std::printf(
      "%.2f %% of held-out pictures known after step %lld, in %.1f s; checkpoints and events in "
      "%s, "
      "the curves in %s\n",
      100 * accuracy, static_cast<long long>(m.global_step()), took.count(), o.logdir.c_str(),
      picture.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Trains LeNet or CifarNet on glyphs."};
  options o;
  app.add_option("data", o.data, "a folder that make_glyphs wrote")->required();
  app.add_option("--net", o.net, "lenet, on up to 28x28 grey, or cifarnet, on up to 32x32 RGB")
      ->check(CLI::IsMember({"lenet", "cifarnet"}))
      ->capture_default_str();
  app.add_option("--logdir", o.logdir, "checkpoints and TensorBoard's log")->capture_default_str();
  app.add_option("--steps", o.steps, "in all, of every run with this log directory")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--learning-rate", o.learning_rate, "of Adam, at the start")
      ->capture_default_str();
  app.add_option("--threads", o.threads)->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--seed", o.seed, "of weights, order and dropout")->capture_default_str();
  app.add_option("--picture", o.picture, "the learning curve as SVG; default within the logdir");
  examples::add_device(app, o.device);
  try {
    app.parse(argc, argv);
    examples::on_device(o.device, [&]<class Device>(Device) {
      o.net == "cifarnet" ? train<glyphs::cifarnet, Device>(o) : train<glyphs::lenet, Device>(o);
    });
  } catch (const CLI::ParseError& e) {
    return app.exit(e);
  } catch (const std::exception& e) {
    std::cerr << "train_lenet: " << e.what() << "\n";
    return 2;
  }
}
