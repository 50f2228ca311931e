// One net on the GPU: forward passes, or steps of training with momentum, images on the device.
//
//   gpu vgg_16 256 step bfloat16 [--plans FILE] [--profile]
//
// Serves bench/rivals/gpu/run.py: prints `ready ...`, then for every line `run` the milliseconds of
// a call.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "gpu_net.hpp"

int main(int argc, char** argv) {
  using namespace slim_bench;
  if (argc < 5) {
    std::fprintf(stderr, "usage: %s NET BATCH forward|step PRECISION [--plans FILE] [--profile]\n",
                 argv[0]);
    return 2;
  }
  gpu_case c;
  c.batch = std::atoi(argv[2]);
  c.step = std::strcmp(argv[3], "step") == 0;
  c.precision = argv[4];
  for (int i = 5; i < argc; ++i) {
    if (std::strcmp(argv[i], "--profile") == 0) c.profile = true;
    if (std::strcmp(argv[i], "--plans") == 0 && i + 1 < argc) c.plans = argv[++i];
  }
  const struct {
    const char* name;
    gpu_entry run;
  } nets[] = {{"vgg_16", &vgg_16}, {"resnet_v1_50", &resnet_v1_50}, {"lenet", &lenet}};
  try {
    for (const auto& net : nets)
      if (std::strcmp(net.name, argv[1]) == 0 && net.run(c)) return 0;
    std::fprintf(stderr, "%s %s %s %s: no such case was compiled\n", argv[1], argv[2], argv[3],
                 argv[4]);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
  }
  return 2;
}
