// A whole program: LeNet reads its weights from a safetensors file and classifies an image of 28x28
// bytes from standard input. Its size, stripped, has a budget.
#include <cstdio>
#include <exception>

#include <slim/model.hpp>
#include <slim/nets/lenet.hpp>
#include <slim/safetensors.hpp>

using namespace slim;

int main(int argc, char** argv) try {
  if (argc != 2) throw error("usage: lenet WEIGHTS.safetensors < IMAGE");
  model<nets::lenet<>, input<1, 28, 28, 1>> m;
  restore(m, safetensors_reader(argv[1]));
  unsigned char bytes[784];
  if (std::fread(bytes, 1, sizeof bytes, stdin) != sizeof bytes)
    throw error("an image of 784 bytes was expected");
  std::vector<float> pixels;
  for (const unsigned char b : bytes) pixels.push_back(float(b) / 128 - 1);
  const auto logits = m.forward(pixels);
  std::printf("%d\n", int(std::max_element(logits.begin(), logits.end()) - logits.begin()));
} catch (const std::exception& e) {
  std::fprintf(stderr, "lenet: %s\n", e.what());
  return 2;
}
