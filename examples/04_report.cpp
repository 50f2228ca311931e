// What the compiler knows of VGG-16: its programs for inference and for training as tables, or with
// --graphviz as graphs (`04_report --graphviz | dot -Tsvg > vgg_16.svg`).
#include <cstring>
#include <iostream>

#include <slim/slim.hpp>

using namespace slim;

using vgg = model<nets::vgg_arg_scope<nets::vgg_16<>>, input<8, 224, 224, 3>, labels<8>,
                  sparse_softmax_cross_entropy<>>;

static_assert(vgg::output_shape == shape{8, 1000});
static_assert(vgg::parameter_count == 138'357'544);
static_assert(vgg::multiply_adds == 8 * 15'470'264'320);

int main(int argc, char** argv) {
  constexpr program forward = vgg::inference_program(), both = vgg::training_program();
  if (argc > 1 && std::strcmp(argv[1], "--graphviz") == 0) {
    std::cout << graphviz(both);
    return 0;
  }
  if (argc > 1) {
    std::cerr << "04_report: unknown option " << argv[1] << "; --graphviz is the only one\n";
    return 2;
  }
  std::cout << "Inference\n" << report(forward) << "\nTraining\n" << report(both);
}
