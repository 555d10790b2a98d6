#!/bin/sh
# Exports a network, allocates its precision, gates on accuracy and size, and keeps the evaluation, the card and a hand-off folder,
# also of a network that misses a gate. Ends with a code other than 0 then; a CI job needs nothing more.
#
# gate.sh SOURCE TRAINING_DATA TEST_DATA OUTPUT
#   SOURCE         what `mpq-onnx export` takes: an ONNX file, torchvision:NAME, python:module:factory, ...
#   *_DATA         data specs (docs/data.md), such as npz:train.npz
# Environment: PREPROCESS (how stored images become inputs, such as layout=nhwc&mean=0.5&std=0.25; as the source says where it is
# not set), WEIGHT_BITS (3), ACTIVATION_BITS (8), ALLOCATE (further options of allocate), and the limits of judge.sh.
set -eu
source=$1 training=$2 test=$3 output=$4

mpq-onnx export "$source" -o "$output/float.onnx" ${PREPROCESS:+--preprocess "$PREPROCESS"}
# shellcheck disable=SC2086  # several options
mpq-onnx allocate "$output/float.onnx" --data "$training" --weight-bits "${WEIGHT_BITS:-3}" \
    --activation-bits "${ACTIVATION_BITS:-8}" --storage packed -o "$output/quantized" ${ALLOCATE:-}
exec sh "$(dirname "$0")/judge.sh" "$output/quantized/model.onnx" "$output/float.onnx" "$test" "$output"
