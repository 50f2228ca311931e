// What a program that classifies with ResNet-50 costs to compile.
#include <slim/slim.hpp>

using namespace slim;
using model_t = model<nets::resnet_arg_scope<nets::resnet_v1_50<num_classes{1000}>>,
                      input<8, 224, 224, 3>>;

int main() {
  model_t m;
  m.initialize(1);
  const std::vector<float> images(8 * 224 * 224 * 3);
  return m.forward(images)[0] > 0;
}
