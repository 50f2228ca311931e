// A first model: LeNet as a type, checked before it runs.
#include <iostream>

#include <slim/slim.hpp>

using namespace slim;

struct lenet : net<"lenet",
  conv2d<32, kernel_size{5}, scope{"conv1"}>, max_pool2d<kernel_size{2}, scope{"pool1"}>,
  conv2d<64, kernel_size{5}, scope{"conv2"}>, max_pool2d<kernel_size{2}, scope{"pool2"}>,
  flatten<>,
  fully_connected<1024, scope{"fc3"}>, dropout<keep_prob{0.5}, scope{"dropout3"}>,
  fully_connected<10, activation_fn{none}, scope{"fc4"}>> {};

// At most 16 images at a time; fewer cost less.
using model_t = model<lenet, input<16, 28, 28, 1>>;

// All of this is known to the compiler.
static_assert(model_t::output_shape == shape{16, 10});
static_assert(model_t::parameter_count == 3'274'634);
static_assert(model_t::multiply_adds == 16 * 13'883'904L);
static_assert(model_t::end_point<"lenet/pool2">() == shape{16, 7, 7, 64});
static_assert(model_t::variable_shape<"lenet/fc3/weights">() == shape{3136, 1024});
static_assert(model_t::inference_bytes() < 5 << 20);

int main() {
  model_t m;
  m.initialize(1);

  std::vector<float> images(2 * 28 * 28);  // two images: n = 2
  for (std::size_t i = 0; i < images.size(); ++i) images[i] = float(i % 28) / 28;

  const auto logits = m.forward(images);
  for (int image = 0; image < logits.dims[0]; ++image) {
    std::cout << "image " << image << ":";
    for (int digit = 0; digit < 10; ++digit) std::cout << " " << logits[image * 10 + digit];
    std::cout << "\n";
  }
  std::cout << "\n" << report(model_t::inference_program());

  // What is wrong at run time is a typed exception, and the model is as it was.
  try {
    m.forward(std::vector<float>(17 * 28 * 28));
  } catch (const input_error& e) {
    std::cout << "\nrefused: " << e.what() << "\n";
    return 0;
  }
  return 1;
}
