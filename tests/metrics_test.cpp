// Metrics against the real TF-Slim's (tests/oracle/README.md: metrics.bin), and their edges.

#include <catch2/catch.hpp>

#include <functional>
#include <memory>

#include <slim/metrics.hpp>

#include "golden.hpp"

namespace {

using namespace slim::metrics;
using namespace slim_test;
using Catch::Contains;

constexpr std::size_t size = 20;
constexpr int class_count = 5;

std::vector<float> unit(const std::string& name, std::size_t count = size) {
  auto v = uniform("metrics/" + name, count);
  for (float& x : v) x = static_cast<float>((x + 1) / 2);
  return v;
}
std::vector<int> classes(const std::string& name) {
  std::vector<int> c;
  for (const float x : unit(name)) c.push_back(static_cast<int>(x * class_count));
  return c;
}
std::vector<int> above(const std::vector<float>& v, float t = 0.5f) {
  std::vector<int> b;
  for (const float x : v) b.push_back(x > t);
  return b;
}

struct inputs {
  std::vector<float> p, q, s, w;
  std::vector<int> l, c, d;
  explicit inputs(const std::string& k)
      : p(unit("p" + k)),
        q(unit("q" + k)),
        s(unit("s" + k, size * class_count)),
        w(unit("w" + k)),
        l(above(unit("l" + k))),
        c(classes("c" + k)),
        d(classes("d" + k)) {}
};

/// A metric as the test drives it: takes in a batch, tells its values.
struct driven {
  std::function<void(const inputs&, const weights&)> update;
  std::function<std::vector<double>()> value;
};

template <class V>
std::vector<double> list(const V& v) {
  if constexpr (std::is_arithmetic_v<V>)
    return {double(v)};
  else
    return {v.begin(), v.end()};
}
template <class Metric, class Update>
driven drive(Metric made, Update update) {
  auto m = std::make_shared<Metric>(std::move(made));
  return {[=](const inputs& in, const weights& w) { update(*m, in, w); },
          [=] { return list(m->value()); }};
}
template <class Metric>
driven pairs(Metric m) {
  return drive(std::move(m),
               [](auto& m, const inputs& in, const weights& w) { m.update(in.p, in.q, w); });
}
template <class Metric>
driven booleans(Metric m = {}) {
  return drive(std::move(m),
               [](auto& m, const inputs& in, const weights& w) { m.update(above(in.p), in.l, w); });
}
template <class Metric>
driven scores(Metric m) {
  return drive(std::move(m),
               [](auto& m, const inputs& in, const weights& w) { m.update(in.p, in.l, w); });
}
template <class Metric>
driven labels_first(Metric m) {
  return drive(std::move(m),
               [](auto& m, const inputs& in, const weights& w) { m.update(in.l, in.p, w); });
}
/// Two labels an example.
template <class Metric>
driven ranked(Metric m) {
  return drive(std::move(m), [](auto& m, const inputs& in, const weights& w) {
    std::vector<int> two;
    for (const int c : in.c) two.push_back(c), two.push_back((c + 1 + c % 3) % class_count);
    m.update(in.s, two, w);
  });
}
/// Two best classes an example, besides.
template <class Metric>
driven ranked_already(Metric m) {
  return drive(std::move(m), [](auto& m, const inputs& in, const weights& w) {
    std::vector<int> two, best;
    for (const int c : in.c) two.push_back(c), two.push_back((c + 1 + c % 3) % class_count);
    for (const int d : in.d) best.push_back(d), best.push_back((d + 2 + d % 2) % class_count);
    m.update(best, two, w);
  });
}
/// Predictions of which some tie.
driven interval(auc_with_confidence_intervals made) {
  auto m = std::make_shared<auc_with_confidence_intervals>(made);
  return {[=](const inputs& in, const weights& w) {
            std::vector<float> p = in.p;
            for (float& x : p) x = std::nearbyint(x * 8) / 8;
            m->update(in.l, p, w);
          },
          [=] {
            const auto d = m->value();
            return std::vector<double>{d.auc, d.lower, d.upper};
          }};
}
template <class Metric>
driven of_classes(Metric m) {
  return drive(std::move(m),
               [](auto& m, const inputs& in, const weights& w) { m.update(in.c, in.d, w); });
}
template <class Metric>
driven values(Metric m) {
  return drive(std::move(m),
               [](auto& m, const inputs& in, const weights& w) { m.update(in.p, w); });
}

std::map<std::string, std::function<driven()>> all_metrics() {
  const std::vector<float> t{0.7f, 0.1f, 0.5f};
  return {
      {"mean", [] { return values(streaming_mean()); }},
      {"mean_tensor", [] { return values(streaming_mean_tensor()); }},
      {"percentage_less", [] { return values(streaming_percentage_less(0.3)); }},
      {"count", [] { return values(count()); }},
      {"accuracy", [] { return of_classes(streaming_accuracy()); }},
      {"mean_iou", [] { return of_classes(streaming_mean_iou(class_count)); }},
      {"kappa",
       [] {
         return drive(cohen_kappa(class_count),
                      [](auto& m, const inputs& in, const weights& w) { m.update(in.d, in.c, w); });
       }},
      {"mean_absolute_error", [] { return pairs(streaming_mean_absolute_error()); }},
      {"mean_squared_error", [] { return pairs(streaming_mean_squared_error()); }},
      {"root_mean_squared_error", [] { return pairs(streaming_root_mean_squared_error()); }},
      {"covariance", [] { return pairs(streaming_covariance()); }},
      {"pearson", [] { return pairs(streaming_pearson_correlation()); }},
      {"mean_relative_error",
       [] {
         return drive(streaming_mean_relative_error(),
                      [](auto& m, const inputs& in, const weights& w) {
                        std::vector<float> n = in.q;
                        for (float& x : n) x -= 0.5f;
                        m.update(in.p, in.q, n, w);
                      });
       }},
      {"recall_at_2",
       [] {
         return drive(streaming_recall_at_k(class_count, 2),
                      [](auto& m, const inputs& in, const weights& w) { m.update(in.s, in.c, w); });
       }},
      {"precision", [] { return booleans<streaming_precision>(); }},
      {"recall", [] { return booleans<streaming_recall>(); }},
      {"true_positives", [] { return booleans<streaming_true_positives>(); }},
      {"true_negatives", [] { return booleans<streaming_true_negatives>(); }},
      {"false_positives", [] { return booleans<streaming_false_positives>(); }},
      {"false_negatives", [] { return booleans<streaming_false_negatives>(); }},
      {"false_positive_rate", [] { return booleans<streaming_false_positive_rate>(); }},
      {"false_negative_rate", [] { return booleans<streaming_false_negative_rate>(); }},
      {"precision_at_thresholds", [=] { return scores(streaming_precision_at_thresholds(t)); }},
      {"recall_at_thresholds", [=] { return scores(streaming_recall_at_thresholds(t)); }},
      {"true_positives_at_thresholds",
       [=] { return scores(streaming_true_positives_at_thresholds(t)); }},
      {"true_negatives_at_thresholds",
       [=] { return scores(streaming_true_negatives_at_thresholds(t)); }},
      {"false_positives_at_thresholds",
       [=] { return scores(streaming_false_positives_at_thresholds(t)); }},
      {"false_negatives_at_thresholds",
       [=] { return scores(streaming_false_negatives_at_thresholds(t)); }},
      {"false_positive_rate_at_thresholds",
       [=] { return scores(streaming_false_positive_rate_at_thresholds(t)); }},
      {"false_negative_rate_at_thresholds",
       [=] { return scores(streaming_false_negative_rate_at_thresholds(t)); }},
      {"auc_roc", [] { return scores(streaming_auc()); }},
      {"auc_pr", [] { return scores(streaming_auc(50, curve::pr)); }},
      {"sensitivity", [] { return scores(streaming_sensitivity_at_specificity(0.6)); }},
      {"f1", [] { return labels_first(f1_score()); }},
      {"specificity", [] { return scores(streaming_specificity_at_sensitivity(0.6)); }},
      {"recall_at_precision", [] { return labels_first(recall_at_precision(0.5)); }},
      {"recall_at_precision_strict", [] { return labels_first(recall_at_precision(0.5, true)); }},
      {"precision_at_recall", [] { return labels_first(precision_at_recall(0.6)); }},
      {"dynamic_auc", [] { return labels_first(streaming_dynamic_auc()); }},
      {"dynamic_auc_pr", [] { return labels_first(streaming_dynamic_auc(curve::pr)); }},
      {"histogram_auc",
       [] {
         return drive(auc_using_histogram(0, 1, 10),
                      [](auto& m, const inputs& in, const weights&) { m.update(in.l, in.p); });
       }},
      {"equal_thresholds",
       [] {
         auto m = std::make_shared<precision_recall_at_equal_thresholds>(6);
         return driven{[=](const inputs& in, const weights& w) { m->update(in.l, in.p, w); },
                       [=] {
                         auto d = m->value();
                         d.precision.insert(d.precision.end(), d.recall.begin(), d.recall.end());
                         return d.precision;
                       }};
       }},
      {"sparse_recall_at_2", [] { return ranked(streaming_sparse_recall_at_k(class_count, 2)); }},
      {"sparse_recall_at_2_class",
       [] { return ranked(streaming_sparse_recall_at_k(class_count, 2, 1)); }},
      {"sparse_precision_at_2",
       [] { return ranked(streaming_sparse_precision_at_k(class_count, 2)); }},
      {"sparse_precision_at_2_class",
       [] { return ranked(streaming_sparse_precision_at_k(class_count, 2, 1)); }},
      {"sparse_average_precision_at_3",
       [] { return ranked(streaming_sparse_average_precision_at_k(class_count, 3)); }},
      {"sparse_recall_at_top_2", [] { return ranked_already(sparse_recall_at_top_k(2)); }},
      {"sparse_precision_at_top_2_class",
       [] { return ranked_already(streaming_sparse_precision_at_top_k(2, 1)); }},
      {"sparse_average_precision_at_top_2",
       [] { return ranked_already(streaming_sparse_average_precision_at_top_k(2)); }},
      {"auc_interval", [] { return interval(auc_with_confidence_intervals()); }},
      {"auc_interval_plain", [] { return interval(auc_with_confidence_intervals(0.8, false)); }},
  };
}

void check_close(const std::vector<double>& got, const double* want) {
  for (std::size_t i = 0; i < got.size(); ++i)
    CHECK((got[i] == Approx(want[i]).epsilon(3e-6).margin(1e-7) ||
           (std::isnan(got[i]) && std::isnan(want[i]))));
}

}  // namespace

