// convolution<exact> keeps direct convolution everywhere.

#include <catch2/catch.hpp>

#include "small_net.hpp"

using namespace slim_test;

namespace {

using exact_trainer = trainer<batch, slim::convolution<exact>>;

bool uses_winograd(const program& p) {
  for (const step_row& s : p.steps)
    if (s.kernel.find("winograd") != s.kernel.npos) return true;
  return false;
}

/// The largest distance to the reference, over the largest number in it.
template <class A, class B>
double distance(const A& a, const B& reference) {
  double worst = 0, largest = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    worst = std::max(worst, std::abs(double(a[i]) - double(reference[i])));
    largest = std::max(largest, std::abs(double(reference[i])));
  }
  return worst / largest;
}

}  // namespace

TEST_CASE("an exact model has no transformed convolution, forward or backward") {
  CHECK(uses_winograd(float_trainer::inference_program()));
  CHECK(uses_winograd(float_trainer::training_program()));
  CHECK_FALSE(uses_winograd(exact_trainer::inference_program()));
  CHECK_FALSE(uses_winograd(exact_trainer::training_program()));
  CHECK(uses_winograd(trainer<batch, slim::convolution<precision::fast>>::inference_program()));
}

TEST_CASE("an exact convolution is closer to the reference in double") {
  using one = conv2d<64, kernel_size{3}, activation_fn{none}>;
  using in = input<1, 32, 32, 64>;
  cpu_device device(2);
  model<one, in> fast(device);
  model<one, in, slim::convolution<exact>> direct(device);
  model<one, in, scalar<double>, backend::eigen> reference(device);
  fast.initialize(1), direct.initialize(1), reference.initialize(1);
  const auto values = copied(fast.variable(0));
  std::copy(values.begin(), values.end(), direct.variable(0).begin());
  std::copy(values.begin(), values.end(), reference.variable(0).begin());
  const auto u = slim_test::uniform("exact/x", 32 * 32 * 64);
  const std::vector<float> x(u.begin(), u.end());
  const auto expected = copied(reference.forward(std::vector<double>(x.begin(), x.end())));
  REQUIRE(uses_winograd(model<one, in>::inference_program()));
  const double exactly = distance(copied(direct.forward(x)), expected);
  CHECK(exactly < distance(copied(fast.forward(x)), expected));
  CHECK(exactly < 1e-6);
}

TEST_CASE("an exact model's gradients are closer to the reference in double") {
  cpu_device device(2);
  float_trainer fast(device);
  exact_trainer direct(device);
  double_trainer reference(device);
  fast.initialize(1), direct.initialize(1), reference.initialize(1);
  for (int v = 0; v < float_trainer::variable_count; ++v) {
    const auto values = copied(fast.variable(v));
    std::copy(values.begin(), values.end(), direct.variable(v).begin());
    std::copy(values.begin(), values.end(), reference.variable(v).begin());
  }
  const auto x = images<float>(batch);
  const std::vector<double> wide(x.begin(), x.end());
  const auto y = some_labels(batch);
  const auto expected = copied(reference.forward(wide));
  CHECK(distance(copied(direct.forward(x)), expected) < 2e-6);
  fast.backward(x, y), direct.backward(x, y), reference.backward(wide, y);
  const auto gradients = gradients_of(reference);
  CHECK(distance(gradients_of(direct), gradients) < distance(gradients_of(fast), gradients));
}
