// Models whose kernels run elsewhere: an accelerator that is memory of its own on this machine,
// where the CPU's kernels run. Whatever is read on the wrong side is not there.
#include <catch2/catch.hpp>

#include <cstring>
#include <vector>

#include <slim/slim.hpp>

using namespace slim;

namespace {

int uploads = 0, downloads = 0, pinned = 0;
std::size_t variable_bytes = 0;
bool room_for_slots = true;

class memory_apart : public accelerator {
 public:
  std::byte* allocate(std::size_t bytes, std::string_view what) override {
    if (what == "variables") variable_bytes = bytes;
    if (what == "an optimizer's slots" && !room_for_slots) throw error("no device memory");
    return static_cast<std::byte*>(std::memset(::operator new(bytes, line), 0, bytes));
  }
  void release(std::byte* memory) noexcept override { ::operator delete(memory, line); }
  void pin(std::byte*, std::size_t) override { ++pinned; }
  void unpin(std::byte*) noexcept override { --pinned; }
  void upload(std::byte* to, const void* from, std::size_t bytes) override {
    ++uploads;
    std::memcpy(to, from, bytes);
  }
  void download(void* to, const std::byte* from, std::size_t bytes) override {
    ++downloads;
    std::memcpy(to, from, bytes);
  }
  void feed(int, std::byte* to, element, const void* from, long elements, bool) override {
    std::memcpy(to, from, static_cast<std::size_t>(elements) * 4);
  }
  void hand_over(float* to, const std::byte* from, element type, long elements) override {
    REQUIRE(type == element::scalar);
    std::memcpy(to, from, static_cast<std::size_t>(elements) * sizeof *to);
  }
  void run(const program& p, const execution& e, int first, int last,
           const update_call* then) override {
    run_steps(p, e, first, last);
    if (then == nullptr) return;
    REQUIRE(then->step.kind == optimizer_step::formula::momentum);
    for (const element_range& r : then->memory.ranges)
      for (long i = r.first; i < r.last; ++i) {
        float& a = then->memory.slots[0][i];
        a = a * then->step.numbers[1] + then->memory.gradients[i];
        then->memory.variables[i] -= a * then->step.numbers[0];
      }
  }
  void run_step(const program& p, const execution& e, int step) override {
    run_steps(p, e, step, step + 1);
  }
  void wait() override {}
  void keep_plans(const std::string&) override {}
  std::string plans() const override { return "none"; }
  std::unique_ptr<accelerator> another() const override { return std::make_unique<memory_apart>(); }

 private:
  static constexpr std::align_val_t line{64};
};

/// The CPU's kernels over there; with `Narrow`, shapes alone.
template <bool Narrow>
struct elsewhere {
  static constexpr graph_counts needs{};
  static constexpr bool is_setting = true;
  using as_backend = elsewhere;
  static constexpr backend_traits traits{
      .narrow = Narrow, .prepares_training = Narrow, .apart = true};
  static std::unique_ptr<accelerator> make_accelerator(long) {
    return std::make_unique<memory_apart>();
  }
};

}  // namespace

namespace slim {

template <class Op, class T>
struct kernel_of<Op, T, elsewhere<false>> : kernel_of<Op, T, backend::cpu> {};
template <class Op, class T>
struct kernel_of<Op, T, elsewhere<true>> {
  static constexpr kernel_choice choose(const graph&, const node_row&) { return {"none"}; }
};

}  // namespace slim

namespace {

struct small_net : arg_scope<on<ops::conv2d>, with<normalizer_fn{ops::batch_norm{}}>,
                             net<"small", conv2d<8, kernel_size{3}, scope{"conv1"}>,
                                 max_pool2d<kernel_size{2}, scope{"pool1"}>, flatten<>,
                                 fully_connected<4, activation_fn{none}, scope{"logits"}>>> {};

template <class... More>
using small_model =
    model<small_net, input<6, 8, 8, 3>, labels<6>, sparse_softmax_cross_entropy<>, More...>;
using there_model = small_model<elsewhere<false>>;

/// An optimizer that no accelerator has: it works on copies.
struct plain_descent {
  template <class T>
  void update(runner<T>& r) const {
    detail::update_each<T, 0>(r, {}, [](auto w, auto g) { w -= T(0.1) * g; });
  }
};
static_assert(!is_accelerated<plain_descent>);

const std::vector<float> images = [] {
  random_stream r(1);
  std::vector<float> x(6 * 8 * 8 * 3);
  for (float& v : x) v = static_cast<float>(r.normal());
  return x;
}();
const std::vector<int> wanted{0, 1, 2, 3, 0, 1};

template <class A, class B>
bool equal(const A& a, const B& b) {
  return std::equal(a.begin(), a.end(), b.begin());
}

}  // namespace

