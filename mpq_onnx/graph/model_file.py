"""Reading and writing ONNX files as onnx_ir models, with the project's metadata keys."""

import hashlib
import os
import re
import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from mpq_onnx.errors import ModelError, deepest_line, first_line
from mpq_onnx.files import here, replacing, set_usual_mode
from mpq_onnx.graph.absent_inputs import drop_absent_inputs
from mpq_onnx.graph.absent_outputs import name_absent_outputs
from mpq_onnx.graph.constant_inputs import drop_constant_inputs
from mpq_onnx.graph.contributed import is_among_standard
from mpq_onnx.graph.fingerprint import all_nodes, fingerprint
from mpq_onnx.graph.fresh_names import fresh_name
from mpq_onnx.graph.given_model import GivenModel, ModelSource, model_source
from mpq_onnx.graph.model_checks import check_loaded
from mpq_onnx.graph.node_names import complete_names
from mpq_onnx.graph.operators import STANDARD_DOMAINS
from mpq_onnx.graph.output_shapes import state_output_shapes, state_scalars
from mpq_onnx.graph.quantized_tensors import mark_earlier_file
from mpq_onnx.graph.sparse_tensors import make_dense
from mpq_onnx.graph.unknown_lengths import open_unknown_lengths
from mpq_onnx.graph.weights_apart import hold_in_arrays, put_back, weights_apart
from mpq_onnx.graph.whole_images import give_axes
from mpq_onnx.graph.zip_map import drop_zip_maps

LARGEST_INLINE_BYTES = 1_900_000_000
"""protobuf ends at 2 GiB; above this the weights go to an external-data file."""
MODEL_SUFFIXES = (".onnx",)
DATA_SUFFIX = ".data"
DIGEST_LENGTH = 12
"""Hexadecimal digits of the content in the name of a data file."""

PASSED = "mpq_onnx.passed"
"""A domain that the checker does not know, and so lets pass."""
REPLACED = range(18, 21)
"""Opsets of the first GroupNormalization."""


def load_model(model: ModelSource) -> ir.Model:
    """Read an ONNX file, external data included, or a model in memory, after ONNX's own checker accepted it.

    Every node has a name of its own then, an axis of unknown length is open, however the exporter wrote that, and no input is a
    constant.

    Raises:
        ModelError: the file is missing, not ONNX, cut short, or breaks ONNX's rules.
    """
    path = model_source(model)
    file = path if isinstance(path, GivenModel) else str(here(path))
    if isinstance(file, str) and not os.path.isfile(file):  # noqa: PTH113 - any text, however long
        raise ModelError(f"{path}: no such file; give the path of an ONNX file")
    try:
        _check_rules(file)
        model = _read(file)
        drop_constant_inputs(model)
        open_unknown_lengths(model)
        check_loaded(model)
        drop_absent_inputs(all_nodes(model))
        complete_names(model)
        name_absent_outputs(model)
        mark_earlier_file(model)
        return model
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except onnx.checker.ValidationError as error:
        raise ModelError(f"{path}: not a valid ONNX model: {first_line(error)}") from error
    except Exception as error:  # protobuf and onnx_ir raise many kinds for a broken file
        raise ModelError(
            f"{path}: cannot be read as ONNX, perhaps truncated: {first_line(error)}; export it again"
        ) from error


def read_proto(path: str | GivenModel) -> onnx.ModelProto:
    """A copy of its own, weights in other files left there."""
    if isinstance(path, GivenModel):
        return onnx.load_model_from_string(path.content)
    return onnx.load(path, load_external_data=False)


def _check_rules(path: str | GivenModel) -> None:
    """ONNX's checker, with outputs that state no shape given theirs, but for operators that are read here all the same."""
    try:
        onnx.checker.check_model(path if isinstance(path, str) else path.proto)
    except onnx.checker.ValidationError:
        proto = read_proto(path)
        stated = state_output_shapes(proto)
        state_scalars(proto)
        opset = next((each.version for each in proto.opset_import if each.domain in STANDARD_DOMAINS), 1)
        passed = [node for node in proto.graph.node if _is_passed(node, opset)]
        if not stated and not passed:
            raise
        for node in passed:
            node.domain = PASSED
        proto.opset_import.append(onnx.helper.make_opsetid(PASSED, 1))
        onnx.checker.check_model(proto)


def _is_passed(node: onnx.NodeProto, opset: int) -> bool:
    """The first GroupNormalization, which was replaced but means what it meant; what onnxruntime puts beside ONNX's own."""
    is_replaced = (
        node.domain in STANDARD_DOMAINS and node.op_type == "GroupNormalization" and opset in REPLACED
    )
    return is_replaced or is_among_standard(node.domain, node.op_type, opset)


