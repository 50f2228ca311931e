// What a training run saves: beside the real TensorFlow's checkpoints with slots, where the disk or
// the folder refuses, and what stays of older ones. And variables in and out by other ways.

#include <catch2/catch.hpp>

#include <csignal>

#include <sys/resource.h>

#include <slim/checkpoint/saver.hpp>
#include <slim/model.hpp>
#include <slim/safetensors.hpp>
#include <slim/safetensors_writer.hpp>

#include "files.hpp"
#include "golden.hpp"

namespace {

using namespace slim;
using namespace slim_test;
using Catch::Contains;

const std::string folder = SLIM_TEST_DATA_DIR "/checkpoints/";

struct one_layer
    : net<"net", fully_connected<8, biases_initializer{none}, activation_fn{none}, scope{"fc"}>> {};
using model_t =
    model<one_layer, input<1, 5>, labels<1>, sparse_softmax_cross_entropy<>, backend::eigen>;
constexpr int elements = 5 * 8;
const std::vector<std::string> optimizers{"momentum", "adam", "rmsprop"};

/// Calls f with the optimizer of that name, as tests/oracle/make_checkpoints.py has it.
template <class F>
void with_optimizer(const std::string& name, F f) {
  if (name == "momentum") return f(momentum{0.1, 0.9});
  if (name == "adam") return f(adam{0.01});
  f(rmsprop{.learning_rate = 0.01, .momentum = 0.5});
}

/// Updates by the gradients of steps [first, last).
template <class Optimizer>
void update(model_t& m, const Optimizer& optimizer, int first, int last) {
  for (int k = first; k < last; ++k) {
    const auto g = uniform("slots/g" + std::to_string(k), elements);
    std::copy(g.begin(), g.end(), m.gradient(0).begin());
    m.update(optimizer);
  }
}
void start(model_t& m) {
  const auto w = uniform("slots/w", elements);
  std::copy(w.begin(), w.end(), m.variable(0).begin());
  m.set_global_step(100);
}

/// Every tensor of a checkpoint of TensorFlow's is in ours, in its shape and type and near.
void check_holds(const std::string& prefix, const std::string& wanted) {
  const checkpoint_reader ours(prefix), theirs(wanted);
  for (const tensor_info& t : theirs.tensors()) {
    INFO(t.name);
    REQUIRE(ours.find(t.name) != nullptr);
    CHECK(ours.at(t.name).dims == t.dims);
    CHECK(ours.at(t.name).type == t.type);
    if (t.type != tensor_type::float32) {
      CHECK(ours.read<std::int64_t>(t.name) == theirs.read<std::int64_t>(t.name));
      continue;
    }
    const auto a = ours.read<float>(t.name), b = theirs.read<float>(t.name);
    for (std::size_t i = 0; i < a.size(); ++i)
      CHECK(a[i] == Approx(b[i]).epsilon(1e-6).margin(1e-7));
  }
}

/// A folder with a checkpoint of step 0, and a model.
struct saving {
  temporary_folder tmp;
  cpu_device device{1};
  model_t m{device};
  saver keep;
  std::string prefix = tmp / "model.ckpt";

