#!/bin/sh
# Front and middle under nvcc: networks, their facts, and every pass over 3,000 nodes. --full: the tests
# of networks, too.
set -eu
cd "$(dirname "$0")/.."
flags="-std=c++20 -x cu -Iinclude -Itests $(pkg-config --cflags eigen3)"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
units="bench/compile/shape_check.cpp tests/nvcc_passes.cpp"
if [ "${1:-}" = --full ]; then units="$units tests/network_test.cpp tests/nets_test.cpp"; fi
# shellcheck disable=SC2086
for unit in $units; do
  nvcc $flags -c "$unit" -o "$out/unit.o" || { echo "nvcc refuses $unit"; exit 1; }
done