def _without_foreign_forms(path: str | GivenModel) -> onnx.ModelProto:
    """What onnx_ir has no form for, or no stage here, is put into another."""
    proto = read_proto(path)
    drop_zip_maps(proto)
    give_axes(proto)
    make_dense(proto)
    return proto


def _read(path: str | GivenModel) -> ir.Model:
    """The model of a file, weights in memory."""
    proto = _without_foreign_forms(path)
    state_output_shapes(proto)
    model = ir.from_proto(proto)
    if not isinstance(path, GivenModel):
        ir.external_data.set_base_dir(model.graph, Path(path).parent)
        model = ir.external_data.load_to_model(model)
    hold_in_arrays(model)
    return model


def save_model(model: ir.Model, path: str | os.PathLike[str]) -> int:
    """Write `model` to `path`, whole or not at all; weights over 1.9 GB go to a file of their own beside it.

    That file is named by its content, so that a model which is there already keeps its own until the new one is in place.

    Returns:
        The bytes written, external data included.
    """
    path = Path(path)
    if weight_bytes(model) > LARGEST_INLINE_BYTES:
        return _save_in_two(model, path)
    with replacing(path) as temporary:
        temporary.write_bytes(model_bytes(model))
    remove_stale_data(path, ())
    return path.stat().st_size


def _save_in_two(model: ir.Model, path: Path) -> int:
    """save_model with external data."""
    order = [name for graph in model.graphs() for name in graph.initializers]
    content = hashlib.sha256("\n".join([fingerprint(model), *order]).encode()).hexdigest()
    data = path.with_name(f"{path.name}.{content[:DIGEST_LENGTH]}{DATA_SUFFIX}")
    with replacing(path) as temporary, tempfile.TemporaryDirectory(dir=path.parent) as folder:
        work = Path(folder)
        ir.save(model, work / path.name, external_data=data.name)
        set_usual_mode(work / data.name)
        (work / data.name).replace(data)
        (work / path.name).replace(temporary)
    remove_stale_data(path, (data.name,))
    return path.stat().st_size + data.stat().st_size


def remove_stale_data(path: Path, kept: Collection[str]) -> None:
    """Remove the data files that save_model has left beside earlier models of this name, but for those named `kept`."""
    pattern = re.compile(rf"{re.escape(path.name)}\.[0-9a-f]{{{DIGEST_LENGTH}}}{re.escape(DATA_SUFFIX)}")
    for file in path.parent.iterdir():
        if file.name not in kept and pattern.fullmatch(file.name):
            file.unlink(missing_ok=True)


def external_files(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """The files beside an ONNX file that hold weights of it, in alphabetical order."""
    model = ir.from_proto(_without_foreign_forms(str(here(path))))
    tensors = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    tensors += [
        attribute.value
        for node in all_nodes(model)
        for attribute in node.attributes.values()
        if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref()
    ]
    names = {str(tensor.location) for tensor in tensors if isinstance(tensor, ir.ExternalTensor)}
    return tuple(here(path).parent / name for name in sorted(names))


def file_bytes(path: str | os.PathLike[str] | GivenModel) -> int:
    """Size of a model file with its external data, or of what one in memory takes as a file."""
    if isinstance(path, GivenModel):
        return len(path.content)
    return sum(file.stat().st_size for file in (here(path), *external_files(path)))


def model_bytes(model: ir.Model) -> bytes:
    """The serialized ModelProto."""
    return ir.serde.serialize_model(model).SerializeToString()


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all initializers."""
    return sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)


def clone(model: ir.Model) -> ir.Model:
    """An independent copy that passes may change; large weights are shared, they are immutable.

    Raises:
        ModelError: the model holds what ONNX has no form for, such as text that is not UTF-8.
    """
    try:
        stripped, apart = weights_apart(model, ir.Model.graphs)
        copy = ir.from_proto(ir.to_proto(stripped))
    except Exception as error:  # onnx_ir wraps whatever protobuf raises
        raise ModelError(
            f"the model cannot be written as ONNX: {deepest_line(error)}; export it again"
        ) from error
    put_back(copy, apart)
    return copy


def constant_array(value: ir.Value) -> np.ndarray:
    """The numpy array of an initializer.

    Raises:
        ModelError: the value is not constant.
    """
    if value.const_value is None:
        raise ModelError(f"tensor {value.name} is not a constant; run `mpq-onnx export` on the file first")
    return value.const_value.numpy()


def add_initializer(
    graph: ir.Graph, name: str, array: np.ndarray, dtype: ir.DataType | None = None
) -> ir.Value:
    """Register `array` (of `dtype` where numpy lacks it, such as UINT4) as an initializer of `graph`.

    It is called `name`, or something like it where the model has a value of that name.
    """
    name = fresh_name(graph, name)
    tensor = ir.Tensor(array, name=name, dtype=dtype) if dtype is not None else ir.tensor(array, name=name)
    value = ir.Value(
        name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value
