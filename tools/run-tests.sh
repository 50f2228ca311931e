#!/bin/bash
# Every test, with each compiler that is there, and under sanitizers. Ends with "N passed, N failed".
# Without --full what runs briefly is compiled at -O1, which takes a sixth less.
# --full adds what takes longer than continuous integration allows: unit tests with both compilers, with
# sanitizers and without, clang's large ones and examples, examples with --device gpu, networks' tests
# under nvcc, every header alone with g++, long tests, packages as their users see them, every benchmark,
# and all networks and optimizers beside the real TF-Slim.
set -u
cd "$(dirname "$0")/.."
sh tools/install-packages.sh || exit 1
full=false
[ "${1:-}" != --full ] || full=true
passed=0
failed=0
skipped=0
skipped_names=""

count() {  # name, exit status of one step that is a test by itself
  if [ "$2" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $1"; fi
}
skip() {
  skipped=$((skipped + 1))
  skipped_names="$skipped_names$1; "
}

# Configures build/$1 with the environment and options that follow, then runs meson's tests, which
# builds what they need.
suite() {  # folder, meson test arguments, environment..., -- meson options...
  local folder=build/$1 arguments=$2 environment=()
  shift 2
  while [ "$1" != -- ]; do environment+=("$1"); shift; done
  shift
  if [ ! -d "$folder" ]; then
    env "${environment[@]}" meson setup "$folder" -Dwerror=true "$@" >"$folder.log" 2>&1 || {
      tail -n 20 "$folder.log"
      count "configuring $folder" 1
      return
    }
  fi
  run_tests "$folder" "$arguments"
}

benchmarks() {  # folder: the programs under bench/ that are not built by default
  ninja -C "$1" -t targets all | sed -nE 's/^(bench\/[a-z0-9_]+): cpp_LINKER$/\1/p'
}

# What is built by default but for benchmarks, the probe of all networks, those that it alone has, and
# tests that run under sanitizers alone.
what_is_tested() {  # folder
  ninja -C "$1" build.ninja >/dev/null 2>&1  # to know today's targets
  ninja -C "$1" -t query all | sed -nE '/outputs:/q; s/^    ([^|].*)/\1/p' |
    grep -vE '^bench/|/(probe|libprobe_[a-z0-9_]*\.a)$|-prereq$' | grep -vxF "$(sanitized_alone "$1")"
}
sanitized_alone() {  # folder
  meson introspect "$1" --tests | python3 -c 'import json, os, sys
for test in json.load(sys.stdin):
  if "slim:sanitized-alone" in test["suite"]: print(os.path.relpath(test["cmd"][0], sys.argv[1]))' "$1"
}

build_all() {  # folder: all, with benchmarks in full, without warnings
  local targets
  if $full; then targets="all $(benchmarks "$1")"; else targets=$(what_is_tested "$1"); fi
  # shellcheck disable=SC2086
  ninja -C "$1" -j 2 $targets >"$1.log" 2>&1
  local built=$?
  count "building $1 without warnings" $built
  if [ $built != 0 ]; then grep -E "error|warning|FAILED" "$1.log" | head -n 20; fi
}

run_tests() {  # folder, meson test arguments
  local folder=$1 arguments=$2 start=$SECONDS
  echo "== $folder $arguments"
  # shellcheck disable=SC2086
  meson test -C "$folder" --num-processes 1 --print-errorlogs $arguments >"$folder.log" 2>&1
  grep -E "^ *[0-9]+/[0-9]+ " "$folder.log"
  grep -E "FAIL|TIMEOUT" -A 40 "$folder.log" | grep -vE "^ *[0-9]+/[0-9]+ " | head -n 60
  local ok bad out
  ok=$(sed -nE 's/^Ok: +([0-9]+).*/\1/p' "$folder.log")
  bad=$(sed -nE 's/^(Fail|Timeout|Unexpected Pass): +([0-9]+).*/\2/p' "$folder.log" | paste -sd+)
  out=$(sed -nE 's/^Expected Fail: +([0-9]+).*/\1/p' "$folder.log")
  echo "== $folder: $((SECONDS - start)) s"
  if [ -z "$ok" ]; then
    grep -E "error|warning|FAILED" "$folder.log" | head -n 20
    count "building and running the tests of $folder" 1
    return
  fi
  passed=$((passed + ok + ${out:-0}))
  failed=$((failed + $((${bad:-0}))))
  local name
  while read -r name; do skip "$name: see $folder/meson-logs/testlog.txt"; done < <(
    sed -nE 's/^ *[0-9]+\/[0-9]+ (.*[^ ]) +SKIP .*/\1/p' "$folder.log")
}

mkdir -p build
# GPU kernels are compiled with g++'s build wherever nvcc is; their tests run where a GPU is, and
# over an emulation.
gpu=-Dcuda=disabled
if command -v nvcc >/dev/null; then
  gpu="-Dcudnn_frontend=$(sh tools/cudnn-frontend.sh build/cudnn-frontend) -Dgpu_examples=$full"
else
  skip "GPU kernels: no nvcc"
fi
clang=$(command -v clang++-19 || command -v clang++ || true)
left_out="--no-suite conformance --no-suite conformance-quick"
# Without --full every header alone is clang's matter: it takes half of g++'s time. And no test runs
# both under sanitizers and without, but for kernels and `model`.
if ! $full; then
  left_out="$left_out --no-suite long --no-suite headers --no-suite packaging --no-suite sanitized-alone"
fi
optimization=1
if $full; then optimization=2; fi
# shellcheck disable=SC2086
suite release "$left_out" CXX=g++ -- -Doptimization=$optimization $gpu
build_all build/release
conformance=conformance-quick
if $full; then conformance=conformance; fi
run_tests build/release "--suite $conformance"
if [ -n "$clang" ]; then
  # The sanitized build below is clang's, too: without --full its tests run there alone, and all
  # others, examples and the README's snippets with g++ alone.
  clang_suites="--suite compile --suite headers --suite fuzz"
  if $full; then clang_suites=""; fi
  suite clang "$clang_suites" CXX="$clang" -- -Dconformance=disabled -Dcuda=disabled
else
  skip "tests with clang: no clang++"
fi
sanitized="--suite sanitized"
if $full; then sanitized="--suite unit --suite large"; fi
# clang compiles the sanitized tests three times as fast as g++.
suite sanitized "$sanitized" CXX="${clang:-g++}" -- -Db_sanitize=address,undefined -Db_lundef=false \
  -Doptimization=0 -Db_ndebug=false -Dbenchmarks=disabled -Dconformance=disabled -Dcuda=disabled
python3 bench/compile_time.py --check --repetitions 1 --compiler g++
count "compile-time budgets" $?
if command -v nvcc >/dev/null; then
  # shellcheck disable=SC2046
  sh tests/nvcc.sh $($full && echo --full)
  count "front and middle under nvcc" $?
else
  skip "front and middle under nvcc: no nvcc"
fi
[ -z "$skipped_names" ] || echo "skipped: $skipped_names"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
