// A U-Net (Ronneberger, Fischer and Brox, MICCAI 2015) that finds figures on noise: for every pixel
// whether it belongs to one. On the way down the network sees more of the image in less detail; on
// the way up the detail comes back through skips, which join what was seen at the same size before.
//
// Figures are brighter or darker than the ground, which itself brightens to one side: no threshold
// would find them. Trains on images drawn as it goes, prints one it has not seen beside truth and
// prediction, and measures the intersection over the union of both on many more.
#include <algorithm>
#include <cmath>
#include <iostream>

#include <slim/slim.hpp>

using namespace slim;

constexpr int batch = 16, size = 32;

struct unet : net<"unet",
  arg_scope<on<ops::conv2d, ops::conv2d_transpose>,
            with<normalizer_fn{ops::batch_norm{}},
                 weights_initializer{variance_scaling_initializer{}}>,
  arg_scope<on<ops::batch_norm>, with<decay{0.9}>,  // a short training: the averages must keep up
  arg_scope<on<ops::conv2d>, with<kernel_size{3}>,
  arg_scope<on<ops::max_pool2d, ops::conv2d_transpose>, with<kernel_size{2}, stride{2}>,
    repeat<2, conv2d<8>, "down1">,   max_pool2d<scope{"pool1"}>,
    repeat<2, conv2d<16>, "down2">,  max_pool2d<scope{"pool2"}>,
    repeat<2, conv2d<32>, "bottom">,
    conv2d_transpose<16, scope{"up2"}>,  concat<identity, from<"down2/down2_2">>,
    repeat<2, conv2d<16>, "merge2">,
    conv2d_transpose<8, scope{"up1"}>,   concat<identity, from<"down1/down1_2">>,
    repeat<2, conv2d<8>, "merge1">,
    conv2d<1, kernel_size{1}, activation_fn{none}, normalizer_fn{none}, scope{"logits"}>>>>>> {};

using model_t = model<unet, input<batch, size, size, 1>,
                      named_input<"labels", float, batch, size, size, 1>, sigmoid_cross_entropy<>>;

static_assert(model_t::output_shape == shape{batch, size, size, 1});
static_assert(model_t::end_point<"unet/bottom/bottom_2">() == shape{batch, 8, 8, 32});
static_assert(model_t::variable_shape<"unet/merge2/merge2_1/weights">() == shape{3, 3, 32, 16});

/// A disc, rectangle or triangle around (x, y).
struct figure {
  int kind;
  double x, y, width, height;

  bool covers(double column, double row) const {
    const double u = (column - x) / width, v = (row - y) / height;
    if (kind == 0) return std::hypot(u, v) < 1;
    if (kind == 1) return std::max(std::abs(u), std::abs(v)) < 0.9;
    return v < 0.8 && 2 * std::abs(u) < v + 1.2;
  }
};

/// Images and masks, which are 1 where a figure is.
struct pictures {
  std::vector<float> images, masks;

  explicit pictures(std::uint64_t seed) {
    random_stream random(seed);
    for (int i = 0; i < batch; ++i) draw(random);
  }

 private:
  void draw(random_stream& random) {
    const auto between = [&](double a, double b) { return a + (b - a) * random.uniform(); };
    const auto any = [&] {
      return figure{static_cast<int>(random.bits() % 3), between(6, size - 6), between(6, size - 6),
                    between(5, 9), between(5, 9)};
    };
    const figure one = any(), other = any();
    const double contrast = (random.uniform() < 0.5 ? -1 : 1) * between(0.8, 1.2);
    const double slope_x = between(-1, 1) / size, slope_y = between(-1, 1) / size;
    for (int row = 0; row < size; ++row)
      for (int column = 0; column < size; ++column) {
        const bool covered = one.covers(column, row) || other.covers(column, row);
        masks.push_back(covered);
        images.push_back(static_cast<float>(contrast * covered + slope_x * column + slope_y * row +
                                            0.3 * random.normal()));
      }
  }
};

/// Pixels in both masks over pixels in one of them. A logit above 0 is a probability above 1/2.
double intersection_over_union(const float* logits, const float* mask) {
  int both = 0, either = 0;
  for (int i = 0; i < size * size; ++i) {
    const bool predicted = logits[i] > 0, is = mask[i] > 0;
    both += predicted && is, either += predicted || is;
  }
  return either == 0 ? 1 : double(both) / either;
}

/// A row of pixels as characters, the brighter the denser.
std::string text_of(const float* row, float darkest, float brightest) {
  static constexpr std::string_view ramp = " .:-=+*#%@";
  std::string text;
  for (int i = 0; i < size; ++i) {
    const float level = std::clamp((row[i] - darkest) / (brightest - darkest), 0.0f, 0.999f);
    text += ramp[static_cast<std::size_t>(level * static_cast<float>(ramp.size()))];
  }
  return text;
}

/// Input, truth and prediction side by side; every other row, for characters are twice as high as
/// wide.
void print(const float* image, const float* mask, const float* logits) {
  const auto [darkest, brightest] = std::minmax_element(image, image + size * size);
  for (int at = 0; at < size * size; at += 2 * size)
    std::cout << text_of(image + at, *darkest, *brightest) << " | " << text_of(mask + at, 0, 1)
              << " | " << text_of(logits + at, -4, 4) << "\n";
}

int main() {
  model_t m;
  m.initialize(1);
  for (int step = 0; step <= 180; ++step) {
    const pictures p(random_at(1, std::uint64_t(step)));
    const float loss = m.backward(p.images, p.masks);
    if (step % 30 == 0) std::cout << "step " << step << ": loss " << loss << "\n";
    m.update(adam{step < 120 ? 0.01 : 0.002});
  }

  double sum = 0;
  constexpr int batches = 16, shown = size * size;  // the second image: it has two figures
  for (int i = 0; i < batches; ++i) {
    const pictures p(random_at(2, std::uint64_t(i)));  // of another key: none was trained on
    const auto logits = m.forward(p.images);
    if (i == 0) print(&p.images[shown], &p.masks[shown], &logits[shown]);
    for (int k = 0; k < batch * size * size; k += size * size)
      sum += intersection_over_union(logits.data + k, p.masks.data() + k);
  }
  const double mean = sum / (batches * batch);
  std::cout << "mean intersection over union of " << batches * batch << " images held out: " << mean
            << "\n";
  return mean > 0.9 ? 0 : 1;
}
