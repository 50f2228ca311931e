#!/bin/sh
# The CPU kernels compile for AArch64, without warnings. Skipped where there is no such compiler.
set -eu
cd "$(dirname "$0")/.."
compiler=aarch64-linux-gnu-g++
command -v $compiler >/dev/null || { echo "skipped: no $compiler"; exit 77; }
flags="-std=c++20 -DNDEBUG -Wall -Wextra -Werror -Iinclude"
eigen=$(pkg-config --cflags eigen3 | sed 's/-I/-isystem /g')
# shellcheck disable=SC2086
$compiler $flags $eigen -O1 -c tests/cpu_kernels_test.cpp -o /dev/null
# shellcheck disable=SC2086
$compiler $flags $eigen -fsyntax-only tests/memory_kernels_test.cpp
