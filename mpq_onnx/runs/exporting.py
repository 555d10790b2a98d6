"""export: any source -> one canonical float ONNX file, checked against the source."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from mpq_onnx.datasets import open_dataset
from mpq_onnx.datasets.preprocessing import parse_preprocessing
from mpq_onnx.datasets.spec import parse_options
from mpq_onnx.errors import ModelError, MpqOnnxError, UsageError, check_choice, first_names
from mpq_onnx.files import check_name, check_other_file
from mpq_onnx.graph.chance import ADVICE, drawing_nodes
from mpq_onnx.graph.given_model import ModelSource, model_source
from mpq_onnx.graph.metadata import METADATA_PREPROCESSING, METADATA_SOURCE, METADATA_TASK, MODEL_FACTS
from mpq_onnx.graph.model_file import MODEL_SUFFIXES, clone, save_model
from mpq_onnx.graph.model_inputs import fixed_batch, model_inputs
from mpq_onnx.graph.post_processing import post_processing
from mpq_onnx.graph.quantized_already import check_not_quantized
from mpq_onnx.graph.uncounted import bodies, multiplies
from mpq_onnx.passes.batch_in_reshapes import READINGS
from mpq_onnx.passes.canonicalize import canonicalize, canonicalize_for_any_batch
from mpq_onnx.passes.compute_in_float32 import PRECISION, converted_types
from mpq_onnx.passes.free_batch import name_batch
from mpq_onnx.passes.unroll_loops import is_loop, why_it_stays
from mpq_onnx.progress import begin
from mpq_onnx.report.left_out import left_out
from mpq_onnx.runs.arguments import check_seed, checked_arguments
from mpq_onnx.runs.fixed_values import fixed_values
from mpq_onnx.runs.result import Result
from mpq_onnx.runs.source_notes import post_processing_notes, source_notes
from mpq_onnx.runtime.agreement import LARGEST_DIFFERENCE, Agreement, agreement
from mpq_onnx.runtime.session import Runner
from mpq_onnx.runtime.tensors import with_tensors
from mpq_onnx.tasks import TASKS
from mpq_onnx.zoo import SourceOptions, open_source, source_name
from mpq_onnx.zoo.source import SEQUENCE_LENGTH, SourceModel

CHECK = "random?count=2&size=32"
CHECKS = (CHECK, "random?count=2&size=128", "random?count=2&size=576")
"""Tried one after the other where the user gives none: some networks cannot run on short inputs."""
BATCHES = 3
"""Of the source's size that a form for any batch is compared on, all at once."""
SHOWN_NODES = 3
ROUNDINGS = 32
"""Of a source in a type of few bits, in units of its precision: its outputs may be that far from float32's."""


