// Runs the tests of gpu_test.cpp, or says why they are skipped: there is no GPU.
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include <cstdio>

#include <slim/error.hpp>
#include <slim/gpu.hpp>

int main(int argc, char** argv) {
  try {
    slim::cuda::make_accelerator(slim::cuda::math::exact, 0);
  } catch (const slim::error& e) {
    std::printf("skipped: %s\n", e.what());
    return 77;
  }
  return Catch::Session().run(argc, argv);
}
