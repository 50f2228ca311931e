// Models on the GPU as their users meet them: sessions, memory, plans that are kept, errors.
// Needs a GPU, or the emulation of one.
#include "gpu_test.hpp"

#include <catch2/catch.hpp>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include <slim/profile.hpp>

using namespace gpu_tests;

TEST_CASE("sessions have streams of their own") {
  lenet_model<gpu<float>> m;
  m.initialize(1);
  session a(m), b(m);
  const auto wanted = a.forward(lenet_images);  // by kernels that it chooses for all
  const std::vector<float> first(wanted.begin(), wanted.end());
  const auto own = m.forward(lenet_images);
  CHECK(std::equal(own.begin(), own.end(), first.begin()));
  for (int run = 0; run < 3; ++run) {
    const auto got = a.forward(lenet_images), also = b.forward(lenet_images);
    CHECK(std::equal(got.begin(), got.end(), first.begin()));
    CHECK(std::equal(also.begin(), also.end(), first.begin()));
  }
}

TEST_CASE("outputs in the device's memory") {
  lenet_model<gpu<bfloat16>> m;
  m.initialize(1);
  accelerator& on = *m.shared_runner().on();
  auto* there = reinterpret_cast<float*>(on.allocate(80 * sizeof(float), "an output"));
  const auto wanted = m.forward(lenet_images);
  const std::vector<float> expected(wanted.begin(), wanted.end());
  m.forward_into(device_span<float>{there, shape{8, 10}}, lenet_images);
  std::vector<float> got(80);
  on.download(got.data(), reinterpret_cast<std::byte*>(there), 80 * sizeof(float));
  CHECK(got == expected);
  CHECK_THROWS_WITH(m.forward_into(device_span<float>{got.data(), shape{8, 10}}, lenet_images),
                    Catch::Contains("is not in the memory of CUDA device"));
  on.release(reinterpret_cast<std::byte*>(there));
}

TEST_CASE("inputs in the device's memory, aligned to their elements alone") {
  lenet_model<gpu<bfloat16>> m;
  m.initialize(1);
  accelerator& on = *m.shared_runner().on();
  const std::size_t bytes = lenet_images.size() * sizeof(float);
  std::byte* there = on.allocate(bytes + 64, "inputs");
  const auto wanted = m.forward(lenet_images);
  const std::vector<float> expected(wanted.begin(), wanted.end());
  for (const int apart : {0, 4, 12}) {
    on.upload(there + apart, lenet_images.data(), bytes);
    const auto* x = reinterpret_cast<const float*>(there + apart);
    const auto got = m.forward(device_view<float>{x, shape{8, 28, 28, 1}});
    CHECK(std::equal(got.begin(), got.end(), expected.begin()));
  }
  CHECK_THROWS_WITH(m.forward(device_view<float>{lenet_images.data(), shape{8, 28, 28, 1}}),
                    Catch::Contains("is not in the memory of CUDA device"));
  on.release(there);
}

namespace {

struct placed_net : net<"placed", variable<"table", shape{6, 5}, on_device{"/cpu:0"}>,
                        variable<"other", shape{3}, initializer{ones{}},
                                 regularizer{l2_regularizer{0.5}}, on_device{"/cpu:0"}>,
                        flatten<>, fully_connected<5, activation_fn{slim::tanh}, scope{"fc1"}>,
                        sum<identity, from<"placed/table">>,
                        fully_connected<4, activation_fn{none}, scope{"fc2"}>> {};
template <class... More>
using placed_model =
    model<placed_net, input<6, 8, 8, 3>, labels<6>, sparse_softmax_cross_entropy<>, More...>;

}  // namespace

TEST_CASE("variables that were placed on the CPU are brought over when they are read") {
  placed_model<> cpu;
  placed_model<gpu<float>> there;
  cpu.initialize(2), there.initialize(2);
  const auto x = random_numbers<float>(6 * 8 * 8 * 3, 1);
  const auto y = random_labels(6, 4);
  for (int step = 0; step < 4; ++step) {  // as it is, recorded, replayed
    CHECK(distance_of(there.forward(x), cpu.forward(x)) < float_limits.forward);
    cpu.launch_step(momentum{0.05, 0.9}, x, y);
    there.launch_step(momentum{0.05, 0.9}, x, y);
  }
  there.wait();
  for (int v = 0; v < decltype(cpu)::variable_count; ++v) {
    INFO(cpu.variable_name(v));
    CHECK(distance_of(std::as_const(there).variable(v), std::as_const(cpu).variable(v)) < 1e-4);
  }
}

