// Training runs as a whole: what they leave on the disk, how they end, and that a resumed run is
// the uninterrupted one in bits.

#include <catch2/catch.hpp>

#include <csignal>

#include <slim/data/pipeline.hpp>
#include <slim/learning.hpp>

#include "files.hpp"
#include "golden.hpp"

namespace {

using namespace slim;
using namespace slim_test;
using Catch::Contains;

struct small : net<"net", fully_connected<16, scope{"a"}>, dropout<keep_prob{0.8}, scope{"drop"}>,
                   fully_connected<3, activation_fn{none}, scope{"b"}>> {};
constexpr int batch = 8, features = 6;
using trainer = model<small, input<batch, features>, labels<batch>, sparse_softmax_cross_entropy<>,
                      backend::eigen>;

/// Records that are their own numbers.
struct numbers {
  std::int64_t size() const { return 50; }
  std::int64_t record(std::int64_t i) const { return i; }
  std::string key(std::int64_t i) const { return std::to_string(i); }
};
const auto decode = [](std::int64_t record, random_stream& random, std::span<float> x,
                       std::span<int> y) {
  const auto values = uniform("train/" + std::to_string(record), features);
  for (std::size_t i = 0; i < features; ++i)
    x[i] = values[i] + 0.1f * static_cast<float>(random.uniform());
  y[0] = static_cast<int>(record % 3);
};
using input_pipeline = data::pipeline<numbers, decltype(decode), float, int>;
const numbers source;

data::pipeline_options endless() { return {.batch_size = batch, .seed = 4}; }

/// A run in a folder from a fresh model; its variables behind it.
template <class Optimizer>
std::vector<float> run(const std::string& folder, const Optimizer& optimizer,
                       const learning::train_options& options,
                       const data::pipeline_options& input = endless()) {
  cpu_device device(2);
  trainer m(device);
  m.initialize(3);
  input_pipeline batches(source, input, decode, {features}, {});
  auto op = learning::create_train_op(m, optimizer);
  learning::train(op, batches, folder, options);
  std::vector<float> all;
  for (int v = 0; v < trainer::variable_count; ++v)
    all.insert(all.end(), m.variable(v).begin(), m.variable(v).end());
  return all;
}

std::int64_t saved_step(const std::string& folder) {
  return checkpoint_reader(folder).read<std::int64_t>("global_step").at(0);
}

/// Notes and steps of a run.
struct recorder : learning::progress {
  std::vector<std::int64_t> steps;
  std::vector<std::string> notes;
  void step(const learning::step_report& r) override { steps.push_back(r.step); }
  void note(const std::string& text) override { notes.push_back(text); }
};

}  // namespace

TEST_CASE("2N steps are N, an end, a resume and N, in bits, with each optimizer") {
  const auto check = [](const auto& optimizer) {
    temporary_folder whole, parts;
    const auto want = run(whole.path(), optimizer, {.number_of_steps = 20});
    run(parts.path(), optimizer, {.number_of_steps = 7});
    run(parts.path(), optimizer, {.number_of_steps = 12});
    const auto got = run(parts.path(), optimizer, {.number_of_steps = 20});
    CHECK(got == want);
  };
  check(gradient_descent{0.1});
  check(momentum{0.1, 0.9});
  check(adam{0.01});
  check(rmsprop{.learning_rate = 0.01, .momentum = 0.5, .centered = true});
  check(ftrl{0.1});
}

TEST_CASE("a checkpoint holds slots and step under TensorFlow's names") {
  temporary_folder tmp;
  run(tmp.path(), adam{0.01}, {.number_of_steps = 3});
  const checkpoint_reader r(tmp.path());
  CHECK(r.at("net/a/weights/Adam").dims == stored_shape{features, 16});
  CHECK(r.at("net/b/biases/Adam_1").dims == stored_shape{3});
  CHECK(r.read<float>("beta1_power").at(0) == Approx(std::pow(0.9, 4)));
  CHECK(r.read<float>("beta2_power").at(0) == Approx(std::pow(0.999, 4)));
  CHECK(saved_step(tmp.path()) == 3);
}

