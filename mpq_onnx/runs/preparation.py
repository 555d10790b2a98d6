"""What calibrate, allocate and apply have in common: the canonical model, its data, its sites and its calibration."""

import dataclasses
import functools
import os
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from mpq_onnx.arithmetic.quantization import ASYMMETRIC, SCHEMES
from mpq_onnx.datasets import Dataset, InMemory, open_dataset
from mpq_onnx.documents.calibration import Calibration
from mpq_onnx.equalization import DEPTHWISE
from mpq_onnx.errors import AllocationError, DataError, UsageError, check_choice
from mpq_onnx.graph.fingerprint import fingerprint
from mpq_onnx.graph.given_model import ModelSource, model_source
from mpq_onnx.graph.model_file import clone, load_model
from mpq_onnx.graph.model_inputs import model_inputs
from mpq_onnx.graph.placement import Shapes, Sites, find_sites
from mpq_onnx.graph.quantized_already import check_not_quantized
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.progress import begin
from mpq_onnx.registries import EQUALIZATIONS, OBSERVERS, PLACEMENTS
from mpq_onnx.runs.equalizing import equalize
from mpq_onnx.runs.source_notes import post_processing_notes, source_notes
from mpq_onnx.runtime.calibration import calibrate
from mpq_onnx.runtime.tensors import tensor_shapes


@dataclass(frozen=True)
class FloatModel:
    """A canonical float model from a file."""

    path: str
    model: ir.Model
    notes: tuple[str, ...] = ()
    """What canonical form changed beyond the way the file is written."""

    @functools.cached_property
    def fingerprint(self) -> str:
        """See fingerprint.fingerprint."""
        return fingerprint(self.model)

    def open_data(self, spec: str | InMemory) -> Dataset:
        """The data set `spec`, read as the model's metadata says."""
        return open_dataset(spec, model_inputs(self.model), self.model.metadata_props)


def load_float_model(path: ModelSource) -> FloatModel:
    """Read a model and bring it into canonical form (a file that export wrote stays as it is).

    Raises:
        ModelError: not a model, or one that is quantized already.
    """
    path = model_source(path)
    begin(f"read {path}")
    model = load_model(path)
    check_not_quantized(model, str(path))
    canonical = canonicalize(clone(model), str(path))
    return FloatModel(str(path), canonical, (*source_notes(model), *post_processing_notes(canonical)))


def check_fingerprint(fingerprint_found: str, float_model: FloatModel, where: str) -> None:
    """Raise AllocationError unless an allocation's model (a fingerprint) is `float_model`; `where` names the allocation."""
    own = float_model.fingerprint
    if fingerprint_found != own:
        raise AllocationError(
            f"{where}: belongs to another model than {float_model.path}, or was made by an earlier version (fingerprints"
            f" {fingerprint_found[:12]} and {own[:12]}); allocate for this model"
        )


@dataclass(frozen=True)
class CalibrationRules:
    """What a calibration depends on beside model and data."""

    observer: str = "mse"
    placement: str = "all"
    scheme: str = ASYMMETRIC
    equalization: str = DEPTHWISE

    def __post_init__(self) -> None:
        for name, choices in (
            ("observer", OBSERVERS),
            ("placement", PLACEMENTS),
            ("scheme", SCHEMES),
            ("equalization", EQUALIZATIONS),
        ):
            check_choice(name, getattr(self, name), choices)


def measure_calibration(
    float_model: FloatModel, dataset: Dataset, rules: CalibrationRules, device: str
) -> Calibration:
    """Calibrate on the whole of `dataset`; the ranges are those after equalization."""
    shapes = tensor_shapes(float_model.model, dataset, device)
    factors, scaled = equalize(rules.equalization, float_model.model, shapes, dataset, device)
    shapes = {**shapes, **_added_shapes(scaled, shapes)}
    tensors = [site.tensor for site in find_sites(scaled, shapes, rules.placement).activations]
    measured = calibrate(scaled, tensors, dataset, shapes, rules.observer, device, scheme=rules.scheme)
    return dataclasses.replace(
        measured,
        model=float_model.fingerprint,
        equalization=rules.equalization,
        channel_factors=factors,
    )


def _added_shapes(scaled: ir.Model, shapes: Shapes) -> Shapes:
    """Of products with factors, which equalization added: those of what they scale."""
    return {
        str(node.outputs[0].name): shapes[str(node.inputs[0].name)]  # type: ignore[union-attr]
        for node in scaled.graph
        if len(node.outputs) == 1 and node.outputs[0].name not in shapes and node.op_type == "Mul"
    }


def check_covers(calibration: Calibration, sites: Sites, where: str) -> None:
    """Raise DataError, naming the tensor, unless `calibration` has every activation of `sites`."""
    missing = [site.tensor for site in sites.activations if site.tensor not in calibration.tensors]
    if missing:
        raise DataError(f"{where}: the calibration has no range of {missing[0]}; calibrate again")


def check_measured_as(
    calibration: Calibration, where: str, *, observer: str, scheme: str, equalization: str
) -> None:
    """Raise UsageError unless a calibration was measured as it is wanted."""
    for name, was, wanted in (
        ("observer", calibration.observer, observer),
        ("activation-scheme", calibration.scheme, scheme),
        ("equalization", calibration.equalization, equalization),
    ):
        if was != wanted:
            raise UsageError(
                f"{where}: was measured with {name} {was}, not {wanted}; calibrate with that, or give {name} {was}"
            )


def read_calibration(path: str | os.PathLike[str], float_model: FloatModel) -> Calibration:
    """A saved calibration of this very model.

    Raises:
        DataError: not a calibration, or another model's.
    """
    calibration = Calibration.load(path)
    if calibration.model != float_model.fingerprint:
        raise DataError(
            f"{path}: was made for another model than {float_model.path}, or by an earlier version;"
            " calibrate again"
        )
    return calibration


def calibration_for(
    float_model: FloatModel,
    dataset: Dataset,
    rules: CalibrationRules,
    device: str,
    given: str | None,
    saved: Path,
) -> Calibration:
    """The one in the file `given`, or an interrupted run's in the file `saved`, or a new one, which is saved there.

    Raises:
        UsageError, DataError: the given one was measured otherwise, or of another model.
    """
    if given is not None:
        found = read_calibration(given, float_model)
        check_measured_as(
            found, given, observer=rules.observer, scheme=rules.scheme, equalization=rules.equalization
        )
        return found
    ranks = dataset.ranks
    if not ranks.first(saved.is_file):
        measured = measure_calibration(float_model, dataset, rules, device)
        ranks.first(lambda: measured.save(saved))
    return ranks.first(lambda: read_calibration(saved, float_model))