  saving() {
    start(m);
    save_at(0);
  }
  void save_at(std::int64_t step) {
    m.set_global_step(step);
    keep.save(m, momentum{}, prefix);
  }
  std::optional<std::string> latest() const { return latest_checkpoint(tmp.path()); }
  int files() const {
    const std::filesystem::directory_iterator all(tmp.path());
    return static_cast<int>(std::distance(begin(all), end(all)));
  }
};

/// While it lives this process may not write files beyond so many bytes.
class small_disk {
 public:
  explicit small_disk(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &limit_);
    const rlimit less{bytes, limit_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &less);
  }
  ~small_disk() {
    setrlimit(RLIMIT_FSIZE, &limit_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit limit_{};
};

}  // namespace

// ---- Beside TensorFlow --------------------------------------------------------------------------

TEST_CASE("a run goes on from a checkpoint of TensorFlow's as TensorFlow does") {
  const std::string name = GENERATE(from_range(optimizers));
  INFO(name);
  with_optimizer(name, [&](const auto& optimizer) {
    temporary_folder tmp;
    model_t m;
    restore_training(m, optimizer, folder + "slots_" + name + "-103");
    CHECK(m.global_step() == 103);
    CHECK(m.shared_runner().updates() ==
          (name == "adam" ? 3 : 103));  // where it matters, it is told
    update(m, optimizer, 3, 6);
    save_training(m, optimizer, tmp / "ours");
    check_holds(tmp / "ours", folder + "slots_" + name + "-106");
  });
}

TEST_CASE("what is saved is all that TensorFlow saves, and its values") {
  const std::string name = GENERATE(from_range(optimizers));
  INFO(name);
  with_optimizer(name, [&](const auto& optimizer) {
    temporary_folder tmp;
    model_t m;
    start(m);
    update(m, optimizer, 0, 3);
    save_training(m, optimizer, tmp / "ours");
    check_holds(tmp / "ours", folder + "slots_" + name + "-103");
  });
}

TEST_CASE("Adam's powers tell the number of updates as long as they are numbers") {
  temporary_folder tmp;
  const adam optimizer;
  const long updates = GENERATE(0L, 1L, 10L, 600L, 820L, 5000L, 60'000L);
  checkpoint_writer w(tmp / "powers");
  for (const optimizer_scalar& s : optimizer.saved_scalars(updates))
    w.add<float>(std::string(s.name), {}, std::span(&s.value, 1));
  w.finish();
  CHECK(slim::detail::updates_of(optimizer, checkpoint_reader(tmp / "powers"), -1) == updates);
  CHECK(slim::detail::updates_of(momentum{}, checkpoint_reader(tmp / "powers"), -1) == -1);
}

// ---- What goes wrong ----------------------------------------------------------------------------

TEST_CASE_METHOD(saving, "a disk that is full is said, and nothing is lost") {
  m.set_global_step(1);
  const std::vector<float> before(m.variable(0).begin(), m.variable(0).end());
  {
    const small_disk disk(64);
    CHECK_THAT(fault([&] { keep.save(m, momentum{}, prefix); }),
               Contains(prefix + "-1.") && Contains("cannot be written"));
    CHECK_THAT(fault([&] { save_safetensors(m, tmp / "w.safetensors"); }),
               Contains("w.safetensors: cannot be written"));
  }
  CHECK(files() == 3);
  CHECK(latest() == prefix + "-0");
  CHECK(std::equal(before.begin(), before.end(), m.variable(0).begin()));
  restore_training(m, momentum{}, tmp.path());
  save_at(1);  // there is room again
  CHECK(latest() == prefix + "-1");
}

TEST_CASE_METHOD(saving, "a folder that cannot be written is said, and nothing is lost") {
  const uid_t user = geteuid();
  if (user == 0) REQUIRE(seteuid(65534) == 0);  // root may write everywhere
  std::string message;
  try {
    if (user != 0)
      std::filesystem::permissions(
          tmp.path(), std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
    message = fault([&] { save_at(1); });
  } catch (...) {
  }
  if (user == 0) REQUIRE(seteuid(user) == 0);
  std::filesystem::permissions(tmp.path(), std::filesystem::perms::owner_all);
  CHECK_THAT(message, Contains(prefix) && Contains("ermission denied"));
  CHECK(files() == 3);
  CHECK(latest() == prefix + "-0");
}

TEST_CASE_METHOD(saving, "what cannot be restored leaves variables, step and slots") {
  update(m, momentum{}, 0, 1);
  const float slot = m.shared_runner().slot(0, 0)[7], weight = m.variable(0)[7];
  CHECK_THAT(fault([&] { restore_training(m, adam{}, tmp.path()); }),
             Contains("net/fc/weights/Adam: is not there"));
  CHECK(m.shared_runner().slot(0, 0)[7] == slot);
  CHECK(m.variable(0)[7] == weight);
  CHECK(m.global_step() == 1);
  CHECK(m.shared_runner().updates() == 1);
}

TEST_CASE_METHOD(saving, "while a checkpoint is replaced the one before is named") {
  save_at(1);
  std::filesystem::remove(prefix + "-1.index");
  std::filesystem::create_directories(prefix + "-1.index/full");  // so that replacing it fails
  CHECK_THROWS_AS(save_at(1), checkpoint_error);
  CHECK(latest() == prefix + "-0");
  restore_training(m, momentum{}, tmp.path());
}

// ---- What stays ---------------------------------------------------------------------------------

TEST_CASE_METHOD(saving, "what is saved in the background is the model as it was") {
  const std::vector<float> before(m.variable(0).begin(), m.variable(0).end());
  m.set_global_step(7);
  CHECK(keep.save_in_background(m, momentum{}, prefix) == prefix + "-7");
  for (float& w : m.variable(0)) w = -1;
  m.set_global_step(8);
  CHECK(keep.save_in_background(m, momentum{}, prefix) == prefix + "-8");  // waits for the first
  CHECK(keep.finished() == prefix + "-7");
  keep.wait();
  CHECK(keep.finished() == prefix + "-8");
  CHECK(keep.finished() == std::nullopt);
  CHECK(latest() == prefix + "-8");
  const checkpoint_reader first(prefix + "-7"), second(prefix + "-8");
  CHECK(first.read<float>("net/fc/weights") == before);
  CHECK(first.read<std::int64_t>("global_step").at(0) == 7);
  CHECK(second.read<float>("net/fc/weights").at(3) == -1);
}

TEST_CASE_METHOD(saving, "a background save that fails is said by what asks next, and once") {
  m.set_global_step(7);
  {
    const small_disk full(64);
    keep.save_in_background(m, momentum{}, prefix);
    CHECK_THROWS_AS(keep.wait(), checkpoint_error);
  }
  keep.wait();
  CHECK(latest() == prefix + "-0");
  save_at(9);
  CHECK(latest() == prefix + "-9");
}

TEST_CASE("one checkpoint of each interval stays for good") {
  temporary_folder tmp;
  const std::string prefix = tmp / "model.ckpt";
  model_t m;
  saver hourly({.max_to_keep = 1, .keep_checkpoint_every_n_hours = 1});
  const auto save_old = [&](std::int64_t step, double hours_ago) {
    m.set_global_step(step);
    hourly.save(m, momentum{}, prefix);
    checkpoint_state state = *get_checkpoint_state(tmp.path());
    state.all_model_checkpoint_timestamps.back() -= hours_ago * 3600;
    update_checkpoint_state(tmp.path(), state);
  };
  save_old(1, 5), save_old(2, 4.5), save_old(3, 3.75), save_old(4, 3), save_old(5, 2.5);
  std::vector<int> left;
  for (int step = 0; step <= 5; ++step)
    if (std::filesystem::exists(prefix + "-" + std::to_string(step) + ".index"))
      left.push_back(step);
  CHECK(left == std::vector<int>{3, 5});  // 3 is the first an hour behind 1
  CHECK(latest_checkpoint(tmp.path()) == prefix + "-5");
}

TEST_CASE_METHOD(saving, "a checkpoint that is saved again is listed once, whatever its path") {
  const std::filesystem::path back = std::filesystem::current_path();
  std::filesystem::current_path(tmp.path());
  saver here({.max_to_keep = 2});
  for (const int step : {1, 1, 2, 2, 3, 3}) {
    m.set_global_step(step);
    here.save(m, momentum{}, "model.ckpt");
  }
  std::filesystem::current_path(back);
  const auto state = get_checkpoint_state(tmp.path());
  CHECK(state->all_model_checkpoint_paths.size() == 2);
  CHECK(files() == 5);
}

// ---- Other ways ---------------------------------------------------------------------------------

TEST_CASE("variables are assigned by name, all or none") {
  model_t m;
  m.initialize(1);
  const auto w = uniform("slots/w", elements);
  const std::map<std::string, std::vector<float>> good{{"net/fc/weights", {w.begin(), w.end()}}};
  auto bad = good;
  bad["net/fc/biases"] = {1};
  const float before = m.variable(0)[0];
  CHECK_THROWS_WITH(assign_from_values(m, bad), Contains("no variable named net/fc/biases"));
  CHECK_THROWS_WITH(assign_from_values(m, {{"net/fc/weights", {1, 2}}}),
                    Contains("net/fc/weights has 40 elements, not 2"));
  CHECK(m.variable(0)[0] == before);
  assign_from_values_fn<model_t>(good)(m);
  CHECK(std::equal(m.variable(0).begin(), m.variable(0).end(), good.begin()->second.begin()));
}

TEST_CASE("safetensors are written as the format's own library writes them, byte for byte") {
  temporary_folder tmp;
  const auto doubles = uniform("net/weights", 60), more = uniform("net/biases", 5);
  const std::vector<float> weights(doubles.begin(), doubles.end()),
      biases(more.begin(), more.end());
  const std::vector<float> none;
  const std::vector<double> scalar{2.5};
  const std::vector<std::int64_t> ints{INT64_MIN, 300};
  const std::vector<std::uint16_t> half{0x3E00, 0xB400};
  const std::vector<std::uint8_t> flags{1, 0, 1};
  const auto bytes = [](const auto& v) { return std::as_bytes(std::span(v)); };
  write_safetensors(tmp / "all.safetensors",
                    {{"net/weights", {{3, 4, 5}, std::span(weights)}},
                     {"net/biases", {{5}, std::span(biases)}},
                     {"half", {tensor_type::float16, {2}, bytes(half)}},
                     {"scalar", {{}, std::span(scalar)}},
                     {"ints", {{2}, std::span(ints)}},
                     {"flags", {tensor_type::boolean, {3}, bytes(flags)}},
                     {"empty", {{0, 3}, std::span(none)}}},
                    {{"made by", "the real \"safetensors\""}});
  CHECK(read_file(tmp / "all.safetensors") == read_file(folder + "all.safetensors"));
  CHECK_THAT(fault([&] {
               write_safetensors(tmp / "x", {{"w", {{3}, std::span(biases)}}});
             }),
             Contains("x: w: 20 bytes are no float32 of shape [3]"));
  CHECK_THAT(fault([&] {
               write_safetensors(tmp / "x", {{"\xff", {{5}, std::span(biases)}}});
             }),
             Contains("no UTF-8"));
  CHECK(!std::filesystem::exists(tmp / "x"));
}

TEST_CASE("a model goes to safetensors and back") {
  temporary_folder tmp;
  model_t m, other;
  m.initialize(5);
  save_safetensors(m, tmp / "model.safetensors");
  restore(other, safetensors_reader(tmp / "model.safetensors"));
  CHECK(std::equal(m.variable(0).begin(), m.variable(0).end(), other.variable(0).begin()));
}
