#!/bin/sh
# Holds a finished file to limits, and keeps its evaluation, card and hand-off folder whatever comes out. Needs the light way to
# install alone (requirements-light.txt): no torch.
#
# judge.sh MODEL BASELINE TEST_DATA OUTPUT
#   MODEL, BASELINE  the file that is to be deployed, and the float one that it is compared with
#   TEST_DATA        a data spec (docs/data.md), such as npz:test.npz
# Environment: MIN_TOP1 (0.9), MIN_AGREEMENT (0.95), MAX_BYTES (no limit), HANDOFF (json).
# Ends with 1 where a gate fails, with 2 or 3 where something could not be done; what was written until then stays.
set -u
model=$1 baseline=$2 test=$3 output=$4
status=0

mkdir -p "$output"
mpq-onnx evaluate "$model" --data "$test" --baseline "$baseline" --json \
    --min "top1=${MIN_TOP1:-0.9}" --min "agreement=${MIN_AGREEMENT:-0.95}" --max "bytes=${MAX_BYTES:-1e18}" \
    > "$output/evaluation.json" || status=$?
mpq-onnx card "$model" > "$output/card.md" || status=$?
mpq-onnx handoff "$model" --to "${HANDOFF:-json}" --data "$test" -o "$output/handoff" || status=$?
exit "$status"
