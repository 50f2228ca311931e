// A program outside of slim's tree: a network, saved and restored.
#include <slim/checkpoint.hpp>
#include <slim/slim.hpp>

#include <cstdio>

using namespace slim;

struct tiny : net<"tiny", conv2d<8, kernel_size{3}, scope{"conv1"}>,
                  max_pool2d<kernel_size{2}, scope{"pool1"}>, flatten<>,
                  fully_connected<10, activation_fn{none}, scope{"logits"}>> {};

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  model<tiny, input<2, 8, 8, 1>> written, read;
  written.initialize(1);
  save_checkpoint(written, argv[1]);
  restore(read, argv[1]);
  const std::vector<float> images(2 * 8 * 8, 0.5f);
  const auto a = written.forward(images), b = read.forward(images);
  const bool same = std::equal(a.begin(), a.end(), b.begin(), b.end());
  std::printf("%zu logits, %s\n", a.span().size(), same ? "the same" : "not the same");
  return same ? 0 : 1;
}
