#!/bin/sh
# Processor time of `ogive check` and `ogive cost` on MoEUT-244M, in milliseconds a run: the whole process, from its start to its end.
# Usage: specs/bench/check_and_cost.sh [PROGRAM [RUNS]]
set -eu
cd "$(dirname "$0")/../.."
program=${1:-target/release/ogive}
runs=${2:-20}
spec=specs/papers/experts/moeut.arch

# The last line of `times` is user and system time of all children so far.
measure() {
  (
    i=0
    while [ "$i" -lt "$runs" ]; do
      "$program" "$@" >/dev/null 2>&1
      i=$((i + 1))
    done
    times
  ) | awk -v runs="$runs" -v what="$*" 'END {
    total = 0
    for (i = 1; i <= 2; i++) { split($i, t, /[ms]/); total += 60 * t[1] + t[2] }
    printf "%6.1f ms  ogive %s\n", 1000 * total / runs, what
  }'
}

measure check "$spec"
measure cost "$spec" --of moeut_244m
