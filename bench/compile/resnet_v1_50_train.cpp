// What a program that trains ResNet-50 costs to compile: forward, backward and update.
#include <slim/slim.hpp>

using namespace slim;
using net_t = sequence<nets::resnet_arg_scope<nets::resnet_v1_50<num_classes{1000}>>,
                       spatial_squeeze<>>;
using model_t = model<net_t, input<8, 224, 224, 3>, labels<8>, sparse_softmax_cross_entropy<>>;

int main() {
  model_t m;
  m.initialize(1);
  const std::vector<float> images(8 * 224 * 224 * 3);
  const std::vector<int> classes(8);
  const float loss = m.backward(images, classes);
  m.update(momentum{0.01, 0.9});
  return loss > 0;
}