TEST_CASE("where some variables are trained, theirs alone have slots, and resuming is exact") {
  const auto some = [](const std::string& folder, std::int64_t steps) {
    cpu_device device(1);
    trainer m(device);
    m.initialize(3);
    input_pipeline batches(source, endless(), decode, {features}, {});
    auto op =
        learning::create_train_op(m, momentum{0.1, 0.9}, {.variables_to_train = {"net/b/weights"}});
    learning::train(op, batches, folder, {.number_of_steps = steps});
    return std::vector<float>(m.variable<"net/b/weights">().begin(),
                              m.variable<"net/b/weights">().end());
  };
  temporary_folder whole, parts;
  const auto want = some(whole.path(), 6);
  some(parts.path(), 3);
  CHECK(some(parts.path(), 6) == want);
  const checkpoint_reader r(whole.path());
  CHECK(r.find("net/b/weights/Momentum") != nullptr);
  CHECK(r.find("net/a/weights/Momentum") == nullptr);
}

TEST_CASE("the step limit counts all runs, and is looked at behind a step") {
  temporary_folder tmp;
  recorder seen;
  const learning::train_options options{
      .number_of_steps = 4, .log_every_n_steps = 2, .progress = &seen};
  run(tmp.path(), momentum{}, options);
  CHECK(seen.steps == std::vector<std::int64_t>{2, 4});
  run(tmp.path(), momentum{}, options);
  CHECK(saved_step(tmp.path()) == 5);  // as TF-Slim: one step more
  CHECK_THROWS_WITH(run(tmp.path(), momentum{}, {.number_of_steps = 0}),
                    Contains("number_of_steps is 0"));
}

TEST_CASE("init_fn is called where there is no checkpoint, and only there") {
  temporary_folder tmp;
  int calls = 0;
  const learning::train_options options{.number_of_steps = 2, .init_fn = [&] { ++calls; }};
  run(tmp.path(), momentum{}, options);
  run(tmp.path(), momentum{}, options);
  CHECK(calls == 1);
}

TEST_CASE("the end of the input ends training, with a checkpoint") {
  temporary_folder tmp;
  recorder seen;
  data::pipeline_options once = endless();
  once.num_epochs = 1;
  run(tmp.path(), momentum{}, {.progress = &seen}, once);
  CHECK(saved_step(tmp.path()) == 6);
  CHECK(seen.notes.back() == "the input has ended");
}

TEST_CASE("a signal ends training behind a step, with a checkpoint") {
  temporary_folder tmp;
  recorder seen;
  run(tmp.path(), momentum{},
      {.should_stop =
           [](std::int64_t step) {
             if (step == 5) std::raise(SIGTERM);
             return step > 100;
           },
       .progress = &seen});
  CHECK(saved_step(tmp.path()) == 5);
  CHECK(seen.notes.back() == "stopped by a signal");
}

TEST_CASE("as many checkpoints stay as are to be kept, and the newest is named") {
  temporary_folder tmp;
  cpu_device device(1);
  trainer m(device);
  m.initialize(1);
  const saver_options options{.max_to_keep = 2};
  std::optional<saver> keep(std::in_place, options);
  for (int step = 0; step < 5; ++step) {
    m.set_global_step(step);
    keep->save(m, momentum{}, tmp / "model.ckpt");
    if (step == 3) keep.emplace(options);  // another run in the same folder goes on deleting
  }
  const auto state = get_checkpoint_state(tmp.path());
  CHECK(state->model_checkpoint_path == tmp / "model.ckpt-4");
  CHECK(state->all_model_checkpoint_paths ==
        std::vector<std::string>{tmp / "model.ckpt-3", tmp / "model.ckpt-4"});
  int files = 0;
  for (const auto& file : std::filesystem::directory_iterator(tmp.path())) {
    ++files;
    INFO(file.path());
    const std::string name = file.path().filename().string();
    CHECK((name == "checkpoint" || name.find("ckpt-3") != name.npos ||
           name.find("ckpt-4") != name.npos));
  }
  CHECK(files == 5);
}

TEST_CASE("a checkpoint that cannot be written leaves the last one and the model as they are") {
  temporary_folder tmp;
  cpu_device device(1);
  trainer m(device);
  m.initialize(1);
  saver keep;
  keep.save(m, momentum{}, tmp / "model.ckpt");
  m.set_global_step(1);
  std::filesystem::create_directory(tmp / "model.ckpt-1.index");  // a name that is taken
  CHECK_THROWS_AS(keep.save(m, momentum{}, tmp / "model.ckpt"), checkpoint_error);
  CHECK(latest_checkpoint(tmp.path()) == tmp / "model.ckpt-0");
  CHECK_THROWS_AS(keep.save(m, momentum{}, "/no-such-folder/model.ckpt"), checkpoint_error);
  trainer other(device);
  restore_training(other, momentum{}, tmp.path());
  CHECK(std::equal(m.variable(0).begin(), m.variable(0).end(), other.variable(0).begin()));
}

