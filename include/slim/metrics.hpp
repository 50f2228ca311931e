// Streaming metrics, TF-Slim's slim.metrics: objects that take in batches by update(), which
// returns the new value, and say their value() at any time.
//
//   metrics::streaming_accuracy accuracy;
//   metrics::streaming_recall_at_k recall5(classes, 5);
//   accuracy.update(predicted_classes, labels);
//   auto values = metrics::aggregate_metric_map({{"accuracy", accuracy}, {"recall_5", recall5}});
//
// Arguments come in TF-Slim's order: predictions, labels, weights; its few metrics that take labels
// first do so here.
#pragma once

#include <array>
#include <functional>
#include <map>

#include "metrics/confidence.hpp"
#include "metrics/counts.hpp"
#include "metrics/curves.hpp"
#include "metrics/matrices.hpp"
#include "metrics/mean.hpp"
#include "metrics/ranking.hpp"
#include "metrics/thresholds.hpp"

namespace slim::metrics {

/// A metric that outlives it, as a number that can be asked for and begun anew.
class metric_ref {
 public:
  template <class Metric>
  metric_ref(Metric& m) : value_([&m] { return m.value(); }), reset_([&m] { m.reset(); }) {}
  double value() const { return value_(); }
  void reset() const { reset_(); }

 private:
  std::function<double()> value_;
  std::function<void()> reset_;
};

/// Metrics by name, for an evaluation's final values and its beginning.
class metric_map {
 public:
  metric_map(std::map<std::string, metric_ref> metrics) : metrics_(std::move(metrics)) {}
  std::map<std::string, double> values() const {
    std::map<std::string, double> all;
    for (const auto& [name, m] : metrics_) all[name] = m.value();
    return all;
  }
  void reset() const {
    for (const auto& [name, m] : metrics_) m.reset();
  }

 private:
  std::map<std::string, metric_ref> metrics_;
};

inline metric_map aggregate_metric_map(std::map<std::string, metric_ref> metrics) {
  return {std::move(metrics)};
}

/// The values of several, in their order.
template <class... Metric>
std::array<double, sizeof...(Metric)> aggregate_metrics(const Metric&... m) {
  static_assert(sizeof...(Metric) > 0, "aggregate_metrics: no metrics are given");
  return {m.value()...};
}

}  // namespace slim::metrics