@dataclass(frozen=True)
class ExportResult(Result):
    """What was written."""

    path: str
    nodes: int
    bytes: int
    largest_difference: float
    """Between the source's outputs and the file's, absolute, on the check's data."""
    largest_output: float
    fixed_batch: int | None
    """The one batch size that the model takes; None for any."""
    network_takes_any: bool
    """Whether the network in front of post-processing takes any; what allocate asks for."""
    metadata: dict[str, str]
    """What the file says about its model: preprocessing, task, ... (see metadata.py)."""
    notes: tuple[str, ...] = ()
    """What is no longer as the source has it, one line each."""

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a fact."""
        facts = {name: each for name, each in self.to_dict().items() if name not in ("metadata", "notes")}
        return [{"fact": name, "value": each} for name, each in {**facts, **self.metadata}.items()]


@checked_arguments
def export(
    source: ModelSource,
    output: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    pretrained: bool = False,
    seed: int = 0,
    task: str | None = None,
    sequence_length: int = SEQUENCE_LENGTH,
    preprocess: str | None = None,
    check: str | None = None,
    values: Mapping[str, Any] | None = None,
) -> ExportResult:
    """Write the canonical form of `source` to `output`.

    Args:
        source: an ONNX file, a model in memory, torchvision:NAME, pytorchcv:NAME, timm:NAME, transformers:DIR_OR_NAME,
            dlrm?..., or python:package.module:factory.
        weights: a state dict file for a torch source.
        pretrained: take the library's own weights, which it downloads.
        seed: of random weights.
        task: what a transformer is to do; for other sources, what the outputs mean (a name in tasks.TASKS), where the source
            does not say or is wrong.
        sequence_length: tokens of a transformer's input.
        preprocess: how stored images become inputs, such as "layout=nhwc&mean=0.5&std=0.25"; kept in the file for every
            later command. None keeps what the source says.
        check: data spec for the comparison of source and file; None takes random inputs, longer ones where 32 is too short.
        values: numbers, arrays or files (.npy) by the name of an input, which becomes a constant, or lengths by the name of an
            open axis; what hangs on them alone folds away.

    Raises:
        MpqOnnxError: see its subclasses.
    """
    check_seed(seed)
    check_name(output, MODEL_SUFFIXES, "the model")
    check_other_file(output, source, "the source")
    given, weights = model_source(source), None if weights is None else os.fspath(weights)
    source = str(given)
    if preprocess is not None:
        parse_preprocessing(parse_options(preprocess, "--preprocess"), "--preprocess")
    if task is not None:
        check_choice("task", task, TASKS)
    if sequence_length < 1:
        raise UsageError(f"--sequence-length {sequence_length}: must be at least 1")
    begin(f"read {source}")
    opened = open_source(given, SourceOptions(weights, pretrained, seed, task, sequence_length))
    check_not_quantized(opened.model, source)
    if values:
        opened = opened.with_values(fixed_values(values))
    begin("canonical form, compared with the source")
    checked = _canonical(opened, source, check or _usable_check(opened))
    model = checked.model
    facts = {key: model.metadata_props[key] for key in MODEL_FACTS if key in model.metadata_props}
    facts |= opened.metadata
    if preprocess is not None:
        facts[METADATA_PREPROCESSING] = preprocess
    if task is not None:
        facts[METADATA_TASK] = task
    model.metadata_props.update(facts)
    model.metadata_props[METADATA_SOURCE] = source_name(source)
    size = save_model(model, output)
    return ExportResult(
        path=str(output),
        nodes=len(list(model.graph)),
        bytes=size,
        largest_difference=checked.agreement.difference,
        largest_output=checked.agreement.largest,
        fixed_batch=fixed_batch(model_inputs(model)),
        network_takes_any=checked.network_takes_any or fixed_batch(model_inputs(model)) is None,
        metadata=facts,
        notes=(
            *source_notes(opened.model),
            *post_processing_notes(model),
            *checked.notes,
            *_unreached(model),
        ),
    )


def _tolerance(source: ir.Model) -> float:
    """The largest difference that is no fault, relative to the largest output."""
    return max([LARGEST_DIFFERENCE, *(ROUNDINGS * PRECISION[dtype] for dtype in converted_types(source))])


@dataclass(frozen=True)
class _Checked:
    """A canonical form that was compared with its source."""

    model: ir.Model
    agreement: Agreement
    notes: tuple[str, ...]
    network_takes_any: bool = False


def _canonical(source: SourceModel, where: str, check: str) -> _Checked:
    """The canonical form for any batch where the source computes the same then, else for the source's own.

    Raises:
        ModelError: the form differs from the source, or one of the two does not run.
    """
    opened, reason = _opened(source, where, check)
    if opened is not None:
        return opened
    model = canonicalize(clone(source.model), where)
    compared = _compared(source, model, where, check, 1)
    fault = _fault(compared, source.model)
    if fault is not None:
        drawn = drawing_nodes(source.model)
        if drawn and _differs_from_itself(source, check):
            raise ModelError(
                f"{where}: draws random numbers in node {first_names(drawn, SHOWN_NODES)}, and two runs of it differ, so that"
                f" nothing can be compared with it; {ADVICE}"
            )
        raise ModelError(f"{where}: the canonical form does not compute the same: {fault}; please report it")
    return _Checked(model, compared, () if reason is None else (_fixed_note(model, reason),))


def _opened(source: SourceModel, where: str, check: str) -> tuple[_Checked | None, str | None]:
    """The form for any batch; or None, and what keeps the batch where it was not open from the beginning."""
    reason = None
    for freed in READINGS:
        found = canonicalize_for_any_batch(clone(source.model), where, freed)
        if found.model is None:
            return None, found.reason
        try:
            compared = _compared(source, found.model, where, check, BATCHES)
            fault = _fault(compared, source.model)
            if fault is None:
                return _Checked(found.model, compared, ()), None
            reason = f"with another one {fault}"
        except MpqOnnxError as error:  # onnxruntime cannot run another number of examples
            reason = f"with another one onnxruntime stops: {error}"
        network = _network_opened(source, found.model, where, check)
        if network is not None:
            return network, None
        if found.reason is not None:
            reason = found.reason
        elif found.written:
            named = first_names(found.written, SHOWN_NODES)
            reason = f"it is written into {named}, where it could not be taken out"
    return None, reason


def _network_opened(source: SourceModel, opened: ir.Model, where: str, check: str) -> _Checked | None:
    """The form whose network alone takes any batch, where post-processing behind it takes one size; None if there is none.

    The file's inputs keep their size; what looks at the network alone (its mirror) may give it more examples at once.

    Args:
        opened: a form for any batch that does not compute the same.
    """
    behind = post_processing(opened)
    if not behind.nodes:
        return None
    network = with_tensors(opened, behind.mirrored_outputs)
    common.RemoveUnusedNodesPass()(network)
    fixed = clone(network)
    for model in (opened, fixed):
        name_batch(model, fixed_batch(model_inputs(source.model)))
    try:
        compared = _compared(source, opened, where, check, 1)
        if _fault(compared, source.model) is not None:
            return None
        feeds = _check_feeds(source, check, BATCHES)
        at_once, one_by_one = (Runner(each, "cpu").run(feeds) for each in (network, fixed))
    except MpqOnnxError:  # onnxruntime cannot run it so
        return None
    if _fault(agreement(at_once, one_by_one, behind.mirrored_outputs), source.model) is not None:
        return None
    return _Checked(opened, compared, (), network_takes_any=True)


def _fixed_note(model: ir.Model, reason: str) -> str:
    """That the batch stays, why, and what to do."""
    batch = next((each for each in model_inputs(model) if each.fixed_batch), None)
    axes = "" if batch is None else f", dynamic_axes={{{batch.name!r}: {{{batch.example_axis}: 'batch'}}}}"
    return (
        f"the batch size stays as exported: {reason}; export the network again with an open batch axis:"
        f" torch.onnx.export(...{axes}), or dynamic_shapes= with dynamo=True"
    )


def _compared(source: SourceModel, model: ir.Model, where: str, check: str, batches: int) -> Agreement:
    """Outputs on `batches` batches of the source's size, or two examples where that is open."""
    feeds = _check_feeds(source, check, batches)
    runner = Runner(model, "cpu", where=f"the canonical form of {where}")
    return agreement(runner.run(feeds), source.reference(feeds), runner.outputs)


