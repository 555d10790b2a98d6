"""onnxruntime sessions: device, optimization level, fixed batch sizes, errors in one line."""

import contextlib
import copy
import ctypes
import functools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from mpq_onnx.errors import DataError, ModelError, UsageError, first_line
from mpq_onnx.files import here
from mpq_onnx.graph.absent_inputs import lists_absent_inputs
from mpq_onnx.graph.class_names import class_names, class_numbers
from mpq_onnx.graph.example_layout import joined_batches
from mpq_onnx.graph.given_model import GivenModel
from mpq_onnx.graph.model_file import (
    LARGEST_INLINE_BYTES,
    load_model,
    model_bytes,
    read_proto,
    save_model,
    weight_bytes,
)
from mpq_onnx.graph.model_inputs import example_axes
from mpq_onnx.graph.weights_apart import weights_apart
from mpq_onnx.graph.whole_images import has_whole_images
from mpq_onnx.graph.zip_map import has_zip_maps
from mpq_onnx.progress import warn
from mpq_onnx.registries import DEVICES
from mpq_onnx.threads import wanted_threads

QUIET = 4
"""onnxruntime's log severity "fatal": errors are raised as well, and the command line says them in one line."""

MATMUL_ACCURACY, FLOAT32_COMPUTE = "session.qdq_matmulnbits_accuracy_level", "1"
"""By default onnxruntime quantizes the float input of a MatMul with quantized weights to 8 bits on the fly."""
UNFAITHFUL_OPTIMIZERS = ["WeightBiasQuantization"]
"""It quantizes float weights to 8 bits wherever activations are quantized: the file would not run as it was allocated."""
CUDA_PROVIDER, CPU_PROVIDER = "CUDAExecutionProvider", "CPUExecutionProvider"
EXACT_CUDA = {"use_tf32": "0"}
"""By default the CUDA provider rounds what it multiplies to the 10 bits of TF32."""
TEXT = "tensor(string)"
"""What onnxruntime calls the type of an output that is text."""
Provider = str | tuple[str, dict[str, str]]
"""An execution provider, with options where it has some."""


class Runner:
    """One model in one onnxruntime session."""

    def __init__(
        self,
        model: str | os.PathLike[str] | ir.Model | GivenModel,
        device: str = "auto",
        optimize: bool = True,
        where: str | None = None,
        threads: int = 0,
        kernel_times: str | None = None,
        lengths: Mapping[str, int] | None = None,
        by_default: bool = False,
    ) -> None:
        """Open a session.

        Args:
            model: a file, or a model in memory.
            device: auto, cpu or cuda.
            optimize: False switches all of onnxruntime's graph optimizations off.
            where: names the model in errors.
            threads: of one run on the CPU; 0 takes as many as OMP_NUM_THREADS says, which torch follows too, or one a core.
            kernel_times: the beginning of the path where session.end_profiling() writes the time of every kernel.
            lengths: of named open axes, which are fixed so: what depends on shapes alone is then computed once.
            by_default: leave on what would not run a file as it was allocated, as it is where nobody sets anything.

        Raises:
            ModelError: onnxruntime refuses the model.
            UsageError: CUDA was asked for and is not there.
        """
        self.run_options: ort.RunOptions | None = None
        self.where = where or ("the model" if isinstance(model, ir.Model) else str(model))
        options = ort.SessionOptions()
        options.log_severity_level = QUIET
        options.intra_op_num_threads = threads or wanted_threads()
        if kernel_times is not None:
            options.enable_profiling, options.profile_file_prefix = True, kernel_times
        if not by_default:
            options.add_session_config_entry(MATMUL_ACCURACY, FLOAT32_COMPUTE)
        for name, length in (lengths or {}).items():
            options.add_free_dimension_override_by_name(name, length)
        if not optimize:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        chosen = providers(device)
        try:
            with _loadable(model, options) as (source, self.weights):
                off = [] if by_default else UNFAITHFUL_OPTIMIZERS
                self.session = ort.InferenceSession(
                    source, options, providers=chosen, disabled_optimizers=off
                )
        except Exception as error:  # onnxruntime raises a class of its own per status code
            raise ModelError(f"{self.where}: onnxruntime cannot load it: {first_line(error)}") from error
        if len(chosen) > 1 and CUDA_PROVIDER not in self.session.get_providers():
            _say_on_cpu("onnxruntime cannot load the libraries of its CUDA provider")
        self.inputs = tuple(entry.name for entry in self.session.get_inputs())
        self.outputs = tuple(entry.name for entry in self.session.get_outputs())
        self.class_names = self._class_names(model)
        shapes = {entry.name: entry.shape for entry in self.session.get_inputs()}
        self.example_axes = dict(zip(shapes, example_axes(list(shapes.values())), strict=True))
        sizes = [
            shapes[name][axis]
            for name, axis in self.example_axes.items()
            if axis is not None and shapes[name]
        ]
        self.fixed_batch = next((size for size in sizes if isinstance(size, int) and size > 0), None)

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> list[np.ndarray]:
        """The outputs (all, in the order of `self.outputs`, by default) for a batch of any size, names of classes as numbers.

        A model with a fixed batch size is run as often as needed, its last batch filled up by repetition.

        Raises:
            DataError: onnxruntime refuses the inputs.
        """
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise DataError(
                f"{self.where}: has an input {missing[0]}, the data has {', '.join(feeds)}: another network?"
            )
        chosen = {name: feeds[name] for name in self.inputs}
        if not chosen:  # constants alone
            return self._run(chosen, outputs)
        if self.fixed_batch is None:
            return self._run(chosen, outputs)
        size = max(chosen[name].shape[axis] for name, axis in self.example_axes.items() if axis is not None)
        if size == self.fixed_batch:
            return self._run(chosen, outputs)
        parts = []
        for start in range(0, size, self.fixed_batch):
            picks = np.arange(start, start + self.fixed_batch).clip(max=size - 1)
            axes = self.example_axes
            part = {name: _take(array, picks, axes[name]) for name, array in chosen.items()}
            parts.append(self._run(part, outputs))
        return [joined_batches(arrays, self.fixed_batch, size) for arrays in zip(*parts, strict=True)]

    def paired(self, outputs: Sequence[str]) -> "Runner":
        """This model with its outputs in the order in which they are compared with another file's.

        Outputs of the same names are compared by name, others by place.

        Args:
            outputs: the other file's.
        """
        if sorted(outputs) != sorted(self.outputs):
            return self
        ordered = copy.copy(self)
        ordered.outputs = tuple(outputs)
        return ordered

    def _run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> list[np.ndarray]:
        try:
            found = self.session.run(
                self.outputs if outputs is None else outputs, dict(feeds), self.run_options
            )
        except Exception as error:
            raise DataError(
                f"{self.where}: onnxruntime cannot run on this data: {first_line(error)}"
            ) from error
        return [class_numbers(each, self.class_names) for each in found] if self.class_names else found

    def _class_names(self, model: str | os.PathLike[str] | ir.Model | GivenModel) -> tuple[str, ...]:
        """What outputs that are text name; empty where none is text, or nothing lists the names."""
        if all(entry.type != TEXT for entry in self.session.get_outputs()):
            return ()
        return class_names(model if isinstance(model, ir.Model) else load_model(model))


