// A wish to stop that comes as a signal.
#pragma once

#include <array>
#include <csignal>

namespace slim::learning {

/// While one lives, the first SIGINT or SIGTERM does not end the program but is remembered; the
/// next does what it would have done without. One at a time.
class stop_signal {
 public:
  stop_signal() {
    seen() = 0;
    struct sigaction action {};
    action.sa_handler = [](int number) {
      seen() = number;
      sigaction(SIGINT, &before()[0], nullptr);
      sigaction(SIGTERM, &before()[1], nullptr);
    };
    action.sa_flags = SA_RESTART;  // no one's reading or writing fails for it
    sigaction(SIGINT, &action, &before()[0]);
    sigaction(SIGTERM, &action, &before()[1]);
  }
  stop_signal(const stop_signal&) = delete;
  stop_signal& operator=(const stop_signal&) = delete;
  ~stop_signal() {
    sigaction(SIGINT, &before()[0], nullptr);
    sigaction(SIGTERM, &before()[1], nullptr);
  }
  /// Whether one came.
  bool wanted() const { return seen() != 0; }

 private:
  static volatile std::sig_atomic_t& seen() {
    static volatile std::sig_atomic_t number = 0;
    return number;
  }
  /// The actions that were there: of SIGINT and of SIGTERM.
  static std::array<struct sigaction, 2>& before() {
    static std::array<struct sigaction, 2> actions{};
    return actions;
  }
};

}  // namespace slim::learning
