#include "plans.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace slim::cuda {
namespace {

/// Two events around work.
class stopwatch {
 public:
  stopwatch() {
    check(cudaEventCreate(&begin_), "cudaEventCreate");
    check(cudaEventCreate(&end_), "cudaEventCreate");
  }
  stopwatch(const stopwatch&) = delete;
  stopwatch& operator=(const stopwatch&) = delete;
  ~stopwatch() { cudaEventDestroy(begin_), cudaEventDestroy(end_); }

  /// Milliseconds of a run, of so many in a row.
  double time(stream& s, const candidate& way, const operands& o, int runs) {
    void* workspace = s.scratch(way.workspace);
    check(cudaEventRecord(begin_, s.handle), "cudaEventRecord");
    for (int i = 0; i < runs; ++i) way.run(o, workspace);
    check(cudaEventRecord(end_, s.handle), "cudaEventRecord");
    check(cudaEventSynchronize(end_), way.name.c_str());
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    return double(milliseconds) / runs;
  }

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

/// Milliseconds of one run: the least of some, for others only add to it. What is much slower than
/// the best so far is given up early; what is short runs often, so that its launch does not count.
double time_of(stream& s, const candidate& way, const operands& o, double best) {
  stopwatch watch;
  watch.time(s, way, o, 1);  // loads its code
  const double once = watch.time(s, way, o, 1);
  if (once > 2 * best + 0.1) return once;
  const int runs = std::clamp(static_cast<int>(0.2 / once), 1, 20);
  double least = once;
  for (int i = 0; i < 3; ++i) least = std::min(least, watch.time(s, way, o, runs));
  return least;
}

}  // namespace

plan_book::plan_book() = default;
plan_book::~plan_book() {
  chosen_.clear();
  destroy_cudnn(cudnn);
}

void plan_book::run(stream& s, const std::string& key, const operands& o,
                    const std::function<std::vector<candidate>()>& make) {
  auto found = chosen_.find(key);
  if (found == chosen_.end()) {
    if (s.recording()) throw error("CUDA: no plan was made for " + key);
    found = chosen_.emplace(key, fastest(s, key, o, make())).first;
  }
  const candidate& way = found->second.way;
  way.run(o, s.scratch(way.workspace));
}

plan_book::choice plan_book::fastest(stream& s, const std::string& key, const operands& o,
                                     std::vector<candidate> candidates) {
  if (candidates.empty()) throw error("CUDA: there is no kernel for " + key);
  if (const auto kept = kept_.find(key); kept != kept_.end())
    for (candidate& way : candidates)
      if (way.name == kept->second) return {std::move(way), 0};
  if (candidates.size() == 1) return {std::move(candidates.front()), 0};
  choice best;
  std::string fault;
  for (candidate& way : candidates) {
    try {
      const double milliseconds = time_of(s, way, o, best.way.run ? best.milliseconds : 1e30);
      if (!best.way.run || milliseconds < best.milliseconds) best = {std::move(way), milliseconds};
    } catch (const error& e) {  // a plan that does not run here
      fault = e.what();
      cudaGetLastError();
    }
  }
  if (!best.way.run) throw error("CUDA: no kernel runs for " + key + ": " + fault);
  if (!file_.empty())
    std::ofstream(file_, std::ios::app)
        << key << '\t' << best.way.name << '\t' << best.milliseconds << '\n';
  return best;
}

void plan_book::keep_in(const std::string& file) {
  file_ = file;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const auto first = line.find('\t'), second = line.find('\t', first + 1);
    if (first == std::string::npos || second == std::string::npos)
      throw error(file + ": is no file of plans: " + line);
    kept_[line.substr(0, first)] = line.substr(first + 1, second - first - 1);
  }
}

void plan_book::follow(const plan_book& other) {
  kept_ = other.kept_;
  for (const auto& [key, c] : other.chosen_) kept_[key] = c.way.name;
}

std::string plan_book::report() const {
  std::ostringstream text;
  for (const auto& [key, c] : chosen_)
    text << key << ": " << c.way.name << ", " << c.milliseconds << " ms\n";
  return text.str();
}

}  // namespace slim::cuda
