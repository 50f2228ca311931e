// What a program that trains VGG-16 costs to compile: forward, backward and update.
#include <slim/slim.hpp>

using namespace slim;
using model_t = model<nets::vgg_arg_scope<nets::vgg_16<>>, input<8, 224, 224, 3>, labels<8>,
                      sparse_softmax_cross_entropy<>>;

int main() {
  model_t m;
  m.initialize(1);
  const std::vector<float> images(8 * 224 * 224 * 3);
  const std::vector<int> classes(8);
  const float loss = m.backward(images, classes);
  m.update(gradient_descent{0.01});
  return loss > 0;
}