TEST_CASE("a model elsewhere computes what it does here") {
  small_model<> here;
  there_model there;
  here.initialize(1), there.initialize(1);
  CHECK(equal(there.forward(images), here.forward(images)));
  for (int step = 0; step < 3; ++step) {
    CHECK(there.backward(images, wanted) == here.backward(images, wanted));
    for (int v = 0; v < there_model::variable_count; ++v)
      if (here.trainable(v)) CHECK(equal(there.gradient(v), here.gradient(v)));
    here.update(plain_descent{});
    there.update(plain_descent{});
  }
  for (int v = 0; v < there_model::variable_count; ++v) {
    const auto a = std::as_const(there).variable(v), b = std::as_const(here).variable(v);
    for (long i = 0; i < a.dims.count(); ++i) CHECK(a[i] == Approx(b[i]).margin(1e-6));
  }
  std::vector<float> output(6 * 4);
  there.forward_into(output, images);
  const auto again = there.forward(images);
  CHECK(equal(output, again));
}

TEST_CASE("whole steps elsewhere") {
  small_model<> here;
  there_model there;
  here.initialize(2), there.initialize(2);
  for (int step = 0; step < 4; ++step) {
    here.launch_step(momentum{0.05, 0.9}, images, wanted);
    there.launch_step(momentum{0.05, 0.9}, images, wanted);
  }
  here.wait(), there.wait();
  CHECK(there.total_loss() == Approx(here.total_loss()));
  CHECK(there.global_step() == 4);
  const auto w = std::as_const(there).variable<"small/conv1/weights">();
  const auto b = std::as_const(here).variable<"small/conv1/weights">();
  for (long i = 0; i < w.dims.count(); ++i) CHECK(w[i] == Approx(b[i]).margin(1e-6));
}

TEST_CASE("memory is copied when the other side is asked for, and only then") {
  there_model m;
  m.initialize(1);
  m.forward(images);
  uploads = downloads = 0;
  m.forward(images);
  CHECK(uploads == 0);
  CHECK(downloads == 1);  // the output
  m.launch_step(momentum{}, images, wanted);
  m.launch_step(momentum{}, images, wanted);
  CHECK(uploads == 0);
  CHECK(downloads == 1);
  std::as_const(m).variable(0);
  std::as_const(m).variable(1);
  CHECK(downloads == 2);  // all variables at once
  std::as_const(m.shared_runner()).slot(0, 0);
  m.launch_step(momentum{}, images, wanted);
  CHECK(uploads == 0);  // what was only read is as it was
  m.variable(0)[0] = 5;
  m.forward(images);
  CHECK(uploads == 1);
  CHECK(std::as_const(m).variable(0)[0] == 5);
}

TEST_CASE("a step's losses are its own, whatever runs before they are read") {
  there_model m, other;
  m.initialize(1), other.initialize(1);
  const float loss = other.backward(images, wanted);
  m.launch_step(momentum{0.1, 0.9}, images, wanted);
  m.forward(std::span(images).first(2 * 8 * 8 * 3));
  m.wait();
  CHECK(m.total_loss() == loss);
}

TEST_CASE("a step that could not be launched leaves the model as it was") {
  there_model m, other;
  m.initialize(1), other.initialize(1);
  room_for_slots = false;
  CHECK_THROWS_WITH(m.launch_step(momentum{0.1, 0.9}, images, wanted), "no device memory");
  room_for_slots = true;
  for (there_model* each : {&m, &other}) {
    each->backward(images, wanted);
    each->update(momentum{0.1, 0.9});
  }
  CHECK(equal(std::as_const(m).variable(0), std::as_const(other).variable(0)));
}

TEST_CASE("sessions of a model elsewhere") {
  there_model m;
  m.initialize(1);
  const auto first = m.forward(images);
  const std::vector<float> expected(first.begin(), first.end());
  session a(m), b(m);
  CHECK(equal(a.forward(images), expected));
  CHECK(equal(b.forward(images), expected));
  m.variable(0)[0] += 1;
  CHECK_THROWS_AS(a.forward(images), stale_error);
}