def _take(array: np.ndarray, picks: np.ndarray, axis: int | None) -> np.ndarray:
    return array if axis is None else np.take(array, picks, axis)


@contextlib.contextmanager
def _loadable(
    model: str | os.PathLike[str] | ir.Model | GivenModel, options: ort.SessionOptions
) -> Iterator[tuple[str | bytes, list[ort.OrtValue]]]:
    """What onnxruntime opens: a path, or a serialized model; one that protobuf cannot hold lies in a file for the moment.

    Large weights of a model in memory are not copied: `options` gets them, and they have to live as long as the session.
    """
    if not isinstance(model, ir.Model):
        source = model if isinstance(model, GivenModel) else str(here(model))
        proto = source.proto if isinstance(source, GivenModel) else read_proto(source)
        has_foreign_forms = lists_absent_inputs(proto) or has_zip_maps(proto) or has_whole_images(proto)
        if not has_foreign_forms:
            yield source.content if isinstance(source, GivenModel) else source, []
            return
        model = load_model(model)
    stripped, apart = weights_apart(model, lambda copy: [copy.graph])
    if weight_bytes(model) - sum(each.tensor.nbytes for each in apart) <= LARGEST_INLINE_BYTES:
        # Of an array that lies otherwise onnxruntime would make a copy of its own, and refuse it.
        arrays = (np.ascontiguousarray(each.tensor.numpy()) for each in apart)
        weights = [ort.OrtValue.ortvalue_from_numpy(array) for array in arrays]
        options.add_external_initializers([each.name for each in apart], weights)
        yield model_bytes(stripped), weights
        return
    with tempfile.TemporaryDirectory(prefix="mpq-onnx-") as folder:
        path = Path(folder) / "model.onnx"
        save_model(model, path)
        yield str(path), []


def providers(device: str) -> list[Provider]:
    """onnxruntime's execution providers for a device name.

    Where there is a CUDA device and onnxruntime has no provider for it, that of the CPU, and one line that says so: torch has
    its own way to the device (see runs.quantizing.torch_device).

    Raises:
        UsageError: an unknown device, or CUDA where there is none.
    """
    if device not in DEVICES:
        raise UsageError(f"device {device!r}: choose one of {', '.join(DEVICES)}")
    if device == "cpu" or (device == "auto" and not cuda_present()):
        return [CPU_PROVIDER]
    if not cuda_present():
        raise UsageError("device cuda: no CUDA device on this machine; use --device cpu")
    if CUDA_PROVIDER not in ort.get_available_providers():
        _say_on_cpu("this onnxruntime has no CUDA provider (onnxruntime-gpu has)")
        return [CPU_PROVIDER]
    _preload_cuda()
    return [(CUDA_PROVIDER, EXACT_CUDA), CPU_PROVIDER]


@functools.cache
def _say_on_cpu(reason: str) -> None:
    """Say it once, however many sessions are opened."""
    warn(f"NOTE: {reason}: it computes on the CPU, torch alone on the GPU")


@functools.cache
def cuda_present() -> bool:
    """True when the CUDA driver answers and counts at least one device."""
    try:
        driver = ctypes.CDLL("libcuda.so.1" if os.name == "posix" else "nvcuda.dll")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


@functools.cache
def _preload_cuda() -> None:
    """Let onnxruntime find the CUDA libraries that pip installed beside torch."""
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
