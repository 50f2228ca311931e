// What bench/gpu.cpp and its nets agree on.
#pragma once

#include <string>

namespace slim_bench {

/// A case and what becomes of it.
struct gpu_case {
  int batch = 1;
  bool step = false;
  bool profile = false;                       ///< a table of the steps' times, in place of serving
  std::string precision = "bfloat16", plans;  ///< plans: the file that keeps choices of kernels
};

/// Serves repetitions of a case on standard input (see bench/rivals/gpu/worker.py), or returns
/// false if it was not compiled.
using gpu_entry = bool (*)(const gpu_case&);
bool vgg_16(const gpu_case&);
bool resnet_v1_50(const gpu_case&);
bool lenet(const gpu_case&);

}  // namespace slim_bench