TEST_CASE("what is in a device's memory is refused on the CPU") {
  small_model<> here;
  here.initialize(1);
  const device_view<float> x{images.data(), shape{6, 8, 8, 3}};
  CHECK_THROWS_WITH(here.forward(x), Catch::Contains("device's memory"));
}

TEST_CASE("activations are bfloat16 where a backend says so, and nothing else is") {
  using narrow = small_model<elsewhere<true>>;
  constexpr program p = narrow::training_program();
  int halves = 0;
  for (const tensor_row& t : p.tensors) {
    if (t.place.where == storage::variable || t.place.where == storage::gradient)
      CHECK(t.type == element::scalar);
    if (t.type != element::bfloat16) continue;
    ++halves;
    CHECK(t.dims.rank > 1);
    CHECK((t.batched || t.place.where == storage::prepared));
  }
  CHECK(halves > 8);
  CHECK(p.tensors[p.total_loss].type == element::scalar);
  CHECK(p.tensors[p.inputs[0].value].type == element::bfloat16);
  CHECK(p.tensors[p.inputs[1].value].type == element::int32);
  CHECK(narrow::training_bytes() < there_model::training_bytes());
}

TEST_CASE("outputs and variables in the accelerator's memory") {
  there_model m;
  m.initialize(1);
  const auto wanted_output = m.forward(images);
  const std::vector<float> expected(wanted_output.begin(), wanted_output.end());
  std::vector<float> memory(6 * 4);
  m.forward_into(device_span<float>{memory.data(), shape{6, 4}}, images);
  CHECK(memory == expected);
  session s(m);
  std::fill(memory.begin(), memory.end(), 0.0f);
  s.forward_into(device_span<float>{memory.data(), shape{6, 4}}, images);
  CHECK(memory == expected);
  CHECK_THROWS_AS(m.forward_into(device_span<float>{memory.data(), shape{5, 4}}, images),
                  input_error);

  const device_view<float> w = m.device_variable(0);
  CHECK(w.data != std::as_const(m).variable(0).data);
  CHECK(w.dims == std::as_const(m).variable(0).dims);
  CHECK(w.data[3] == std::as_const(m).variable(0)[3]);
  m.backward(images, wanted);
  CHECK(m.device_gradient(0).data[3] == m.gradient(0)[3]);

  small_model<> here;
  here.initialize(1);
  CHECK_THROWS_WITH(here.device_variable(0), Catch::Contains("the model runs on the CPU"));
  CHECK_THROWS_WITH(here.forward_into(device_span<float>{memory.data(), shape{6, 4}}, images),
                    Catch::Contains("the model runs on the CPU"));
}

namespace {

/// Two inputs that layers read, one of them through a view; a loss of elements, and of rows.
struct two_inputs
    : net<"two", conv2d<8, kernel_size{3}, scope{"conv1"}>, flatten<>,
          fully_connected<4, scope{"fc1"}>,
          sum<identity, sequence<from<"second">, flatten<>, fully_connected<4, scope{"fc2"}>>>> {};
using two_model = model<two_inputs, input<6, 8, 8, 3>, named_input<"second", float, 6, 5, 2>,
                        named_input<"labels", float, 6, 4>, mean_squared_error<>, elsewhere<true>>;

}  // namespace

TEST_CASE("what layers read is bfloat16, and what goes from loss to loss is not") {
  constexpr program p = two_model::training_program();
  CHECK(p.tensors[p.inputs[0].value].type == element::bfloat16);
  CHECK(p.tensors[p.inputs[1].value].type == element::bfloat16);
  CHECK(p.tensors[p.inputs[2].value].type == element::scalar);
  int found = 0;
  for (const step_row& s : p.steps) {
    const element type = p.tensors[p.edges[s.first_output]].type;
    const bool loss = s.op == "mean_squared_error" || s.op == "weighted_mean_backward";
    const bool gradient = s.op == "elementwise_loss_backward";
    INFO(s.op);
    if (loss) CHECK(type == element::scalar);
    if (gradient) CHECK(type == element::bfloat16);
    found += loss + gradient;
  }
  CHECK(found == 3);
}

