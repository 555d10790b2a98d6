"""The project's keys in the metadata of an ONNX model."""

METADATA_PREPROCESSING = "mpq_onnx.preprocessing"
"""How raw samples become the model's input: a query string such as layout=nhwc&mean=...&std=..."""
METADATA_TASK = "mpq_onnx.task"
"""What the outputs mean; a name in tasks.TASKS."""
METADATA_LABELS = "mpq_onnx.labels"
"""Names of the classes, a JSON list."""
METADATA_TOKENIZER = "mpq_onnx.tokenizer"
"""The tokenizer of a text model, as a tokenizer.json holds it."""
METADATA_TABLES = "mpq_onnx.tables"
"""Rows of every embedding table of a recommendation model, a JSON list."""
MODEL_FACTS = (
    METADATA_PREPROCESSING,
    METADATA_TASK,
    METADATA_LABELS,
    METADATA_TOKENIZER,
    METADATA_TABLES,
)
"""What a source says about its model; it goes with the model through every command."""
METADATA_SOURCE = "mpq_onnx.source"
METADATA_SOURCE_PRODUCER = "mpq_onnx.source_producer"
"""Who wrote the model before this project quantized it or made it noisy."""
METADATA_ALLOCATION = "mpq_onnx.allocation"
"""The allocation (JSON) that a quantized file was made by."""
METADATA_PROVENANCE = "mpq_onnx.provenance"
"""Data, accuracy and versions behind a result (JSON), for its card."""
METADATA_ENERGY = "mpq_onnx.energy"
"""The energy allocation (JSON) that a noisy file was made by."""
