"""What every allocation leaves in its folder: the file with where it comes from, its card, the document, the configuration."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import onnx_ir as ir

from mpq_onnx.files import write_text
from mpq_onnx.graph.model_file import save_model
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.report.as_json import to_json
from mpq_onnx.report.card import Card, make_card
from mpq_onnx.report.card_text import write_card
from mpq_onnx.report.provenance import DataFacts, Provenance, embed_provenance
from mpq_onnx.runs.bench import CandidateResult, Choice, Document
from mpq_onnx.runs.configuration import configuration_text
from mpq_onnx.runs.run_folder import CALIBRATION_FILE, LOG_FILE, publish

ALLOCATION_FILE = "allocation.json"
ENERGY_FILE = "energy.json"
MODEL_FILE = "model.onnx"
RESULT_FILE = "result.json"
CONFIGURATION_FILE = "config.yaml"
CANDIDATES_FOLDER = "candidates"
OF_ONE_RESULT = (ALLOCATION_FILE, ENERGY_FILE, CALIBRATION_FILE, LOG_FILE)
"""Files that not every result has."""


@dataclass(frozen=True, kw_only=True)
class AllocationResult(Generic[Document]):
    """What was found and written."""

    folder: str
    model_path: str
    bytes: int
    chosen: CandidateResult[Document]
    uniform: CandidateResult[Document]
    """The baseline at the same budget: the most levels, or the energy, that it allows."""
    candidates: tuple[CandidateResult[Document], ...]
    """All that were measured, uniform first; `chosen` is the best of them (see runs.keeping)."""
    loses_to_uniform: bool
    """True when what the asked-for method found was worse than uniform, which is kept instead."""
    notes: tuple[str, ...] = ()
    """What is not as it was asked for, one line each."""


@dataclass(frozen=True)
class Sources:
    """The data behind a result."""

    data: str
    """Data spec."""
    training: TrainingData
    validation_spec: str | None
    """None where some of `data` was held out."""
    validation: TrainingData


class ResultFolder:
    """Files are written beside the progress of the run, and move to where they belong when all are whole."""

    def __init__(self, progress: Path, folder: Path) -> None:
        self.progress, self.folder, self.results = progress, folder, progress / "results"

    def write_model(
        self, graph: ir.Model, choice: Choice[Any], sources: Sources, scaled_tensors: int | None
    ) -> Card:
        """The file and its card; `scaled_tensors`: how many had their channels scaled by equalization."""
        whole = choice.uniform_whole
        provenance = Provenance(
            training=DataFacts(sources.data, len(sources.training), sources.training.sha256),
            validation=DataFacts(
                sources.validation_spec or sources.data, len(sources.validation), sources.validation.sha256
            ),
            accuracy=choice.kept.result.evaluation,
            uniform=choice.uniform.evaluation,
            uniform_whole=whole.evaluation if whole is not None else None,
            scaled_tensors=scaled_tensors,
        )
        embed_provenance(graph, provenance)
        self.bytes = save_model(graph, self.results / MODEL_FILE)
        card = make_card(graph, self.bytes)
        write_card(card, self.results)
        return card

    def write_configuration(self, options: Mapping[str, Any]) -> None:
        """What --config of another run takes."""
        write_text(self.results / CONFIGURATION_FILE, configuration_text(options))

    def found(self, choice: Choice[Any]) -> dict[str, Any]:
        """The fields that every AllocationResult has, but for the notes."""
        return {
            "folder": str(self.folder),
            "model_path": str(self.folder / MODEL_FILE),
            "bytes": self.bytes,
            "chosen": choice.kept.result,
            "uniform": choice.uniform,
            "candidates": choice.results,
            "loses_to_uniform": choice.loses_to_uniform,
        }

    def finish(self, result: AllocationResult[Any]) -> None:
        """Write the result, take the log along, and move everything into place."""
        log = self.progress / LOG_FILE
        if log.is_file():
            log.replace(self.results / LOG_FILE)
        write_text(self.results / RESULT_FILE, to_json(result) + "\n")
        written = {path.relative_to(self.results) for path in self.results.rglob("*") if path.is_file()}
        publish(self.results, self.folder)
        self._remove_earlier(written)

    def _remove_earlier(self, written: set[Path]) -> None:
        """Take away what an earlier result left that this one has not: a reader would mix the two."""
        candidates = self.folder / CANDIDATES_FOLDER
        earlier = [
            *(Path(name) for name in OF_ONE_RESULT),
            *(Path(CANDIDATES_FOLDER, path.name) for path in candidates.glob("*")),
        ]
        for path in earlier:
            if path not in written:
                (self.folder / path).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            candidates.rmdir()  # only if it is empty