TEST_CASE("resuming leaves the checkpoint it began with as it is") {
  temporary_folder tmp;
  run(tmp.path(), momentum{}, {.number_of_steps = 2});
  const std::string index = tmp / "model.ckpt-2.index";
  const auto before = std::filesystem::last_write_time(index);
  run(tmp.path(), momentum{}, {.number_of_steps = 4});
  CHECK(std::filesystem::last_write_time(index) == before);
  CHECK(saved_step(tmp.path()) == 4);
}

TEST_CASE("a resumed run keeps its seed") {
  temporary_folder whole, parts;
  const auto want = run(whole.path(), momentum{}, {.number_of_steps = 6, .seed = 8});
  run(parts.path(), momentum{}, {.number_of_steps = 3, .seed = 8});
  CHECK(run(parts.path(), momentum{}, {.number_of_steps = 6, .seed = 9}) == want);
}

TEST_CASE("moving averages are saved and resumed, under TensorFlow's names") {
  const auto averaged = [](const std::string& folder, std::int64_t steps) {
    trainer m;
    m.initialize(3);
    input_pipeline batches(source, endless(), decode, {features}, {});
    learning::exponential_moving_average average(m, 0.9);
    auto op = learning::create_train_op(m, momentum{0.1, 0.9});
    op.maintain(average);
    learning::train(op, batches, folder, {.number_of_steps = steps});
    const auto values = average.average("net/a/weights");
    return std::vector<float>(values.begin(), values.end());
  };
  temporary_folder whole, parts;
  const auto want = averaged(whole.path(), 6);
  averaged(parts.path(), 2);
  CHECK(averaged(parts.path(), 6) == want);
  CHECK(checkpoint_reader(whole.path()).read<float>("net/a/weights/ExponentialMovingAverage") ==
        want);
}

TEST_CASE("without a log directory nothing is written") {
  temporary_folder tmp, with;
  const std::filesystem::path back = std::filesystem::current_path();
  std::filesystem::current_path(tmp.path());
  int begun = 0;
  const auto got = run("", momentum{}, {.number_of_steps = 3, .init_fn = [&] { ++begun; }});
  std::filesystem::current_path(back);
  CHECK(tmp.empty());
  CHECK(begun == 1);
  CHECK(got == run(with.path(), momentum{}, {.number_of_steps = 3}));
  CHECK_THROWS_WITH(run("", momentum{}, {.number_of_steps = 1, .trace_every_n_steps = 1}),
                    Contains("trace_every_n_steps needs a log directory"));
}

TEST_CASE("a step of the caller's own, and traces of some") {
  temporary_folder tmp;
  trainer m;
  m.initialize(3);
  input_pipeline batches(source, endless(), decode, {features}, {});
  auto op = learning::create_train_op(m, momentum{});
  int calls = 0;
  const float loss = learning::train(
      op, batches, tmp.path(), {.trace_every_n_steps = 4}, [&](auto& train_op, auto& batch) {
        auto [x, y] = batch.inputs();
        train_op(x, y);
        return learning::step_result<float>{static_cast<float>(++calls), calls == 6};
      });
  CHECK(loss == 6);
  CHECK(saved_step(tmp.path()) == 6);
  for (int step = 1; step <= 6; ++step)
    CHECK(std::filesystem::exists(tmp / ("tf_trace-" + std::to_string(step) + ".json")) ==
          (step == 1 || step == 5));
}

TEST_CASE("the first signal is remembered, the second is as before, and so is all behind the run") {
  static int before = 0;
  before = 0;
  const auto old = std::signal(SIGINT, [](int) { ++before; });
  {
    const learning::stop_signal stop;
    CHECK(!stop.wanted());
    std::raise(SIGINT);
    CHECK(stop.wanted());
    CHECK(before == 0);
    std::raise(SIGINT);
    CHECK(before == 1);
  }
  const learning::stop_signal again;
  CHECK(!again.wanted());
  CHECK(std::signal(SIGINT, old) != SIG_DFL);
}

TEST_CASE("a run that does not fit the checkpoint says what is missing") {
  temporary_folder tmp;
  run(tmp.path(), momentum{}, {.number_of_steps = 2});
  CHECK_THROWS_WITH(run(tmp.path(), adam{}, {.number_of_steps = 3}),
                    Contains("net/a/weights/Adam") && Contains(tmp / "model.ckpt-2"));
}
