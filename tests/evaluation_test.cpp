// Evaluation: once, and of checkpoints as another thread writes them.

#include <catch2/catch.hpp>

#include <atomic>

#include <slim/checkpoint/saver.hpp>
#include <slim/evaluation.hpp>
#include <slim/model.hpp>
#include <slim/summaries/event_reader.hpp>

#include "files.hpp"

namespace {

using namespace slim;
using namespace slim_test;
using Catch::Contains;

struct one : net<"net", fully_connected<1, activation_fn{none}, scope{"a"}>> {};
using model_t = model<one, input<1, 2>, labels<1>, sparse_softmax_cross_entropy<>, backend::eigen>;

/// Saves checkpoints whose bias is their step.
class writer {
 public:
  explicit writer(std::string folder) : folder_(std::move(folder)) { m_.initialize(1); }
  void save(std::int64_t step) {
    m_.set_global_step(step);
    m_.variable<"net/a/biases">()[0] = static_cast<float>(step);
    keep_.save(m_, gradient_descent{}, folder_ + "/model.ckpt");
  }

 private:
  std::string folder_;
  cpu_device device_{1};
  model_t m_{device_};
  saver keep_{{.max_to_keep = 2}};
};

float bias_of(model_t& m) { return m.variable<"net/a/biases">()[0]; }

}  // namespace

TEST_CASE(
    "a checkpoint is restored, evaluated so often, and what was found is written at its step") {
  temporary_folder tmp;
  writer(tmp.path()).save(12);
  model_t m;
  m.initialize(9);
  int begun = 0, steps = 0;
  const auto found =
      evaluation::evaluate_once(m, tmp.path(), tmp / "eval",
                                [&] {
                                  CHECK(bias_of(m) == 12);
                                  ++steps;
                                },
                                {.num_evals = 3,
                                 .initial = [&] { ++begun; },
                                 .final_values =
                                     [&] {
                                       return evaluation::named_values{{"steps", steps}};
                                     }});
  CHECK(begun == 1);
  CHECK(found == evaluation::named_values{{"steps", 3}});
  CHECK(m.global_step() == 12);
  const auto files = std::filesystem::directory_iterator(tmp / "eval");
  summaries::event_reader events(files->path().string());
  events.next();
  const auto e = events.next();
  CHECK(e->step == 12);
  CHECK(e->values.at(0).tag == "steps");
  CHECK(e->values.at(0).scalar == 3.0f);
}

TEST_CASE("hooks end an evaluation and write what was found, and so does a step without more") {
  temporary_folder tmp;
  writer(tmp.path()).save(7);
  model_t m;
  int steps = 0;
  std::vector<std::string> heard;
  evaluation::stop_after_n_evals stop(3, [&](const std::string& text) { heard.push_back(text); });
  evaluation::summary_at_end summary(
      tmp / "eval", [](auto& log, std::int64_t at) { log.add_scalar("more", 1, at); });
  const evaluation::loop_options once{.max_number_of_evaluations = 1};
  evaluation::evaluate_options options{.final_values =
                                           [&] {
                                             return evaluation::named_values{{"steps", steps}};
                                           },
                                       .hooks = {&stop, &summary}};
  const auto found = evaluation::evaluate_repeatedly(
      m, tmp.path(), [&] { ++steps; }, options, once);
  CHECK(found.at("steps") == 3);
  CHECK(heard ==
        std::vector<std::string>{"evaluation [1/3]", "evaluation [2/3]", "evaluation [3/3]"});
  summaries::event_reader events(
      std::filesystem::directory_iterator(tmp / "eval")->path().string());
  events.next();
  CHECK(events.next()->values.at(0).tag == "steps");
  const auto more = events.next();
  CHECK(more->values.at(0).tag == "more");
  CHECK(more->step == 7);

  steps = 0, options.hooks = {};
  evaluation::evaluate_repeatedly(
      m, tmp.path(), [&] { return ++steps < 5; }, options, once);
  CHECK(steps == 5);
}

TEST_CASE("every new checkpoint is evaluated beside the one who writes them") {
  temporary_folder tmp;
  std::atomic<bool> go_on = false;
  std::thread training([&] {
    writer w(tmp.path());
    for (const int step : {1, 2, 3}) {
      w.save(step);
      while (!go_on.exchange(false)) std::this_thread::yield();
    }
  });
  model_t m;
  std::vector<float> seen;
  evaluation::evaluation_loop(
      m, tmp.path(), tmp.path() + "/eval",
      [&] {
        seen.push_back(bias_of(m));
        go_on = true;
      },
      {.final_values =
           [] {
             return evaluation::named_values{{"found", 1}};
           }},
      {.eval_interval_secs = 0, .max_number_of_evaluations = 3, .seconds_to_sleep = 1e-3});
  training.join();
  CHECK(seen == std::vector<float>{1, 2, 3});
  const std::filesystem::directory_iterator logs(tmp.path() + "/eval");
  CHECK(std::distance(begin(logs), end(logs)) == 1);
}

TEST_CASE("without a new checkpoint the loop ends after a timeout, unless it is told not to") {
  temporary_folder tmp;
  writer(tmp.path()).save(1);
  model_t m;
  int asked = 0, evaluated = 0;
  evaluation::evaluation_loop(m, tmp.path(), "", [&] { ++evaluated; }, {},
                              {.eval_interval_secs = 0,
                               .timeout = 0.01,
                               .timeout_fn = [&] { return ++asked == 3; },
                               .seconds_to_sleep = 1e-3});
  CHECK(evaluated == 1);
  CHECK(asked == 3);
  CHECK_FALSE(evaluation::wait_for_new_checkpoint(tmp / "none", {}, 1e-3, 0.01));
}

TEST_CASE("a checkpoint that is gone is passed over, one that is damaged is an error") {
  temporary_folder tmp;
  writer w(tmp.path());
  w.save(1);
  model_t m;
  const auto loop = [&](auto step) {
    evaluation::evaluation_loop(m, tmp.path(), "", step, {},
                                {.eval_interval_secs = 0,
                                 .max_number_of_evaluations = 1,
                                 .timeout = 0.01,
                                 .seconds_to_sleep = 1e-3});
  };
  SECTION("gone") {
    for (const char* end : {".index", ".data-00000-of-00001"})
      std::filesystem::remove(tmp / ("model.ckpt-1" + std::string(end)));
    int evaluated = 0;
    loop([&] { ++evaluated; });
    CHECK(evaluated == 0);
  }
  SECTION("damaged") {
    std::filesystem::resize_file(tmp / "model.ckpt-1.data-00000-of-00001", 3);
    CHECK_THROWS_AS(loop([] {}), checkpoint_error);
  }
}
