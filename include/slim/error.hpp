// The root of what slim throws at run time.
#pragma once

#include <stdexcept>

namespace slim {

/// A fault in files, data or devices.  The message names the file, variable or record and says what
/// was expected; the state before the failing call is intact.
struct error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace slim
