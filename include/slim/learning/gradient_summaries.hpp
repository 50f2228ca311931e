// Gradients in TensorBoard's logs.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "gradients.hpp"

namespace slim::learning {

namespace detail {

/// A histogram of each gradient as histogram_tag(variable's name), and its 2-norm as norm_tag(it);
/// without a tag neither.
template <class Log, class Model, class HistogramTag, class NormTag>
void summarize_gradients(Log& log, Model& m, const std::vector<int>& variables, std::int64_t step,
                         HistogramTag histogram_tag, NormTag norm_tag) {
  for (const int v : variables) {
    const std::string name = m.variable_name(v);
    if (const std::string tag = histogram_tag(name); !tag.empty())
      log.add_histogram(tag, m.gradient(v), step);
    if (const std::string tag = norm_tag(name); !tag.empty())
      log.add_scalar(tag, std::sqrt(squared_gradient_norm(m.shared_runner(), v)), step);
  }
}

}  // namespace detail

/// TF-Slim's learning.add_gradients_summaries, of a train op's model as its last step left it:
/// <variable>/gradient, a histogram, and <variable>/gradient_norm. Throws as event_writer does.
template <class Log, class Op>
void add_gradients_summaries(Log& log, Op& op, std::int64_t step) {
  detail::summarize_gradients(
      log, op.model(), op.variables(), step, [](const std::string& n) { return n + "/gradient"; },
      [](const std::string& n) { return n + "/gradient_norm"; });
}

}  // namespace slim::learning
