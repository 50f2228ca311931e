// A wish to stop that comes as a signal.
#pragma once

#include <csignal>

namespace slim::learning {

/// While one lives, SIGINT and SIGTERM do not end the program but are remembered. One at a time.
class stop_signal {
 public:
  stop_signal() {
    seen() = 0;
    struct sigaction action {};
    action.sa_handler = [](int number) { seen() = number; };
    sigaction(SIGINT, &action, &interrupt_);
    sigaction(SIGTERM, &action, &terminate_);
  }
  stop_signal(const stop_signal&) = delete;
  stop_signal& operator=(const stop_signal&) = delete;
  ~stop_signal() {
    sigaction(SIGINT, &interrupt_, nullptr);
    sigaction(SIGTERM, &terminate_, nullptr);
  }
  /// Whether one came.
  bool wanted() const { return seen() != 0; }

 private:
  static volatile std::sig_atomic_t& seen() {
    static volatile std::sig_atomic_t number = 0;
    return number;
  }
  struct sigaction interrupt_ {
  }, terminate_{};
};

}  // namespace slim::learning
