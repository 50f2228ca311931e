// One network, three tasks: what a grey image shows, where it is, and where the light comes from.
// The heads share a trunk, each has a loss of its own, and what is minimised is their sum, as in
// TF-Slim. The third loss is made of the network's own layers; some scenes are not lit, and that
// loss's weights leave them out.
#include <algorithm>
#include <cmath>
#include <iomanip>
#include <iostream>

#include <slim/slim.hpp>

using namespace slim;

// A custom loss needs a difference and a function of it. To the network both are activations. The
// function is a parabola that bends into lines, so that hopeless scenes do not rule the others.
struct minus_fn {
  static constexpr std::string_view name = "minus";
  template <std::floating_point T>
  T operator()(T x) const {
    return -x;
  }
  template <std::floating_point T>
  T gradient(T) const {
    return T(-1);
  }
};
struct huber_fn {
  static constexpr std::string_view name = "huber";
  static constexpr bool gradient_from_input = true;
  double bend = 0.5;
  template <std::floating_point T>
  T operator()(T x) const {
    const T b = T(bend), size = std::abs(x);
    return size < b ? x * x / 2 : b * (size - b / 2);
  }
  template <std::floating_point T>
  T gradient(T x) const {
    return std::clamp(x, T(-bend), T(bend));
  }
};

constexpr int batch = 32, size = 24;

struct scene : net<"scene",
  arg_scope<on<ops::conv2d, ops::fully_connected>, with<weights_regularizer{l2_regularizer{1e-4}}>,
    conv2d<16, kernel_size{5}, scope{"conv1"}>, max_pool2d<kernel_size{2}, scope{"pool1"}>,
    conv2d<32, kernel_size{3}, scope{"conv2"}>, max_pool2d<kernel_size{2}, scope{"pool2"}>,
    flatten<>,
    fully_connected<64, scope{"shared"}>,
    heads<fully_connected<3, activation_fn{none}, scope{"kind"}>,
          fully_connected<2, activation_fn{none}, scope{"place"}>,
          fully_connected<2, activation_fn{none}, scope{"light"}>>>,
  aside<end_point<"light_losses",
    sum<from<"light">, sequence<from<"lights">, apply<minus_fn{}>>>, apply<huber_fn{}>>>> {};

// The parts say which head goes with which labels.
using model_t = model<scene, input<batch, size, size, 1>,
  named_input<"kinds", int, batch>, named_input<"places", float, batch, 2>,
  named_input<"lights", float, batch, 2>, named_input<"lit", float, batch>,
  sparse_softmax_cross_entropy<logits{"scene/kind"}, labels_from{"kinds"}>,
  mean_squared_error<predictions{"scene/place"}, labels_from{"places"}, loss_weight{5}>,
  compute_weighted_loss<losses_from{"light_losses"}, weights_from{"lit"}, loss_weight{5}>>;
constexpr const char* loss_names[] = {"kind", "place", "light"};  // in the order of the parts

enum kind { disc, square, triangle };

/// Images and what is to be seen on them.
struct scenes {
  std::vector<float> images, places, lights, lit;
  std::vector<int> kinds;
};

/// How far the point (x, y) lies outside a figure of this radius.
double outside(int k, double radius, double x, double y) {
  if (k == disc) return std::hypot(x, y) - radius;
  if (k == square) return std::max(std::abs(x), std::abs(y)) - 0.9 * radius;
  return std::max(y - 0.6 * radius, 0.8 * std::abs(x) - 0.6 * y - 0.6 * radius);
}

