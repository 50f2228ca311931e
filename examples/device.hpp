// Where an example's models run: --device cpu or gpu. Programs built with the CUDA kernels know
// both.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include <slim/error.hpp>
#include <slim/model.hpp>
#ifdef SLIM_WITH_CUDA
#include <slim/gpu.hpp>
#endif

namespace examples {

inline void add_device(CLI::App& app, std::string& device) {
  app.add_option("--device", device, "cpu, or gpu, where it computes in bfloat16")
      ->check(CLI::IsMember({"cpu", "gpu"}))
      ->capture_default_str();
}

/// Calls f(a part of a model) for a device by this name.
template <class F>
void on_device(const std::string& device, F f) {
  if (device == "cpu") return f(slim::backend::cpu());
#ifdef SLIM_WITH_CUDA
  f(slim::gpu<slim::bfloat16>());
#else
  throw slim::error("--device gpu: this program was built without GPU kernels");
#endif
}

}  // namespace examples
