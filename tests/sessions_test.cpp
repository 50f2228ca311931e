// Models that serve: sessions of many threads over one model's variables, and frozen models, which
// keep only what inference reads.

#include <catch2/catch.hpp>

#include <thread>

#include <slim/profile.hpp>
#include <slim/variables.hpp>

#include "small_net.hpp"

using namespace slim_test;

namespace {

/// Batch norm folds into the convolutions, whose own weights are then read no more. The first one's
/// are large enough to have pages of their own.
struct served_net : arg_scope<on<ops::conv2d>, with<normalizer_fn{ops::batch_norm{}}>,
                              net<"folded", conv2d<256, kernel_size{3}, scope{"conv1"}>,
                                  conv2d<8, kernel_size{1}, scope{"conv2"}>, flatten<>,
                                  fully_connected<classes, activation_fn{none}, scope{"fc"}>>> {};
constexpr int pixels = 6 * 6 * 256;
using served = model<served_net, input<batch, 6, 6, 256>, labels<batch>,
                     sparse_softmax_cross_entropy<>, fetch<"folded/conv2">>;

std::vector<float> some_images(int n, const char* name = "sessions/images") {
  const auto u = slim_test::uniform(name, static_cast<std::size_t>(n * pixels));
  return {u.begin(), u.end()};
}

/// Statistics as training leaves them, so that folding has something to fold.
void train_a_little(served& m) {
  m.initialize(1);
  for (int step = 0; step < 3; ++step) {
    m.backward(some_images(batch), some_labels(batch));
    m.update(momentum{0.01});
  }
}

template <class Error, class F>
std::string complaint(F call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

// ---- Sessions ---------------------------------------------------------------------------------

TEST_CASE("sessions on many threads give the model's bits") {
  cpu_device device(2);
  served m(device);
  train_a_little(m);
  constexpr int threads = 4, rounds = 5;
  std::vector<std::vector<float>> inputs, outputs(threads), expected, conv(threads), expected_conv;
  for (int t = 0; t < threads; ++t) {
    inputs.push_back(some_images(1 + t, ("sessions/" + std::to_string(t)).c_str()));
    expected.push_back(copied(m.forward(inputs.back())));
    expected_conv.push_back(copied(m.fetched<"folded/conv2">()));
  }
  m.variable<"folded/fc/biases">();  // the values stay, but must be prepared anew: by the sessions

  std::atomic<bool> same{true};
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t)
    all.emplace_back([&, t] {
      const auto i = static_cast<std::size_t>(t);
      session s(m);  // made at once, on every thread
      for (int round = 0; round < rounds; ++round) {
        outputs[i] = copied(s.forward(inputs[i]));
        same = same && same_bits(outputs[i], expected[i]);
      }
      conv[i] = copied(s.fetched<"folded/conv2">());
      std::vector<float> placed(outputs[i].size());
      s.forward_into(placed, inputs[i]);
      same = same && same_bits(placed, expected[i]);
    });
  for (std::thread& t : all) t.join();
  CHECK(same);
  for (std::size_t i = 0; i < threads; ++i) CHECK(same_bits(conv[i], expected_conv[i]));
}

TEST_CASE("a session has a device of its own or the caller's, and can be kept in a container") {
  cpu_device device(2), other(3);
  served m(device);
  train_a_little(m);
  const auto x = some_images(2);
  const auto expected = copied(m.forward(x));
  std::vector<session<served>> sessions;
  sessions.emplace_back(m);
  sessions.emplace_back(m, other);
  CHECK(sessions[0].device().threads() == 1);
  CHECK(sessions[1].device().threads() == 3);
  for (auto& s : sessions) {
    CHECK(s.forward(x).dims == shape{2, classes});
    CHECK(same_bits(copied(s.output()), expected));
  }
  CHECK(session<served>::batch == batch);
  CHECK_THROWS_AS(sessions[0].forward(std::vector<float>(7)), input_error);
  const profiler p = profile_forward(sessions[0], 2, x);
  CHECK(p.rows().size() == static_cast<std::size_t>(served::inference_program().steps.size() -
                                                    served::inference_program().first_run));
}

TEST_CASE("a session sees that its model changed, and takes the change when told") {
  cpu_device device(1);
  served m(device);
  train_a_little(m);
  const auto x = some_images(2);
  session s(m);
  const auto before = copied(s.forward(x));
  CHECK(same_bits(copied(std::as_const(m).variable<"folded/fc/weights">()),
                  copied(std::as_const(m).variable(m.variable_count - 2))));
  CHECK_NOTHROW(s.forward(x));  // reading is no change
  m.backward(some_images(batch), some_labels(batch));
  CHECK_NOTHROW(s.forward(x));  // nor is a gradient
  m.update(momentum{0.01});
  CHECK_THAT(complaint<stale_error>([&] { s.forward(x); }), Catch::Contains("refresh()"));
  s.refresh();
  const auto after = copied(s.forward(x));
  CHECK_FALSE(same_bits(after, before));
  CHECK(same_bits(after, copied(m.forward(x))));
  m.variable(0)[0] = 2;
  CHECK_THROWS_AS(s.forward(x), stale_error);
}

// ---- Freezing ---------------------------------------------------------------------------------

TEST_CASE("a frozen model gives the same bits and has let go of what it does not read") {
  const bool prepared = GENERATE(false, true);
  cpu_device device(1);
  served m(device);
  train_a_little(m);
  const auto x = some_images(batch);
  const auto expected = copied(m.forward(x));
  if (!prepared) m.variable(0);  // freezing has to prepare
  const served& read = m;
  const tensor_view<const float> conv = read.variable<"folded/conv1/weights">();
  const tensor_view<const float> fc = read.variable<"folded/fc/biases">();
  const auto kept = copied(fc);
  REQUIRE(copied(conv)[5000] != 0);
  session s(m);
  if (!prepared) m.variable(0), s.refresh(), m.variable(0);
  m.freeze();
  m.freeze();  // once more changes nothing
  CHECK(m.is_frozen());
#ifdef __linux__
  // All pages but those it may share with its neighbours.
  constexpr long page = 65536 / 4;
  CHECK(std::count(conv.begin() + page, conv.end() - page, 0.0f) == conv.dims.count() - 2 * page);
#endif
  CHECK(same_bits(copied(m.forward(x)), expected));
  CHECK(same_bits(copied(fc), kept));
  CHECK(same_bits(copied(read.variable<"folded/fc/biases">()), kept));
  session other(m);
  CHECK(same_bits(copied(other.forward(x)), expected));
}

TEST_CASE("what a frozen model cannot do is named") {
  cpu_device device(1);
  served m(device);
  train_a_little(m);
  const auto x = some_images(batch);
  const auto y = some_labels(batch);
  m.freeze();
  const served& read = m;
  const auto said = [](auto call) { return complaint<frozen_error>(call); };
  CHECK(
      said([&] { m.variable<"folded/conv1/weights">(); }) ==
      "variable folded/conv1/weights cannot be changed, and its values were dropped: the model is "
      "frozen");
  CHECK(said([&] { m.variable<"folded/fc/biases">(); }) ==
        "variable folded/fc/biases cannot be changed: the model is frozen");
  CHECK(said([&] { read.variable<"folded/conv1/weights">(); }) ==
        "the values of variable folded/conv1/weights were dropped: the model is frozen");
  CHECK(said([&] { m.backward(x, y); }) == "backward: the model is frozen");
  CHECK(said([&] { m.update(gradient_descent{0.1}); }) == "update: the model is frozen");
  CHECK(said([&] { m.run_update_ops(); }) == "update: the model is frozen");
  CHECK(said([&] { m.gradient<"folded/fc/biases">(); }) == "gradient: the model is frozen");
  CHECK_THAT(said([&] { m.initialize(2); }), Catch::EndsWith("the model is frozen"));
  CHECK_THAT(said([&] { get_variables(m); }), Catch::EndsWith("the model is frozen"));
  CHECK_NOTHROW(m.forward(x));
}

TEST_CASE("a model too small for pages of its own can be frozen, too") {
  using plain = model<sequence<flatten<>, fully_connected<3>>, input<2, 4>>;
  cpu_device device(1);
  plain m(device);
  m.initialize(1);
  const std::vector<float> x{1, 2, 3, 4};
  const auto expected = copied(m.forward(x));
  m.freeze();
  CHECK(same_bits(copied(m.forward(x)), expected));
  CHECK(copied(std::as_const(m).variable(1)) == std::vector<float>(3));  // the biases
  static_assert(plain::frozen_bytes().bytes <= plain::frozen_bytes().peak);
}

TEST_CASE("the bytes of a frozen model are known when it is compiled") {
  constexpr frozen_memory bytes = served::frozen_bytes();
  constexpr program p = served::inference_program();
  constexpr long all = p.variable_elements * 4, prepared = p.memory.prepared_bytes;
  constexpr long conv1 = 4L * 9 * 256 * 256, conv2 = 4L * 256 * 8;
  static_assert(prepared >= conv1 + conv2);
  static_assert(bytes.bytes < p.memory.bytes + prepared + all - conv1 - conv2);
  static_assert(bytes.bytes > p.memory.bytes + conv1 + conv2);
  // The raw and the folded weights of the larger convolution are there at once.
  static_assert(bytes.peak >= p.memory.bytes + 2 * conv1);
  static_assert(bytes.peak <= p.memory.bytes + prepared + all);
}

TEST_CASE("a buffer gives back whole pages only") {
  constexpr std::size_t size = (std::size_t{4} << 20) + 100, page = 65536;
  aligned_buffer b(size);
  std::memset(b.data(), 7, size);
  b.drop(page + 1, 3 * page + 5);
  CHECK(b.data()[page] == std::byte{7});
  CHECK(b.data()[3 * page + 4] == std::byte{7});
#ifdef __linux__
  CHECK(b.data()[2 * page] == std::byte{0});
  CHECK(b.data()[3 * page - 1] == std::byte{0});
#endif
  b.drop(0, size + 1000);  // as far as it goes
  CHECK(b.data()[size - 1] == std::byte{7});
  b.data()[0] = std::byte{1};
  CHECK(b.data()[0] == std::byte{1});
  aligned_buffer little(128);
  little.data()[100] = std::byte{3};
  little.drop(0, 128);
  CHECK(little.data()[100] == std::byte{3});
}
