// Three updates of a variable by given gradients, as slots.py has TensorFlow do them: from the
// start or from a checkpoint, to a folder of checkpoints.
//
//   slots_run OPTIMIZER FOLDER [CHECKPOINT]

#include <iostream>

#include <slim/checkpoint/saver.hpp>
#include <slim/model.hpp>

#include "../golden.hpp"

namespace {

using namespace slim;

struct one_layer
    : net<"net", fully_connected<8, biases_initializer{none}, activation_fn{none}, scope{"fc"}>> {};
using model_t =
    model<one_layer, input<1, 5>, labels<1>, sparse_softmax_cross_entropy<>, backend::eigen>;
constexpr int elements = 5 * 8, first_step = 100, updates = 3;

void fill(tensor_view<float> values, const std::string& name) {
  const auto u = slim_test::uniform(name, elements);
  std::copy(u.begin(), u.end(), values.begin());
}

template <class Optimizer>
void run(const Optimizer& optimizer, const std::string& folder, const std::string& checkpoint) {
  model_t m;
  if (checkpoint.empty()) {
    fill(m.variable(0), "slots/w");
    m.set_global_step(first_step);
  } else {
    restore_training(m, optimizer, checkpoint);
  }
  for (int i = 0; i < updates; ++i) {
    fill(m.gradient(0), "slots/g" + std::to_string(m.global_step() - first_step));
    m.update(optimizer);
  }
  saver().save(m, optimizer, folder + "/model.ckpt");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  try {
    const std::string name = argv[1], folder = argv[2], checkpoint = argc > 3 ? argv[3] : "";
    if (name == "momentum") run(momentum{0.1, 0.9}, folder, checkpoint);
    if (name == "adam") run(adam{0.01}, folder, checkpoint);
    if (name == "rmsprop") run(rmsprop{.learning_rate = 0.01, .momentum = 0.5}, folder, checkpoint);
    if (name == "centered_rmsprop")
      run(rmsprop{.learning_rate = 0.01, .momentum = 0.5, .centered = true}, folder, checkpoint);
    if (name == "adagrad") run(adagrad{.learning_rate = 0.1}, folder, checkpoint);
    if (name == "adadelta") run(adadelta{.learning_rate = 0.1}, folder, checkpoint);
    if (name == "ftrl") run(ftrl{.learning_rate = 0.1}, folder, checkpoint);
    if (name == "proximal_adagrad") run(proximal_adagrad{.learning_rate = 0.1}, folder, checkpoint);
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
  }
}
