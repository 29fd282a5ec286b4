#!/usr/bin/env bash
# Trains the sweeps behind a page of results and writes the page. Points that were finished before are kept.
#   specs/papers/results.sh formal-languages [FOLDER]
#   specs/papers/results.sh experts [FOLDER]
#   specs/papers/results.sh rtrl [FOLDER]
#   specs/papers/results.sh memory [FOLDER]
# OGIVE names the program; by default it is built from this tree.
set -euo pipefail
cd "$(dirname "$0")/../.."
page=${1:?which page: formal-languages, experts, rtrl or memory}
runs=${2:-runs/$page}
ogive() { if [ -n "${OGIVE:-}" ]; then "$OGIVE" "$@"; else cargo run --release --quiet -- "$@"; fi; }
# A claim that does not hold is a result too (exit code 7); anything else that is not 0 ends the work.
sweep() {
  local code=0
  ogive train "$1" --of "$2" --sweep --out "$runs/$2" || code=$?
  case $code in
    0 | 7) ;;
    *) echo "$2 of $1 was not trained: exit code $code" >&2; exit "$code" ;;
  esac
}
case $page in
  formal-languages)
    spec=specs/papers/fast_weights/formal_languages.arch
    sweep $spec fast_weights
    sweep $spec recurrent
    ogive report "$runs/fast_weights" "$runs/recurrent" --preface specs/papers/fast_weights/formal_languages.md \
      --metric longer.sequence_accuracy --metric validation.sequence_accuracy --metric test.sequence_accuracy -o "docs/results/$page.md"
    ;;
  experts)
    spec=specs/papers/pairs.arch
    folders=()
    for part in gates balanced product_keys heads sharing; do
      sweep $spec $part
      folders+=("$runs/$part")
    done
    ogive report "${folders[@]}" --preface specs/papers/experts/pairs.md --metric validation.bits_per_byte \
      --metric validation.routing_entropy --metric validation.routing_dead -o "docs/results/$page.md"
    ;;
  rtrl)
    spec=specs/papers/rtrl/online.arch
    folders=()
    for part in recall copy longer_copy cells; do
      sweep $spec $part
      folders+=("$runs/$part")
    done
    ogive report "${folders[@]}" --preface specs/papers/rtrl/online.md --metric validation.accuracy --metric validation.loss \
      -o "docs/results/$page.md"
    memory=$(OGIVE=${OGIVE:-target/release/ogive} specs/papers/rtrl/memory.sh "$runs/endless")
    printf '\n## endless\n\nA process that learns online with real-time recurrent learning, while the stream goes on.\n\n%s\n' "$memory" \
      >> "docs/results/$page.md"
    ;;
  memory)
    folders=()
    for part in capacity/capacity capacity/noisy_cues capacity/overwriting feature_maps/maps geometry/geometry recovery/recovery scaffold/scaffold; do
      sweep specs/papers/memory/${part%/*}.arch ${part#*/}
      folders+=("$runs/${part#*/}")
    done
    ogive report "${folders[@]}" --preface specs/papers/memory/memory.md --against pairs --against writes --against noise --against gain \
      --metric validation.recalled --metric validation.error --metric validation.off --metric validation.overlap \
      --metric validation.old --metric validation.new -o "docs/results/$page.md"
    ;;
  *) echo "there is no page $page" >&2; exit 2 ;;
esac
