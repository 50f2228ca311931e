// A training run that saves all the time, for kill.py to end at any instant: prints a number that
// stands for the bits of all variables when it is done.
//
//   kill_run LOGDIR STEPS

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include <slim/data/pipeline.hpp>
#include <slim/learning.hpp>

namespace {

using namespace slim;

struct small : net<"net", fully_connected<64, scope{"a"}>, dropout<keep_prob{0.8}, scope{"drop"}>,
                   fully_connected<5, activation_fn{none}, scope{"b"}>> {};
constexpr int batch = 16, features = 32;
using trainer = model<small, input<batch, features>, labels<batch>, sparse_softmax_cross_entropy<>,
                      backend::eigen>;

struct numbers {
  std::int64_t size() const { return 1000; }
  std::int64_t record(std::int64_t i) const { return i; }
  std::string key(std::int64_t i) const { return std::to_string(i); }
};

std::uint64_t bits_of(trainer& m) {
  std::uint64_t hash = 0;
  for (int v = 0; v < trainer::variable_count; ++v)
    for (const float x : m.variable(v)) hash = random_at(hash, std::bit_cast<std::uint32_t>(x));
  return hash;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    cpu_device device(1);
    trainer m(device);
    m.initialize(1);
    const numbers source;
    data::pipeline batches(
        source, data::pipeline_options{.batch_size = batch, .seed = 2},
        [](std::int64_t record, random_stream& random, std::span<float> x, std::span<int> y) {
          random_stream fixed(static_cast<std::uint64_t>(record));
          for (float& v : x) v = static_cast<float>(fixed.normal() + 0.1 * random.normal());
          y[0] = static_cast<int>(record % 5);
        },
        data::field<float>{features}, data::field<int>{});
    auto op = learning::create_train_op(m, adam{0.001});
    const std::int64_t steps = std::atoll(argv[2]);
    // Killed between its last checkpoint and its end a run is done; train would take a step more.
    if (latest_checkpoint(argv[1])) restore_training(m, op.optimizer(), argv[1]);
    if (m.global_step() < steps)
      learning::train(op, batches, argv[1], {.number_of_steps = steps, .save_interval_secs = 1e-3});
    std::printf("%016llx\n", static_cast<unsigned long long>(bits_of(m)));
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
  }
}
