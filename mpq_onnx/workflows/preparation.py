"""What calibrate, allocate and apply have in common: the canonical model, its data, its sites and its calibration."""

import os
from dataclasses import dataclass

import onnx_ir as ir

from mpq_onnx.calibration import Calibration, load_calibration
from mpq_onnx.datasets import Dataset, open_dataset
from mpq_onnx.errors import AllocationError, DataError, UsageError, check_choice
from mpq_onnx.metadata import METADATA_ALLOCATION
from mpq_onnx.model_file import clone, fingerprint, load_model
from mpq_onnx.model_inputs import model_inputs
from mpq_onnx.observers import OBSERVERS
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.placement import PLACEMENTS, find_sites
from mpq_onnx.runtime.calibration import calibrate
from mpq_onnx.runtime.tensors import tensor_shapes


@dataclass(frozen=True)
class FloatModel:
    """A canonical float model from a file."""

    path: str
    model: ir.Model

    def open_data(self, spec: str) -> Dataset:
        """The data set `spec`, read as the model's metadata says."""
        return open_dataset(spec, model_inputs(self.model), self.model.metadata_props)


def load_float_model(path: str | os.PathLike[str]) -> FloatModel:
    """Read a model and bring it into canonical form (a file that export wrote stays as it is).

    Raises:
        ModelError: not a model, or one that is quantized already.
    """
    model = load_model(path)
    if METADATA_ALLOCATION in model.metadata_props:
        raise UsageError(f"{path}: is quantized already; give the float model that it was made from")
    return FloatModel(str(path), canonicalize(clone(model)))


def check_fingerprint(fingerprint_found: str, float_model: FloatModel, where: str) -> None:
    """Raise AllocationError unless an allocation's model (a fingerprint) is `float_model`; `where` names the allocation."""
    own = fingerprint(float_model.model)
    if fingerprint_found != own:
        raise AllocationError(
            f"{where}: belongs to another model than {float_model.path} (fingerprints {fingerprint_found[:12]} and"
            f" {own[:12]}); allocate for this model"
        )


def measure_calibration(
    float_model: FloatModel, dataset: Dataset, observer: str, placement: str, device: str
) -> Calibration:
    """Calibrate on the whole of `dataset`."""
    check_choice("observer", observer, OBSERVERS)
    check_choice("placement", placement, PLACEMENTS)
    shapes = tensor_shapes(float_model.model, dataset, device)
    sites = find_sites(float_model.model, shapes, placement)
    return calibrate(
        float_model.model, [site.tensor for site in sites.activations], dataset, shapes, observer, device
    )


def read_calibration(path: str | os.PathLike[str], float_model: FloatModel) -> Calibration:
    """A saved calibration of this very model.

    Raises:
        DataError: not a calibration, or another model's.
    """
    calibration = load_calibration(path)
    if calibration.model != fingerprint(float_model.model):
        raise DataError(f"{path}: was made for another model than {float_model.path}; calibrate again")
    return calibration
