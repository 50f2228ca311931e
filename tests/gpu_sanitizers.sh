#!/bin/sh
# compute-sanitizer over the tests of a GPU, each case by itself:
#   gpu_sanitizers.sh TOOL GPU_TEST [TESTS]     TOOL: memcheck, racecheck, initcheck or synccheck
# Prints a line for each case and the sums; fails if a case does or if the tool reports an error.
#
# racecheck looks at slim's kernels alone. Even so it cannot stand some of cuBLASLt's in bfloat16: a
# case in which the tool itself breaks is counted apart. initcheck does not see what cuBLASLt stores
# in bfloat16, and so reports reads of it; the hidden case "[.initcheck]" is one such product and a
# kernel that reads it, whose numbers are right.
set -u
tool=$1
program=$2
tests=${3:-}
options=""
[ "$tool" != racecheck ] || options="--kernel-name kns=slim"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
clean=0 reported=0 failed=0 broken=0
# Case names, in which a comma would part two of them.
# shellcheck disable=SC2086
"$program" --list-test-names-only "$tests" | sed 's/^ *//; s/,/\\,/g' >"$log.names"
while IFS= read -r name; do
  [ -n "$name" ] || continue
  # shellcheck disable=SC2086
  timeout 900 compute-sanitizer --tool "$tool" $options --print-limit 10 "$program" "$name" \
    >"$log" 2>&1 </dev/null
  if grep -q "Internal Sanitizer Error" "$log"; then
    broken=$((broken + 1)) verdict="the tool breaks"
  elif ! grep -q "^All tests passed" "$log"; then
    failed=$((failed + 1)) verdict=FAILED
  elif grep -qE "SUMMARY: 0 (errors|hazards)" "$log"; then
    clean=$((clean + 1)) verdict=clean
  else
    reported=$((reported + 1))
    verdict="REPORTED $(grep -oE ' at (void )?[A-Za-z_:<>]+' "$log" | sort | uniq -c | sort -rn | head -n 3 | tr '\n' ';')"
  fi
  echo "$tool: $name: $verdict"
done <"$log.names"
rm -f "$log.names"
echo "$tool: $clean clean, $reported reported, $failed failed; in $broken the tool broke"
[ $((reported + failed)) = 0 ]
