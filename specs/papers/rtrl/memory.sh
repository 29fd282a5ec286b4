#!/usr/bin/env bash
# A table, in Markdown, of what a process holds while it learns online from a stream of a million positions.
#   specs/papers/rtrl/memory.sh FOLDER
# OGIVE names the program. The stream is that of the experiment `endless`.
set -euo pipefail
cd "$(dirname "$0")/../../.."
run=$1
if [ -e "$run" ] && [ ! -f "$run/metrics.jsonl" ]; then
  echo "$run is there and no folder of a run: name another" >&2
  exit 2
fi
rm -rf "$run"
${OGIVE:-target/release/ogive} train specs/papers/rtrl/online.arch --of endless --out "$run" --quiet > /dev/null &
pid=$!
trap 'kill $pid 2> /dev/null || true' EXIT
echo "| positions of each stream | resident memory |"
echo "| --- | --- |"
for positions in 256 1000 10000 100000 250000 500000 750000 990000; do
  while kill -0 $pid 2> /dev/null; do
    step=$(tail -c 400 "$run/metrics.jsonl" 2> /dev/null | grep -o '"step":[0-9]*,' | tail -n 1 | tr -dc 0-9 || true)
    if [ $((${step:-0} * 10)) -ge $positions ]; then
      echo "| $((step * 10)) | $(awk '/VmRSS/ { printf "%.1f MiB", $2 / 1024 }' /proc/$pid/status) |"
      break
    fi
    sleep 0.05
  done
done
wait $pid
trap - EXIT
echo "| $(grep -c . "$run/metrics.jsonl" | awk '{ print $1 * 10 }'), the end | |"