def _differs_from_itself(source: SourceModel, check: str) -> bool:
    """The source's outputs are others at the next run, on the same inputs."""
    feeds = _check_feeds(source, check, 1)
    first, second = source.reference(feeds), source.reference(feeds)
    names = [str(value.name) for value in source.model.graph.outputs]
    return _fault(agreement(first, second, names), source.model) is not None


def _check_feeds(source: SourceModel, check: str, batches: int) -> Mapping[str, np.ndarray]:
    """Inputs for `batches` batches of the source's size, or two examples where that is open."""
    count = max(2, (fixed_batch(model_inputs(source.model)) or 1) * batches)
    dataset = open_dataset(check, model_inputs(source.model))
    return dataset.read([index % len(dataset) for index in range(count)]).inputs


def _unreached(model: ir.Model) -> tuple[str, ...]:
    """What later commands say of products that they do not reach."""
    nodes = left_out(model)
    mirrored = [str(each) for each in nodes if each.is_mirrored]
    refused = [str(each) for each in nodes if not each.is_mirrored]
    notes = []
    if refused:
        holders = [node for node in model.graph if any(bodies(node)) and multiplies(node)]
        reasons = [_why_unreached(model.graph, node) for node in holders]
        notes.append(
            "; ".join(
                [f"allocate and handoff refuse this model for {', '.join(refused)}", *dict.fromkeys(reasons)]
            )
        )
    if mirrored:
        notes.append(
            f"handoff refuses this model, and allocate counts nothing of what stays in float: {', '.join(mirrored)}"
        )
    return tuple(notes)


def _why_unreached(graph: ir.Graph, node: ir.Node) -> str:
    """Of a node that holds products."""
    if is_loop(node):
        return f"{node.op_type} {node.name}: {why_it_stays(graph, node)}"
    return "--set gives an input that a branch hangs on its value"


def _usable_check(source: SourceModel) -> str:
    """The first of CHECKS that the source runs on.

    Raises:
        MpqOnnxError: it runs on none; what it said of the first.
    """
    first: MpqOnnxError | None = None
    for spec in CHECKS:
        try:
            source.reference(open_dataset(spec, model_inputs(source.model)).read([0, 1]).inputs)
        except MpqOnnxError as error:
            first = first or error
        else:
            return spec
    assert first is not None
    raise first


def _fault(found: Agreement, source: ir.Model) -> str | None:
    """What is wrong about the outputs, in words; None where they agree."""
    if found.fault is not None:
        return found.fault
    if found.difference <= _tolerance(source) * max(found.largest, 1.0):
        return None
    return f"an output differs by {found.difference:.3g} (outputs up to {found.largest:.3g})"
