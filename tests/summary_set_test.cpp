// TF-Slim's summary helpers on a small model: which tags they write, and what under them. The real
// TensorBoard looks at more of them in tests/conformance/summaries.py.

#include <catch2/catch.hpp>

#include <set>
#include <sstream>

#include <slim/data/pipeline.hpp>
#include <slim/learning.hpp>
#include <slim/model_analyzer.hpp>
#include <slim/summaries/event_reader.hpp>
#include <slim/summaries/summary_set.hpp>

#include "files.hpp"

namespace {

using namespace slim;
using Catch::Contains;

struct two : net<"two", end_point<"hidden", fully_connected<4, activation_fn{relu6}, scope{"a"}>>,
                 end_point<"logits", fully_connected<3, activation_fn{none}, scope{"b"}>>> {};
using trainer =
    model<two, input<2, 5>, labels<2>, sparse_softmax_cross_entropy<>, backend::eigen, fetch_all>;
const std::vector<float> examples{1, 2, 3, 4, 5, 5, 4, 3, 2, 1};
const std::vector<int> classes{0, 2};

/// The last value of each tag in the one event file of a folder.
std::map<std::string, summaries::event_value> values_in(const std::string& folder) {
  std::map<std::string, summaries::event_value> all;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    if (file.path().filename().string().find("tfevents") == std::string::npos) continue;
    summaries::event_reader events(file.path().string());
    while (const auto e = events.next())
      for (const auto& v : e->values) all[v.tag] = v;
  }
  return all;
}
std::map<std::string, summaries::event_value> written(const summaries::summary_set& all) {
  slim_test::temporary_folder tmp;
  summaries::event_writer log(tmp.path());
  all(log, 1);
  log.close();
  return values_in(tmp.path());
}
template <class Map>
std::set<std::string> tags(const Map& values) {
  std::set<std::string> all;
  for (const auto& [tag, value] : values) all.insert(tag);
  return all;
}

}  // namespace

TEST_CASE("tags are prefix and name, and one that is taken has a number behind it") {
  const std::vector<float> numbers{0, 2, 0, -1};
  const named_tensor<const float> t{"t", {numbers.data(), shape{1, 2, 2, 1}}};
  const named_tensor<const float> scalar{"s", {numbers.data() + 1, shape{}}};
  summaries::summary_set all;
  summaries::add_histogram_summaries(all, std::vector{t, t}, "p");
  summaries::add_zero_fraction_summary(all, t, "", "p");
  summaries::add_image_summary(all, t, "picture");
  summaries::summarize_tensors(all, std::vector{scalar, t});
  summaries::add_scalar_summary(
      all, "f", [] { return 7; }, "p");
  CHECK(summaries::add_histogram_summary(all, t) == "t_1");  // as in TensorFlow: t is its op
  CHECK(summaries::add_histogram_summary(all, t, "Total Loss (1)", "/p q") == "p_q/Total_Loss__1_");
  const auto found = written(all);
  CHECK(tags(found) == std::set<std::string>{"p/t", "p/t_1", "p/t/Fraction_of_Zero_Values",
                                             "picture/image/0", "s_summary", "t_summary", "p/f",
                                             "t_1", "p_q/Total_Loss__1_"});
  CHECK(found.at("p/t/Fraction_of_Zero_Values").scalar == 0.5f);
  CHECK(found.at("s_summary").scalar == 2);
  CHECK(found.at("p/f").scalar == 7);
  CHECK(found.at("t_summary").histogram.has_value());
}

TEST_CASE("a tensor that cannot be summarized so is named") {
  const std::vector<float> numbers{0, 2};
  const named_tensor<const float> t{"t", {numbers.data(), shape{2}}};
  summaries::summary_set scalars, images, missing;
  summaries::add_scalar_summary(scalars, t);
  summaries::add_image_summary(images, t, "", "p");
  CHECK_THROWS_WITH(written(scalars), "scalar summary t: its shape [2] has not 0 axes");
  CHECK_THROWS_WITH(written(images), "image summary p/t: its shape [2] has not 4 axes");
  trainer m;
  m.initialize(1);
  m.backward(examples, classes);
  summaries::add_histogram_summary(missing, summaries::end_point(m, "two/c"));
  CHECK_THROWS_WITH(written(missing), "summary of two/c: the last pass kept no such end point");
  CHECK_THROWS_WITH(summaries::summarize_variables(missing, m, "("), Contains("no regular"));
}

