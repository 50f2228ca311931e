// What a program that classifies with VGG-16 costs to compile.
#include <slim/slim.hpp>

using namespace slim;
using model_t = model<nets::vgg_arg_scope<nets::vgg_16<>>, input<8, 224, 224, 3>>;

int main() {
  model_t m;
  m.initialize(1);
  const std::vector<float> images(8 * 224 * 224 * 3);
  return m.forward(images)[0] > 0;
}