TEST_CASE("metrics are TF-Slim's over several batches") {
  const auto known = all_metrics();
  std::size_t count = 0;
  for (const record& r : read(data_path("metrics.bin"))) {
    INFO(r.title());
    const driven m = known.at(r.text("id"))();
    if (const auto before = m.value(); !before.empty())
      check_close(before, r.at("before").values.data());
    for (int k = 0; k < 3; ++k) {
      const inputs in(std::to_string(k));
      m.update(in, r.integer("weighted") != 0 ? weights(in.w) : weights());
      const auto got = m.value();
      CAPTURE(k, got);
      check_close(got, r.at("values").values.data() + static_cast<std::size_t>(k) * got.size());
    }
    ++count;
  }
  CHECK(count == 2 * known.size());
}

TEST_CASE("a metric without data has TF-Slim's value, and can be begun anew") {
  streaming_accuracy a;
  CHECK(a.value() == 0);
  CHECK(a.update(std::vector<int>{1, 2}, std::vector<long>{1, 3}) == 0.5);
  CHECK(a.value() == 0.5);
  CHECK(a.total() == 1);
  CHECK(a.count() == 2);
  a.reset();
  CHECK(a.value() == 0);
  CHECK(std::isnan(streaming_covariance().value()));
  CHECK(streaming_mean_cosine_distance(2).value() == 1);
  CHECK(streaming_mean_cosine_distance(2).update(std::vector<float>{1, 0, 0, 1},
                                                 std::vector<float>{1, 0, 1, 0}) == 0.5);
  CHECK(streaming_mean_iou(3).value() == 0);
}