namespace {

/// Two variables that were placed on the CPU, one of them not read but by its regularizer, and
/// before one that was not.
struct placed_net
    : net<"placed", variable<"table", shape{6, 5}, on_device{"/cpu:0"}>,
          variable<"other", shape{3}, initializer{ones{}}, regularizer{l2_regularizer{0.5}},
                   on_device{"/job:worker/device:CPU:0"}>,
          flatten<>, fully_connected<5, activation_fn{slim::tanh}, scope{"fc1"}>,
          sum<identity, from<"placed/table">>,
          fully_connected<4, activation_fn{none}, scope{"fc2"}>> {};
template <class... More>
using placed_model =
    model<placed_net, input<6, 8, 8, 3>, labels<6>, sparse_softmax_cross_entropy<>, More...>;
using placed_there = placed_model<elsewhere<false>>;

template <class A, class B>
void check_variables(const A& a, const B& b) {
  for (int v = 0; v < A::variable_count; ++v) {
    INFO(a.variable_name(v));
    const auto x = a.variable(v);
    const auto y = b.variable(v);
    for (long i = 0; i < x.dims.count(); ++i) CHECK(x[i] == Approx(y[i]).margin(1e-6));
  }
}

template <class Optimizer>
void train_placed(const Optimizer& optimizer) {
  placed_model<> here;
  placed_there there;
  here.initialize(3), there.initialize(3);
  for (int step = 0; step < 3; ++step) {
    here.backward(images, wanted), here.update(optimizer);
    there.backward(images, wanted), there.update(optimizer);
    CHECK(there.total_loss() == Approx(here.total_loss()));
  }
  check_variables(there, here);
}

int steps_named(const program& p, std::string_view op) {
  int count = 0;
  for (const step_row& s : p.steps) count += s.op == op;
  return count;
}

}  // namespace

TEST_CASE("variables that were placed on the CPU stay in host memory") {
  static_assert(names_cpu("/cpu:0") && names_cpu("/device:CPU:1") && names_cpu("cpu:0"));
  static_assert(!names_cpu("/gpu:0") && !names_cpu("/job:cpu/device:GPU:0") && !names_cpu(""));
  // Forward and backward bring what they read; on the CPU there is nothing to bring.
  constexpr program training = placed_there::training_program();
  static_assert(training.variable_elements - training.kernel_elements == 32 + 16);
  CHECK(steps_named(training, "bring") == 3);  // the table is not read backward
  CHECK(steps_named(placed_there::inference_program(), "bring") == 1);
  CHECK(steps_named(placed_model<>::training_program(), "bring") == 0);

  placed_model<> here;
  placed_there there;
  CHECK(pinned == 1);
  CHECK(variable_bytes == std::size_t(training.kernel_elements) * sizeof(float));
  here.initialize(2), there.initialize(2);
  const auto first = there.forward(images);
  const auto expected = here.forward(images);
  for (long i = 0; i < first.dims.count(); ++i) CHECK(first[i] == Approx(expected[i]).margin(1e-6));

  uploads = downloads = 0;
  there.variable<"placed/table">()[7] = 2;
  here.variable<"placed/table">()[7] = 2;
  const float changed = there.forward(images)[4];
  CHECK(uploads == 0);
  CHECK(changed == Approx(here.forward(images)[4]).margin(1e-6));
  CHECK(std::as_const(there).variable<"placed/table">()[7] == 2);
  CHECK(downloads == 1);  // the output
  CHECK_THROWS_WITH(there.device_variable(0),
                    Catch::Contains("placed/table") && Catch::Contains("it was placed on the CPU"));
}

TEST_CASE("variables in host memory are trained as all others") {
  train_placed(momentum{0.05, 0.9});
  train_placed(plain_descent{});
  for (const bool update_some : {false, true}) {
    placed_model<> here;
    placed_there there;
    here.initialize(4), there.initialize(4);
    uploads = 0;
    for (int step = 0; step < 4; ++step) {
      if (update_some) {
        const std::vector<int> some{0, 2};
        here.backward(images, wanted), there.backward(images, wanted);
        here.update(momentum{0.05, 0.9}, here.shared_runner().ranges_of(some));
        there.update(momentum{0.05, 0.9}, there.shared_runner().ranges_of(some));
      } else {
        here.launch_step(momentum{0.05, 0.9}, images, wanted);
        there.launch_step(momentum{0.05, 0.9}, images, wanted);
      }
    }
    here.wait(), there.wait();
    CHECK(there.shared_runner().updates() == 4);
    CHECK(uploads <= 2);  // variables and slots, once
    check_variables(there, here);
  }
}