/// Adds a scene: a figure somewhere, of any size, that gets darker away from the light, on noise.
void draw(scenes& s, random_stream& random) {
  const auto between = [&](double a, double b) { return a + (b - a) * random.uniform(); };
  const int k = static_cast<int>(random.bits() % 3);
  const double radius = between(5, 7), angle = between(0, 2 * 3.14159265);
  const double x = between(7, size - 7), y = between(7, size - 7);
  const double c = std::cos(angle), d = std::sin(angle), lit = random.uniform() < 0.7;
  for (int row = 0; row < size; ++row)
    for (int column = 0; column < size; ++column) {
      const double dx = column + 0.5 - x, dy = row + 0.5 - y;
      const double covered = std::clamp(0.5 - outside(k, radius, dx, dy), 0.0, 1.0);
      const double bright = 0.6 + lit * 0.5 * (c * dx + d * dy) / radius;
      s.images.push_back(static_cast<float>(bright * covered + 0.05 * random.normal()));
    }
  s.kinds.push_back(k);
  s.lit.push_back(static_cast<float>(lit));
  for (const double at : {x, y}) s.places.push_back(static_cast<float>(2 * at / size - 1));
  for (const double towards : {c, d}) s.lights.push_back(static_cast<float>(towards));
}

scenes draw_batch(std::uint64_t seed) {
  scenes s;
  random_stream random(seed);
  for (int i = 0; i < batch; ++i) draw(s, random);
  return s;
}

/// Every loss by name. Their sum is the total loss without the regularizers' penalties, and with
/// them it is what was minimised; false if not.
bool print_losses(const model_t& m, int step) {
  float sum = 0, penalties = 0;
  std::cout << "step " << std::setw(3) << step;
  for (std::size_t i = 0; i < get_losses(m).size(); ++i) {
    std::cout << "  " << loss_names[i] << " " << get_losses(m)[i];
    sum += get_losses(m)[i];
  }
  for (const float penalty : get_regularization_losses(m)) penalties += penalty;
  std::cout << "  regularization " << penalties << "  total " << get_total_loss(m) << "\n";
  return std::abs(get_total_loss(m, false) - sum) <= 1e-5f * sum &&
         std::abs(get_total_loss(m) - sum - penalties) <= 1e-5f * sum;
}

/// How well the heads did on what was shown them.
struct score {
  int seen = 0, right = 0, lit = 0;
  double pixels = 0, degrees = 0;  ///< sums of the errors

  void add(const model_t& m, const scenes& s) {
    const float* kinds = m.fetched<"scene/kind">().data;
    const float* places = m.fetched<"scene/place">().data;
    const float* lights = m.fetched<"scene/light">().data;
    for (std::size_t i = 0; i < batch; ++i) {
      const float* of = kinds + 3 * i;
      right += std::max_element(of, of + 3) - of == s.kinds[i];
      pixels += size / 2 * std::hypot(places[2 * i] - s.places[2 * i],
                                      places[2 * i + 1] - s.places[2 * i + 1]);
      if (s.lit[i] != 0) ++lit, degrees += angle(lights + 2 * i, &s.lights[2 * i]);
    }
    seen += batch;
  }

 private:
  static double angle(const float* a, const float* b) {
    const float cross = a[0] * b[1] - a[1] * b[0], dot = a[0] * b[0] + a[1] * b[1];
    return std::abs(std::atan2(cross, dot)) * 180 / 3.14159265;
  }
};

int main() {
  model_t m;
  m.initialize(1);
  std::cout << std::fixed << std::setprecision(4);
  for (int step = 0; step <= 600; ++step) {
    const scenes s = draw_batch(random_at(1, std::uint64_t(step)));
    m.backward(s.images, s.kinds, s.places, s.lights, s.lit);
    if (step % 100 == 0 && !print_losses(m, step)) return 1;
    m.update(adam{step < 400 ? 0.003 : 0.0005});
  }

  score held_out;
  for (std::uint64_t i = 0; i < 16; ++i) {
    const scenes s = draw_batch(random_at(2, i));  // of another key: none was trained on
    m.forward(s.images);                           // labels are for training only
    held_out.add(m, s);
  }
  const double right = 100.0 * held_out.right / held_out.seen;
  const double pixels = held_out.pixels / held_out.seen, degrees = held_out.degrees / held_out.lit;
  std::cout << std::setprecision(1) << held_out.seen << " scenes held out: " << right
            << " % of the kinds right, places off by " << pixels << " pixels, lights by " << degrees
            << " degrees\n";
  return right > 97 && pixels < 1 && degrees < 15 ? 0 : 1;
}
