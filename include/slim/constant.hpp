// A value as a type.
#pragma once

namespace slim {

/// How ops carry options that are the user's own, such as an activation.
template <auto V>
struct constant {
  using type = decltype(V);
  static constexpr auto value = V;
};

}  // namespace slim
