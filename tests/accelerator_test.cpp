// Models whose kernels run elsewhere: an accelerator that is memory of its own on this machine,
// where the CPU's kernels run. Whatever is read on the wrong side is not there.
#include <catch2/catch.hpp>

#include <cstring>
#include <vector>

#include <slim/slim.hpp>

using namespace slim;

namespace {

int uploads = 0, downloads = 0;

class memory_apart : public accelerator {
 public:
  std::byte* allocate(std::size_t bytes, std::string_view) override {
    return static_cast<std::byte*>(std::memset(::operator new(bytes, line), 0, bytes));
  }
  void release(std::byte* memory) noexcept override { ::operator delete(memory, line); }
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
  static constexpr backend_traits traits{.narrow = Narrow, .prepares_training = Narrow};
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
  m.variable(0)[0] = 5;
  m.forward(images);
  CHECK(uploads == 1);
  CHECK(std::as_const(m).variable(0)[0] == 5);
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
