"""What every allocation leaves in its folder: the file with where it comes from, its card, the document, the configuration."""

import dataclasses
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import onnx_ir as ir

from mpq_onnx.datasets import InMemory
from mpq_onnx.datasets.spec_paths import spec_by_name
from mpq_onnx.files import here, write_text
from mpq_onnx.graph.given_model import GivenModel
from mpq_onnx.graph.model_file import save_model
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.report.as_json import to_json
from mpq_onnx.report.card import Card, make_card
from mpq_onnx.report.card_text import write_card
from mpq_onnx.report.provenance import DataFacts, Provenance, embed_provenance
from mpq_onnx.runs.bench import CandidateResult, Choice, Document
from mpq_onnx.runs.configuration import configuration_text
from mpq_onnx.runs.earlier_results import ALLOCATE, check_free, left_by_earlier, remove
from mpq_onnx.runs.recorded_paths import recorded
from mpq_onnx.runs.result import Result
from mpq_onnx.runs.run_folder import LOG_FILE, PROGRESS_FOLDER, publish

ALLOCATION_FILE = "allocation.json"
ENERGY_FILE = "energy.json"
MODEL_FILE = "model.onnx"
RESULT_FILE = "result.json"
CONFIGURATION_FILE = "config.yaml"
CANDIDATES_FOLDER = "candidates"
DIGITAL_FOLDER = "digital"
"""Of an energy allocation that quantized a float model first."""


@dataclass(frozen=True, kw_only=True)
class AllocationResult(Result, Generic[Document]):
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

    data: str | InMemory
    """Data spec, or what a caller held."""
    training: TrainingData
    validation_spec: str | InMemory | None
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
            training=DataFacts(
                spec_by_name(str(sources.data)), len(sources.training), sources.training.sha256
            ),
            validation=DataFacts(
                spec_by_name(str(sources.validation_spec or sources.data)),
                len(sources.validation),
                sources.validation.sha256,
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

    def write_configuration(self, text: str) -> None:
        """What --config of another run takes (see folder_configuration)."""
        write_text(self.results / CONFIGURATION_FILE, text)

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

    def finish(self, result: AllocationResult[Any], kept: tuple[str, ...] = ()) -> None:
        """Write the result, take the log along, and move everything into place.

        Args:
            kept: folders of this result that are in place already.
        """
        log = self.progress / LOG_FILE
        if log.is_file():
            log.replace(self.results / LOG_FILE)
        in_file = dataclasses.replace(result, folder=".", model_path=MODEL_FILE)
        write_text(self.results / RESULT_FILE, to_json(in_file) + "\n")
        written = {path.relative_to(self.results) for path in self.results.rglob("*") if path.is_file()}
        earlier = left_by_earlier(here(self.folder))
        publish(self.results, self.folder)
        self._remove_earlier(earlier - {*kept}, written)

    def _remove_earlier(self, earlier: Set[str], written: set[Path]) -> None:
        """Take away what an earlier result left that this one has not: a reader would mix the two."""
        folder = here(self.folder)
        remove(folder, earlier - {path.parts[0] for path in written})
        if CANDIDATES_FOLDER in earlier:
            stale = (path.relative_to(folder) for path in (folder / CANDIDATES_FOLDER).glob("*"))
            remove(folder, {str(path) for path in stale if path not in written})


LEFT_OUT = "# What was in memory (a model, data) is left out.\n"
"""Begins the configuration of a run that nobody can tell from another one of the same options."""


def folder_configuration(options: Mapping[str, Any], folder: Path) -> str:
    """config.yaml of a result in `folder`; models and data in memory, which nothing can be read from, are left out."""
    files = {name: value for name, value in options.items() if not isinstance(value, InMemory | GivenModel)}
    left_out = LEFT_OUT if len(files) < len(options) else ""
    return left_out + configuration_text(recorded(files, folder))


def check_folder(folder: Path, configuration: str, overwrite: bool, resume: bool) -> None:
    """Raise UsageError where `folder` holds another result than one of this configuration, unless it is to be overwritten.

    Args:
        resume: an interrupted run there was allowed to begin, and goes on.
    """
    folder = here(folder)
    if not (resume and (folder / PROGRESS_FOLDER).is_dir()):
        check_free(folder, ALLOCATE, lambda: _holds(folder / CONFIGURATION_FILE, configuration), overwrite)


def _holds(path: Path, text: str) -> bool:
    if text.startswith(LEFT_OUT):
        return False
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False
