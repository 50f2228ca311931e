// A short training run of LeNet with summaries of every kind, for summaries.py to look at.
//
//   summaries_run LOGDIR      prints what the model analyzer says

#include <iostream>

#include <slim/data/pipeline.hpp>
#include <slim/learning.hpp>
#include <slim/model_analyzer.hpp>
#include <slim/nets/lenet.hpp>
#include <slim/summaries/summary_set.hpp>

#include "../golden.hpp"

namespace {

using namespace slim;

constexpr int batch = 2, pixels = 28 * 28;
using trainer =
    model<nets::lenet_arg_scope<nets::lenet<dropout_keep_prob{1.0}>>, input<batch, 28, 28, 1>,
          labels<batch>, sparse_softmax_cross_entropy<>, backend::eigen, fetch_all>;

struct numbers {
  std::int64_t size() const { return 10; }
  std::int64_t record(std::int64_t i) const { return i; }
  std::string key(std::int64_t i) const { return std::to_string(i); }
};

void run(const std::string& logdir) {
  trainer m;
  m.initialize(1);
  const numbers source;
  const auto decode = [](std::int64_t record, random_stream&, std::span<float> x,
                         std::span<int> y) {
    const auto values = slim_test::uniform("summaries/" + std::to_string(record), pixels);
    std::copy(values.begin(), values.end(), x.begin());
    y[0] = static_cast<int>(record);
  };
  data::pipeline batches(source, {.batch_size = batch}, decode, data::field<float>{28, 28, 1},
                         data::field<int>{});
  auto op = learning::optimize_loss<"Momentum">(
      m, 0.01,
      {.clip_gradients = 1,
       .learning_rate_decay_fn =
           [](double rate, std::int64_t step) {
             return learning::exponential_decay{rate, 2, 0.5}(step);
           },
       .summaries = {"loss", "learning_rate", "gradients", "gradient_norm",
                     "global_gradient_norm"}});
  summaries::summary_set all;
  summaries::add_histogram_summaries(all, get_model_variables(m), "vars");
  summaries::add_zero_fraction_summary(all, get_variables_by_name(m, "weights").at(0));
  summaries::add_scalar_summary(
      all, "Answer", [] { return 42; }, "the", true);
  summaries::summarize_biases(all, m, "LeNet/conv");
  summaries::summarize_activations(all, m, "LeNet/(conv|fc3)");
  const auto pool = summaries::end_point(m, "pool2");
  summaries::add_image_summary(
      all, summaries::named_source<const float>{
               "grid", [pool] {
                 return tensor_view<const float>{pool.find().data, shape{batch, 7, 7 * 16, 4}};
               }});
  learning::train(op, batches, logdir, {.number_of_steps = 3, .summarize = all});
  model_analyzer::analyze_vars(get_model_variables(m), true);
  model_analyzer::analyze_ops<trainer>(true);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) return 2;
  run(argv[1]);
} catch (const std::exception& e) {
  std::cerr << e.what() << "\n";
  return 1;
}
