#!/bin/sh
# Exports a network, allocates its precision, gates on accuracy and size, and keeps the card and a hand-off folder.
# Any failed step or missed gate ends with a code other than 0; a CI job needs nothing more.
#
# gate.sh SOURCE TRAINING_DATA TEST_DATA OUTPUT
#   SOURCE         what `mpq-onnx export` takes: an ONNX file, torchvision:NAME, python:module:factory, ...
#   *_DATA         data specs (docs/data.md), such as npz:train.npz
# Environment: WEIGHT_BITS (3), ACTIVATION_BITS (8), MIN_TOP1 (0.9), MIN_AGREEMENT (0.95), MAX_BYTES (no limit), HANDOFF (json),
# ALLOCATE (further options of allocate).
set -eu
source=$1 training=$2 test=$3 output=$4

mpq-onnx export "$source" -o "$output/float.onnx"
# shellcheck disable=SC2086  # several options
mpq-onnx allocate "$output/float.onnx" --data "$training" --weight-bits "${WEIGHT_BITS:-3}" \
    --activation-bits "${ACTIVATION_BITS:-8}" --storage packed -o "$output/quantized" ${ALLOCATE:-}
mpq-onnx evaluate "$output/quantized/model.onnx" --data "$test" --baseline "$output/float.onnx" --json \
    --min "top1=${MIN_TOP1:-0.9}" --min "agreement=${MIN_AGREEMENT:-0.95}" --max "bytes=${MAX_BYTES:-1e18}" \
    > "$output/evaluation.json"
mpq-onnx card "$output/quantized/model.onnx" > "$output/card.md"
mpq-onnx handoff "$output/quantized/model.onnx" --to "${HANDOFF:-json}" --data "$test" -o "$output/handoff"
