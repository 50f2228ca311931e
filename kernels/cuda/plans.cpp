#include "plans.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace slim::cuda {
namespace {

/// Two events around work.
class stopwatch {
 public:
  /// Milliseconds of what a function starts on the stream.
  template <class Work>
  double time(stream& s, const std::string& name, Work work) {
    check(cudaEventRecord(begin_.get(), s.handle), "cudaEventRecord");
    work();
    check(cudaEventRecord(end_.get(), s.handle), "cudaEventRecord");
    check(cudaEventSynchronize(end_.get()), name.c_str());
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin_.get(), end_.get()), "cudaEventElapsedTime");
    return double(milliseconds);
  }

 private:
  owned_event begin_ = make_event(cudaEventDefault), end_ = make_event(cudaEventDefault);
};

/// Milliseconds of one run: the least of some, for others only add to it. What is much slower than
/// the best so far is given up early. The rest is recorded and replayed, as it will run, what is short
/// some times over: started one by one, it would only show how fast this thread starts it.
double time_of(stream& s, const candidate& way, const operands& o, double best) {
  // Memory of its own: what many are tried with is not held for the one that is chosen.
  const owned_memory workspace =
      way.workspace == 0 ? nullptr : make_memory(way.workspace, "scratch memory");
  const auto run = [&] { way.run(o, workspace.get()); };
  stopwatch watch;
  watch.time(s, way.name, run);  // loads its code
  const double once = watch.time(s, way.name, run);
  constexpr double start_takes = 0.1;  // milliseconds
  if (once > 2 * best + start_takes) return once;
  const int runs = once > 5 * start_takes ? 1 : 10;
  const owned_recording recorded = record(s, [&] {
    for (int i = 0; i < runs; ++i) run();
  });
  double least = once;
  for (int i = 0; i < 4; ++i) {
    const double all = watch.time(s, way.name, [&] {
      check(cudaGraphLaunch(recorded.get(), s.handle), "cudaGraphLaunch");
    });
    least = std::min(least, all / runs);
  }
  return least;
}

}  // namespace

/// To be raised when there are new ways, or ways give other bits: then choices are made again.
constexpr int kernels_version = 7;

plan_book::plan_book(const std::string& device)
    : kept_(std::make_shared<kept_choices>(device + ", kernels " + std::to_string(kernels_version) +
                                           ", cuBLASLt " +
                                           std::to_string(cublasLtGetVersion()) + ", cuDNN " +
                                           std::to_string(cudnn_version()))) {}
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
  const auto named = [&](const std::string& name) {
    return std::find_if(candidates.begin(), candidates.end(),
                        [&](const candidate& way) { return way.name == name; });
  };
  const std::optional<std::string> kept = kept_->find(key);
  if (kept)
    if (const auto way = named(*kept); way != candidates.end()) return {std::move(*way), 0};
  if (candidates.size() == 1) return {std::move(candidates.front()), 0};
  const candidate* best = nullptr;
  double least = 1e30;
  std::string fault;
  for (const candidate& way : candidates) {
    try {
      const double milliseconds = time_of(s, way, o, least);
      if (best == nullptr || milliseconds < least) best = &way, least = milliseconds;
    } catch (const error& e) {  // a plan that does not run here
      fault = e.what();
      cudaGetLastError();
    }
  }
  if (best == nullptr) throw error("CUDA: no kernel runs for " + key + ": " + fault);
  const auto settled = named(kept_->settle(key, best->name, least, kept));
  return {settled == candidates.end() ? *best : *settled, least};
}

std::optional<std::string> kept_choices::find(const std::string& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = names_.find(key);
  return found == names_.end() ? std::nullopt : std::optional(found->second);
}

std::string kept_choices::settle(const std::string& key, const std::string& name,
                                 double milliseconds,
                                 const std::optional<std::string>& in_place_of) {
  const std::lock_guard lock(mutex_);
  const auto [choice, is_new] = names_.emplace(key, name);
  if (!is_new && choice->second != in_place_of) return choice->second;
  choice->second = name;
  if (file_.empty()) return name;
  std::ofstream out(file_, std::ios::app);
  if (!headed_) out << "# " << made_for_ << '\n';
  headed_ = true;
  out << key << '\t' << name << '\t' << milliseconds << '\n';
  if (!out.flush()) throw error(file_ + ": cannot be written");
  return name;
}

void kept_choices::keep_in(const std::string& file) {
  const std::lock_guard lock(mutex_);
  file_ = file, headed_ = false;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("# ")) {
      headed_ = line.substr(2) == made_for_;
      continue;
    }
    const auto first = line.find('\t'), second = line.find('\t', first + 1);
    if (first == std::string::npos || second == std::string::npos)
      throw error(file + ": is no file of plans: " + line);
    if (headed_) names_[line.substr(0, first)] = line.substr(first + 1, second - first - 1);
  }
  if (!std::ofstream(file, std::ios::app)) throw error(file + ": cannot be written");
}

std::string plan_book::report() const {
  std::ostringstream text;
  for (const auto& [key, c] : chosen_)
    text << key << ": " << c.way.name << ", " << c.milliseconds << " ms\n";
  return text.str();
}

}  // namespace slim::cuda
