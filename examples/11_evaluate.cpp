// Evaluates the checkpoints of 09_train_lenet as they appear, in a process of its own beside the
// training: what it finds goes to the terminal and to TensorBoard's log.
//
//   09_train_lenet /tmp/glyphs --logdir /tmp/lenet &
//   11_evaluate /tmp/glyphs --logdir /tmp/lenet --timeout 30
#include <CLI/CLI.hpp>

#include <cstdio>
#include <iostream>

#include <slim/data/dataset_info.hpp>
#include <slim/evaluation.hpp>

#include "device.hpp"
#include "glyphs/classifiers.hpp"

namespace {

using namespace slim;

struct options {
  std::string data, net = "lenet", logdir = "lenet_log", device = "cpu";
  bool once = false;
  double interval = 5, timeout = 60;
  int threads = 1;
};

/// What was found at a step, and which class was taken for which other most often.
template <class Kind>
void print(std::int64_t step, const glyphs::held_out<Kind>& test, const data::label_map& names) {
  std::printf("step %lld", static_cast<long long>(step));
  for (const auto& [name, value] : test.values()) std::printf("  %s %.4f", name.c_str(), value);
  const metrics::confusion_matrix& counts = test.confusion();
  const auto name = [&](std::size_t c) { return names.at(static_cast<std::int64_t>(c)); };
  std::size_t label = 0, taken_for = 0;
  double most = 0;
  for (std::size_t l = 0; l < counts.size(); ++l)
    for (std::size_t p = 0; p < counts.size(); ++p)
      if (l != p && counts.at(l, p) > most) most = counts.at(l, p), label = l, taken_for = p;
  if (most > 0)
    std::printf("  %s taken for %s in %.1f %%", name(label).c_str(), name(taken_for).c_str(),
                100 * most / counts.row(label));
  std::printf("\n");
  std::fflush(stdout);
}

template <class Kind, class Device>
void evaluate(const options& o) {
  cpu_device device(o.threads);
  glyphs::classifier<Kind, Device> m(device);
  glyphs::held_out<Kind> test(o.data, o.threads);
  const data::label_map names = data::read_label_file(o.data);
  const auto step = [&] { test.step(m); };
  const evaluation::evaluate_options each{
      .num_evals = test.steps(),
      .initial = [&] { test.reset(); },
      .final_values = [&] { return test.values(); },
      .summarize = [&](summaries::event_writer&, std::int64_t at) { print(at, test, names); }};
  const std::string log = o.logdir + "/eval";
  if (o.once) {
    evaluation::evaluate_once(m, o.logdir, log, step, each);
    return;
  }
  const auto found =
      evaluation::evaluation_loop(m, o.logdir, log, step, each,
                                  {.eval_interval_secs = o.interval,
                                   .timeout = o.timeout,
                                   .seconds_to_sleep = std::min(0.2, o.timeout / 2)});
  if (found.empty()) throw error(o.logdir + ": no checkpoint appeared");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Evaluates checkpoints of train_lenet as they appear."};
  options o;
  app.add_option("data", o.data, "a folder that make_glyphs wrote")->required();
  app.add_option("--net", o.net, "what was trained")
      ->check(CLI::IsMember({"lenet", "cifarnet"}))
      ->capture_default_str();
  app.add_option("--logdir", o.logdir, "of the training")->capture_default_str();
  app.add_flag("--once", o.once, "evaluates the newest checkpoint alone");
  app.add_option("--interval", o.interval, "seconds from one evaluation to the next")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--timeout", o.timeout, "ends after this many seconds without a new checkpoint")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--threads", o.threads)->check(CLI::Range(1, 1024))->capture_default_str();
  examples::add_device(app, o.device);
  try {
    app.parse(argc, argv);
    examples::on_device(o.device, [&]<class Device>(Device) {
      o.net == "cifarnet" ? evaluate<glyphs::cifarnet, Device>(o)
                          : evaluate<glyphs::lenet, Device>(o);
    });
  } catch (const CLI::ParseError& e) {
    return app.exit(e);
  } catch (const std::exception& e) {
    std::cerr << "evaluate: " << e.what() << "\n";
    return 2;
  }
}
