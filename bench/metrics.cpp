// How many values a second streaming metrics take in, on one thread.
#include <benchmark/benchmark.h>

#include <vector>

#include <slim/metrics.hpp>
#include <slim/random.hpp>

namespace {

using namespace slim;

constexpr std::size_t size = 1 << 16;

const std::vector<float>& scores() {
  static const std::vector<float> all = [] {
    std::vector<float> v;
    for (std::size_t i = 0; i < size; ++i)
      v.push_back(static_cast<float>(to_uniform(random_at(1, i))));
    return v;
  }();
  return all;
}
const std::vector<int>& labels() {
  static const std::vector<int> all = [] {
    std::vector<int> v;
    for (std::size_t i = 0; i < size; ++i) v.push_back(static_cast<int>(random_at(2, i) % 2));
    return v;
  }();
  return all;
}

template <class Metric, class Values, class... Argument>
void take_in(benchmark::State& state, Metric metric, const Values& values,
             const Argument&... more) {
  for (auto _ : state) benchmark::DoNotOptimize(metric.update(values, more...));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(size));
}

void add(const char* name, auto metric, const auto&... arguments) {
  benchmark::RegisterBenchmark(name,
                               [=](benchmark::State& s) { take_in(s, metric, arguments...); });
}

}  // namespace

int main(int argc, char** argv) {
  using namespace slim::metrics;
  benchmark::Initialize(&argc, argv);
  const auto& p = scores();
  const auto& l = labels();
  add("mean", streaming_mean(), p);
  add("mean, weighted", streaming_mean(), p, weights(p));
  add("accuracy", streaming_accuracy(), l, l);
  add("mean_squared_error", streaming_mean_squared_error(), p, l);
  add("precision", streaming_precision(), l, l);
  add("auc, 200 thresholds", streaming_auc(), p, l);
  add("precision_at_thresholds, 3", streaming_precision_at_thresholds({0.1f, 0.5f, 0.9f}), p, l);
  add("mean_iou", streaming_mean_iou(2), l, l);
  add("covariance", streaming_covariance(), p, l);
  benchmark::RunSpecifiedBenchmarks();
}
