// How a training run says how far it is. The library writes nothing unless it is given one of
// these.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>

#include <unistd.h>

namespace slim::learning {

/// A step that was taken.
struct step_report {
  std::int64_t step;   ///< the global step behind it
  double loss;         ///< before it
  double seconds;      ///< it took, with its input
  int examples;        ///< in its batch
  std::int64_t first;  ///< the global step at which this run began
  std::int64_t last;   ///< at which it ends; 0: nobody knows
  double elapsed;      ///< seconds since the run began
};

/// Hears of a run.
struct progress {
  virtual ~progress() = default;
  /// Of the steps that log_every_n_steps asks for.
  virtual void step(const step_report& report) = 0;
  /// Of all else: checkpoints, the end.
  virtual void note(const std::string& text) = 0;
};

/// Lines as TF-Slim logs them: step, loss, seconds a step.
class line_progress : public progress {
 public:
  explicit line_progress(std::FILE* out = stderr) : out_(out) {}
  void step(const step_report& r) override {
    std::fprintf(out_, "global step %lld: loss = %.4f (%.3f sec/step)\n",
                 static_cast<long long>(r.step), r.loss, r.seconds);
  }
  void note(const std::string& text) override { std::fprintf(out_, "%s\n", text.c_str()); }

 private:
  std::FILE* out_;
};

/// A bar on a terminal, rewritten at most ten times a second; lines where the output is none.
class console_progress : public progress {
 public:
  explicit console_progress(std::FILE* out = stderr)
      : out_(out), lines_(out), terminal_(isatty(fileno(out)) != 0) {}

  void step(const step_report& r) override {
    if (!terminal_) return lines_.step(r);
    if (r.elapsed - shown_ < 0.1 && r.step != r.last) return;
    shown_ = r.elapsed;
    const double done = static_cast<double>(r.step - r.first);
    const double rate = r.elapsed > 0 ? done / r.elapsed : 0;
    std::fprintf(out_, "\r%s step %lld  loss %.4f  %.0f images/s%s\033[K", bar(r).c_str(),
                 static_cast<long long>(r.step), r.loss, rate * r.examples,
                 remaining(r, rate).c_str());
    std::fflush(out_);
    open_ = true;
  }
  void note(const std::string& text) override {
    if (open_) std::fprintf(out_, "\n");
    open_ = false;
    lines_.note(text);
  }

 private:
  static std::string bar(const step_report& r) {
    constexpr int width = 24;
    if (r.last <= r.first) return "";
    const double part =
        static_cast<double>(r.step - r.first) / static_cast<double>(r.last - r.first);
    const int full = static_cast<int>(std::clamp(part, 0.0, 1.0) * width);
    return "[" + std::string(static_cast<std::size_t>(full), '=') +
           std::string(static_cast<std::size_t>(width - full), ' ') + "]";
  }
  static std::string remaining(const step_report& r, double rate) {
    if (r.last <= r.step || rate <= 0) return "";
    const auto s = static_cast<long long>(static_cast<double>(r.last - r.step) / rate);
    char text[48];
    std::snprintf(text, sizeof text, "  %lld:%02lld left", s / 60, s % 60);
    return text;
  }

  std::FILE* out_;
  line_progress lines_;
  bool terminal_, open_ = false;
  double shown_ = -1;
};

}  // namespace slim::learning
