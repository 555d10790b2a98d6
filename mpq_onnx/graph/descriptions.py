"""What a node, or a model, says of its own precision to whoever opens the file in a viewer: metadata, and a doc string of it.

Nothing is read from here but by people: the documents in the model's metadata are what counts.
"""

import onnx_ir as ir

WEIGHT_BITS = "mpq_onnx.weight_bits"
OUTPUT_BITS = "mpq_onnx.output_bits"
QUANTIZER_BITS = "mpq_onnx.bits"
"""Of a node that is a part of a quantizer."""
ENERGY_PER_MAC = "mpq_onnx.energy_per_mac"
MODEL_BITS = "mpq_onnx.mean_bits"
"""Of a model; so is MODEL_NOISE."""
MODEL_NOISE = "mpq_onnx.noise"
WORDS = {
    WEIGHT_BITS: "weights", OUTPUT_BITS: "output", QUANTIZER_BITS: "quantizer", ENERGY_PER_MAC: "energy per MAC",
    MODEL_BITS: "precision", MODEL_NOISE: "noise",
}  # fmt: skip
"""What a line of a doc string begins with, in the order of the lines."""


def describe(subject: ir.Node | ir.Model, key: str, text: str) -> None:
    """Say `text` of it, in its metadata and in its doc string; other lines of the doc string stay."""
    subject.metadata_props[key] = text
    _write_lines(subject)


def take_back(subject: ir.Node | ir.Model, key: str) -> None:
    """Say no more what `describe` has said."""
    if subject.metadata_props.pop(key, None) is not None:
        _write_lines(subject)


def _write_lines(subject: ir.Node | ir.Model) -> None:
    said = [
        f"{word}: {subject.metadata_props[key]}"
        for key, word in WORDS.items()
        if key in subject.metadata_props
    ]
    beginnings = tuple(f"{word}: " for word in WORDS.values())
    others = [line for line in (subject.doc_string or "").splitlines() if not line.startswith(beginnings)]
    subject.doc_string = "\n".join([*said, *others]) or None