TEST_CASE("profiles and kept plans") {
  lenet_model<gpu<bfloat16>> m;
  m.initialize(1);
  const profiler p = profile_forward(m, 3, lenet_images);
  CHECK(p.rows().size() > 3);
  for (const profile_row& row : p.rows()) CHECK(row.seconds > 0);
  CHECK(m.plans().find("forward bf16") != std::string::npos);
}

TEST_CASE("plans are kept in a file, for the device they were made for") {
  const char* file = "gpu_test_kept.plans";
  std::ofstream(file) << "# another device\nforward float\tsome way\t1\n";
  const auto run = [&] {
    lenet_model<gpu<float>> m;
    m.keep_plans(file);
    m.initialize(1);
    m.forward(lenet_images);
    return m.plans();
  };
  const auto contents = [&] {
    std::ostringstream text;
    text << std::ifstream(file).rdbuf();
    return text.str();
  };
  const auto choices_of = [](const std::string& plans) {
    std::set<std::string> all;
    std::istringstream lines(plans);
    for (std::string line; std::getline(lines, line);) all.insert(line.substr(0, line.rfind(',')));
    return all;
  };
  const auto timed = choices_of(run());
  const std::string written = contents();
  CHECK(written.starts_with("# another device\nforward float\tsome way\t1\n# "));
  CHECK(std::count(written.begin(), written.end(), '\n') > 3);
  // The first run has also chosen how to do parts of ways that were not taken.
  const auto taken = choices_of(run());
  CHECK(contents() == written);
  CHECK(taken.size() > 3);
  CHECK(std::includes(timed.begin(), timed.end(), taken.begin(), taken.end()));
  std::remove(file);

  lenet_model<gpu<float>> m;
  CHECK_THROWS_WITH(m.keep_plans("no such folder/plans"), Catch::Contains("cannot be written"));
}

TEST_CASE("wrong inputs are refused, and nothing is lost") {
  lenet_model<gpu<float>> m;
  m.initialize(1);
  CHECK_THROWS_AS(m.forward(std::vector<float>(5)), input_error);
  CHECK_THROWS_AS(m.backward(lenet_images, std::vector<int>(8, 11)), input_error);
  CHECK(std::isfinite(m.backward(lenet_images, lenet_labels)));
}

namespace {

struct pooled_net : net<"pooled", conv2d<64, kernel_size{3}, scope{"conv1"}>,
                        max_pool2d<kernel_size{2}, scope{"pool1"}>> {};

}  // namespace

TEST_CASE("a pooled convolution of some images at a time") {
  model<pooled_net, input<5, 256, 256, 2>> cpu;
  const char* file = "gpu_test_pieces.plans";
  cpu.initialize(1);
  const auto x = random_numbers<float>(5 * 256 * 256 * 2, 1);
  const auto wanted = cpu.forward(x);
  std::string choices;
  for (const char* way : {"", "\tat once\t", "\tby 2 images\t"}) {
    if (*way != '\0') {  // in place of what was chosen
      const auto key = choices.find("forward, pooled"), from = choices.find('\t', key);
      choices.replace(from, choices.find('\t', from + 1) + 1 - from, way);
      std::ofstream(file) << choices;
    }
    model<pooled_net, input<5, 256, 256, 2>, gpu<tf32>> there;
    there.keep_plans(file);
    copy_variables(cpu, there);
    CHECK(distance_of(there.forward(x), wanted) < tf32_limits.forward);
    if (*way != '\0')
      CHECK(there.plans().find(std::string(way + 1, std::strlen(way) - 2)) != std::string::npos);
    std::ostringstream text;
    text << std::ifstream(file).rdbuf();
    choices = text.str();
    REQUIRE(choices.find("forward, pooled") != std::string::npos);
  }
  std::remove(file);
}

namespace {

struct huge_net : net<"huge", conv2d<512, kernel_size{3}, scope{"conv1"}>,
                      conv2d<512, kernel_size{3}, scope{"conv2"}>> {};

}  // namespace

TEST_CASE("a model that does not fit says so before it runs") {
  using huge = model<huge_net, input<512, 512, 512, 3>, gpu<float>>;
  try {
    huge m;
    FAIL("it fits");
  } catch (const error& e) {
    INFO(e.what());
    CHECK(std::string(e.what()).find("MiB of device memory") != std::string::npos);
  }
}
