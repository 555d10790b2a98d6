"""What a quantized or noisy file cannot show by its graph: data, accuracy and versions behind it, kept in its metadata."""

import importlib.metadata
import json
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from mpq_onnx.graph.metadata import METADATA_PROVENANCE
from mpq_onnx.report.as_json import to_json

if TYPE_CHECKING:
    from mpq_onnx.runtime.evaluation import Evaluation

VERSIONED = ("mpq-onnx", "onnx", "onnxruntime-gpu", "onnxruntime", "torch", "numpy")


@dataclass(frozen=True)
class DataFacts:
    """One data set."""

    spec: str
    examples: int
    sha256: str
    """Over inputs and labels of all examples, in order."""


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from; None is what was not measured."""

    training: DataFacts | None
    """What calibration and training saw."""
    validation: DataFacts | None
    """What the candidates were chosen by, and the accuracy measured on."""
    accuracy: "Evaluation | None"
    uniform: "Evaluation | None" = None
    """Of the uniform allocation at the same budget."""
    uniform_whole: "Evaluation | None" = None
    """Of the whole width below it, where that allocation has a fractional one."""
    scaled_tensors: int | None = None
    """How many tensors had their channels scaled by equalization."""


def embed_provenance(model: ir.Model, provenance: Provenance) -> None:
    """Keep it in the model's metadata, with the versions of today."""
    document = json.loads(to_json(provenance))
    for evaluation in filter(None, (document["accuracy"], document["uniform"], document["uniform_whole"])):
        del evaluation["examples_per_second"]  # the same request makes the same file
    model.metadata_props[METADATA_PROVENANCE] = json.dumps({**document, "versions": versions()})


def read_provenance(model: ir.Model) -> dict[str, Any]:
    """What embed_provenance kept, of its own kind: the metadata of a file from elsewhere may hold anything."""
    try:
        found = json.loads(model.metadata_props.get(METADATA_PROVENANCE, "{}"))
    except ValueError:
        return {}
    kinds = {"scaled_tensors": int}
    named = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in named if isinstance(value, kinds.get(name, dict))}


def versions() -> dict[str, str]:
    """Of Python and the libraries that figures depend on."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