TEST_CASE("a model's variables and activations are summarized by collection and by name") {
  trainer m;
  m.initialize(1);
  m.backward(examples, classes);
  summaries::summary_set weights, biases, some, activations;
  summaries::summarize_weights(weights, m);
  summaries::summarize_biases(biases, m, "two/b");
  summaries::summarize_variables(some, m, "two/a/b|two/b/w");
  summaries::summarize_activations(activations, m);
  CHECK(tags(written(weights)) ==
        std::set<std::string>{"two/a/weights_summary", "two/b/weights_summary"});
  CHECK(tags(written(biases)) == std::set<std::string>{"two/b/biases_summary"});
  CHECK(tags(written(some)) ==
        std::set<std::string>{"two/a/biases_summary", "two/b/weights_summary"});
  const auto found = written(activations);
  CHECK(tags(found) == std::set<std::string>{"two/a/Relu6/activation", "two/a/Relu6/zeros",
                                             "two/a/Relu6/sixes", "two/b/BiasAdd/activation"});
  double zeros = 0;
  for (const float x : summaries::end_point(m, "hidden").find()) zeros += x == 0;
  CHECK(*found.at("two/a/Relu6/zeros").scalar == Approx(zeros / 8));
}

namespace {

/// The summaries of one step of a train op.
template <class Op>
std::set<std::string> step_tags(Op& op) {
  op(examples, classes);
  slim_test::temporary_folder tmp;
  summaries::event_writer log(tmp.path());
  op.summarize(log, 1);
  log.close();
  return tags(values_in(tmp.path()));
}

}  // namespace

TEST_CASE("train ops write gradients and norms as asked, under TF-Slim's tags") {
  trainer m;
  m.initialize(1);
  auto quiet = learning::create_train_op(m, momentum{0.01});
  CHECK(step_tags(quiet).empty());
  auto op = learning::create_train_op(
      m, momentum{0.01}, {.variables_to_train = {"two/b/biases"}, .summarize_gradients = true});
  CHECK(step_tags(op) == std::set<std::string>{"summarize_grads/two/b/biases_gradient",
                                               "summarize_grads/two/b/biases_gradient_norm"});
  auto usual = learning::optimize_loss<"Adam">(m, 0.01);
  CHECK(step_tags(usual) ==
        std::set<std::string>{"OptimizeLoss/loss", "OptimizeLoss/global_norm/gradient_norm"});
  auto norms = learning::optimize_loss<"SGD">(
      m, 0.01,
      {.clip_gradients = 1, .variables = {"two/a/biases"}, .summaries = {"gradient_norm"}});
  CHECK(step_tags(norms) ==
        std::set<std::string>{"OptimizeLoss/gradient_norm/two/a/biases_0",
                              "OptimizeLoss/global_norm/gradient_norm",
                              "OptimizeLoss/global_norm/clipped_gradient_norm"});
  CHECK_THROWS_WITH(learning::optimize_loss<"SGD">(m, 0.01, {.summaries = {"loss", "losses"}}),
                    Contains("gradient_norm and global_gradient_norm, not losses"));
  slim_test::temporary_folder tmp;
  summaries::event_writer log(tmp.path());
  learning::add_gradients_summaries(log, op, 1);
  log.close();
  CHECK(tags(values_in(tmp.path())) ==
        std::set<std::string>{"two/b/biases/gradient", "two/b/biases/gradient_norm"});
}

TEST_CASE("optimizers by name are TF-Slim's") {
  trainer m;
  const auto is = [](const auto& op, const auto& like) {
    using T = std::remove_cvref_t<decltype(op.optimizer())>;
    return std::is_same_v<T, std::remove_cvref_t<decltype(like)>> && op.learning_rate() == 0.5;
  };
  CHECK(is(learning::optimize_loss<"Adagrad">(m, 0.5), adagrad{}));
  CHECK(is(learning::optimize_loss<"Adam">(m, 0.5), adam{}));
  CHECK(is(learning::optimize_loss<"Ftrl">(m, 0.5), ftrl{}));
  CHECK(is(learning::optimize_loss<"RMSProp">(m, 0.5), rmsprop{}));
  CHECK(is(learning::optimize_loss<"SGD">(m, 0.5), gradient_descent{}));
  const auto op = learning::optimize_loss<"Momentum">(m, 0.5);
  CHECK(is(op, momentum{}));
  CHECK(op.optimizer().momentum == 0.9);
}

TEST_CASE("the model analyzer counts variables and ops") {
  trainer m;
  std::ostringstream text;
  const auto total = model_analyzer::analyze_vars(get_variables(m, "two/a"), true, text);
  CHECK(total == model_analyzer::variable_totals{24, 96});
  CHECK(text.str() ==
        "---------\nVariables: name (type shape) [size]\n---------\n"
        "two/a/weights:0 (float32 5x4) [20, bytes: 80]\n"
        "two/a/biases:0 (float32 4) [4, bytes: 16]\n"
        "Total size of variables: 24\nTotal bytes of variables: 96\n");
  text.str("");
  const long quiet = model_analyzer::analyze_ops<trainer>(false, text);
  CHECK(text.str().empty());
  CHECK(quiet == model_analyzer::analyze_ops<trainer>(true, text));
  CHECK_THAT(text.str(), Contains("two/a/Relu6 \t-> (float32 2x4) [8]\n"));
}
