// What a program that classifies with VGG-16 from a checkpoint costs to compile.
#include <slim/checkpoint.hpp>
#include <slim/slim.hpp>

using namespace slim;
using model_t = model<nets::vgg_arg_scope<nets::vgg_16<>>, input<8, 224, 224, 3>>;

int main() {
  model_t m;
  restore(m, "vgg_16.ckpt");
  const std::vector<float> images(8 * 224 * 224 * 3);
  return m.forward(images)[0] > 0;
}
