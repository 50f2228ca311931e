// LeNet with its weights from a safetensors file, and the logits of one image: what a program that
// classifies does from its start to its first result. bench/rivals/run.py times it as a whole
// process, beside bench/rivals/start/*.py.
//   start lenet.safetensors
#include <cstdio>
#include <vector>

#include <slim/safetensors.hpp>
#include <slim/slim.hpp>

#include <slim/checkpoint/restore.hpp>

using namespace slim;

int main(int, char** argv) {
  cpu_device device(1);  // one image of 28x28 is not worth a second thread's start
  model<nets::lenet_arg_scope<nets::lenet<>>, input<1, 28, 28, 1>> m(device);
  restore(m, safetensors_reader(argv[1]));
  std::vector<float> image(28 * 28);
  for (int i = 0; i < 28 * 28; ++i) image[i] = float(i % 28) / 28;
  for (const float y : m.forward(image)) std::printf(" %.6f", y);
  std::printf("\n");
}