TEST_CASE("counts do not stop at 2^24, and one weight stands for all") {
  streaming_mean m;
  const std::vector<float> many(1 << 20, 1.0f);
  for (int i = 0; i < 33; ++i) m.update(many);
  CHECK(m.count() == 33 * double(1 << 20));
  m.reset();
  m.update(std::vector<float>{1, 3}, 0.5);
  CHECK(m.total() == 2);
  m.reset();
  m.update(std::vector<float>{1, 2, 3, 4}, std::vector<float>{1, 0});  // one a row
  CHECK(m.value() == 1.5);
}

TEST_CASE("the class of the largest score of each row") {
  CHECK(argmax(std::vector<float>{1, 3, 3, 2, 0, 1}, 3) == std::vector<int>{1, 0});
  CHECK_THROWS_WITH(argmax(std::vector<float>{1, 3}, 3),
                    "argmax: 2 scores are no rows of 3 classes");
}

TEST_CASE("a confusion matrix counts pairs of label and prediction") {
  confusion_matrix m(2);
  m.update(std::vector<int>{0, 1, 1}, std::vector<int>{0, 0, 1}, std::vector<float>{1, 2, 3});
  CHECK(m.counts() == std::vector<double>{1, 2, 0, 3});
}

TEST_CASE("arguments that do not fit name the metric") {
  const std::vector<int> two{0, 1}, three{0, 1, 2};
  const std::vector<float> weights3(3, 1.0f), far{0.5f, 1.5f};
  CHECK_THROWS_WITH(streaming_accuracy().update(two, three),
                    "accuracy: 2 predictions and 3 labels");
  CHECK_THROWS_WITH(streaming_precision().update(two, two, weights3),
                    "precision: 3 weights do not fit 2 values");
  CHECK_THROWS_WITH(streaming_auc().update(far, two), Contains("auc: prediction 1.5"));
  CHECK_THROWS_WITH(streaming_mean_iou(2).update(three, three),
                    "mean_iou: prediction 2 is none of 2 classes");
  CHECK_THROWS_WITH(cohen_kappa(1), Contains("it takes two"));
  CHECK_THROWS_WITH(confusion_matrix(2).update(three, three),
                    "confusion_matrix: prediction 2 is none of 2 classes");
  CHECK_THROWS_WITH(auc_with_confidence_intervals(1), Contains("alpha is 1.0"));
  CHECK_THROWS_WITH(auc_with_confidence_intervals().update(three, three),
                    "auc_with_confidence_intervals: label 2 is neither 0 nor 1");
  CHECK_THROWS_WITH(sparse_recall_at_top_k(2).update(three, three),
                    "sparse_recall_at_top_k: 3 labels do not fit 3 values, 2 an example");
}

TEST_CASE("metrics by name give their values and begin anew together") {
  streaming_accuracy a;
  streaming_precision p;
  const metric_map all = aggregate_metric_map({{"accuracy", a}, {"precision", p}});
  a.update(std::vector<int>{1, 1}, std::vector<int>{1, 0});
  p.update(std::vector<int>{1, 1}, std::vector<int>{1, 1});
  CHECK(all.values() == std::map<std::string, double>{{"accuracy", 0.5}, {"precision", 1.0}});
  CHECK(aggregate_metrics(a, p) == std::array<double, 2>{0.5, 1.0});
  all.reset();
  CHECK(all.values().at("precision") == 0);
}

TEST_CASE("values are kept side by side, up to a limit") {
  streaming_concat<int> all, some(3);
  for (const auto& batch : {std::vector<int>{1, 2}, std::vector<int>{3, 4}}) {
    all.update(batch);
    some.update(batch);
  }
  CHECK(all.value() == std::vector<int>{1, 2, 3, 4});
  CHECK(some.value() == std::vector<int>{1, 2, 3});
  CHECK(some.update(std::vector<int>{5}) == 3);
}
