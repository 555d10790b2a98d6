"""Does onnxruntime compute what was trained? The final file against its mirror, node by node, and as a whole.

Integers that sit on a rounding edge fall to either side in different orders of addition, and through a deep network a few of
them move everything after them: whole networks that are equal differ by 18 dB to nothing. So the verdict is taken node by node:
every node of the mirror gets the inputs that onnxruntime gave that node (its graph optimizations off) and must give

- for a quantizer: the same level, but for one level up or down in at most EDGE_SHARE of the entries;
- for whole numbers and truth values: the same (indices of TopK, which are free where values are equal, apart);
- for every other node: CLOSE decibels, or no difference larger than FLOAT_SHARE of its largest input or output.

onnxruntime's optimizer puts other kernels in the place of these nodes; whether its file still computes the same can be told
at the outputs only. The yardstick is what rounding edges can do: the mirror, against itself with every quantizer's input moved
by up to EDGE of a step. Where optimized and unoptimized differ by HEADROOM decibels more than that, the optimizer changes the
file. So does what onnxruntime does by default and our sessions switch off (see runtime.session), judged alike.
"""

import dataclasses
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, fx, nn

from mpq_onnx.arithmetic.quantized_network import QuantizedNetwork
from mpq_onnx.datasets import Dataset
from mpq_onnx.errors import ModelError
from mpq_onnx.graph.example_layout import joined_batches
from mpq_onnx.graph.model_inputs import fixed_batch
from mpq_onnx.graph.quantized_tensors import marked_tensor
from mpq_onnx.graph.quantizers import read_quantizer
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.copying import copy_mirror
from mpq_onnx.mirror.elements import elements_made, forward_batch
from mpq_onnx.mirror.quantized import FixedQuantizer, quantized_mirror
from mpq_onnx.precision.training_data import running
from mpq_onnx.progress import watched
from mpq_onnx.runtime.output_form import as_examples
from mpq_onnx.runtime.part_figures import PartTally, worst
from mpq_onnx.runtime.rounding_edges import EDGE, HEADROOM
from mpq_onnx.runtime.session import Runner
from mpq_onnx.runtime.statistics import comparable, decibels
from mpq_onnx.runtime.tensors import runner_with_outputs, with_tensors

EXAMPLES = 64
"""At most; as many as one pass takes."""
NODE_EXAMPLES = 2
"""All tensors of them are held at once."""
EDGE_SHARE = 0.01
SAME_LEVEL = 0.01
"""Steps: the float arithmetic of scale times level."""
CLOSE = 60.0
FLOAT_SHARE = 1e-5
PLENTY = 60.0
"""Decibels between optimized and unoptimized that need no yardstick."""


class Session(NamedTuple):
    """One way to load a file (see runtime.session)."""

    optimize: bool = True
    by_default: bool = False


SESSIONS = (Session(), Session(optimize=False), Session(by_default=True))


@dataclass(frozen=True)
class MirrorCheck:
    """How well onnxruntime and the mirror agree on the final graph; every node of it agreed."""

    examples: int
    optimized_sqnr: float | None
    """Decibels between the outputs (the worst of several), with onnxruntime's graph optimizations; None without floats."""
    unoptimized_sqnr: float | None
    """Decibels, without them."""
    same_predictions: float
    """Share of examples with the same largest output, or of equal labels, the worse of the two."""
    optimizer_sqnr: float | None = None
    """Decibels between onnxruntime's outputs with and without its optimizations."""
    edge_sqnr: float | None = None
    """What rounding edges explain of that; None where there was nothing to explain."""

    changed_by_optimizer: bool = False
    """Whether they make another network of the file: more is lost than rounding edges explain."""
    default_sqnr: float | None = None
    """Decibels between onnxruntime's outputs in our sessions and in one that nobody has set anything for."""
    changed_by_default: bool = False
    """The same of such a session, where our own are true to the file."""


def check_notes(check: MirrorCheck | None) -> tuple[str, ...]:
    """What a reader of a result should know of the check; nothing where there was none."""
    if check is not None and check.unoptimized_sqnr == -math.inf and check.same_predictions < 1:
        return (
            f"for some of {check.examples} examples the file computes NaN or infinity inside, and other integers of it than the"
            " mirror: something is divided by what is rounded to 0; `mpq-onnx compare` names the nodes",
        )
    if check is not None and check.changed_by_optimizer:
        return (
            f"onnxruntime's optimizer changes this file: {check.optimizer_sqnr:.1f} dB between its outputs with and without,"
            f" where rounding edges explain {check.edge_sqnr:.1f} dB; compare with graph optimizations off",
        )
    if check is not None and check.changed_by_default:
        apart = (
            "is not loaded"
            if check.default_sqnr is None
            else f"is another ({check.default_sqnr:.1f} dB apart)"
        )
        return (
            f"in a session with onnxruntime's defaults this file {apart}: it quantizes floats that stand beside integers;"
            " docs/onnxruntime.md says what to switch off, as is done here",
        )
    return ()


def check_against_mirror(
    graph: ir.Model, mirror: Mirror, network: QuantizedNetwork, dataset: Dataset, device: str
) -> MirrorCheck:
    """Run the final graph in onnxruntime, optimized and not, and in the mirror.

    Args:
        mirror: of the float graph, with the model's own outputs.

    Raises:
        ModelError: a node of the file computes something else than the mirror, and is named; the network takes no such batch.
    """
    simulated = quantized_mirror(mirror, network)
    count = min(NODE_EXAMPLES, _most_at_once(dataset), len(dataset))
    with running(count, dataset.inputs):
        parting = first_difference(graph, simulated, dataset.read(range(count)).inputs)
    if parting is not None:
        raise ModelError(
            f"the quantized graph fails its check: onnxruntime and the mirror part at {parting}; please report this model"
        )
    return _compare_outputs(graph, simulated, dataset, device)


def _most_at_once(dataset: Dataset) -> int:
    """A batch of one may be written into any node, also behind what was trained."""
    return 1 if fixed_batch(dataset.inputs) == 1 else EXAMPLES


def first_difference(graph: ir.Model, simulated: Mirror, feeds: dict[str, np.ndarray]) -> str | None:
    """The first node in graph order that onnxruntime computes otherwise than the mirror, with how; None where there is none.

    Args:
        graph: the file; its float nodes have the names of the mirror's.
        simulated: the mirror of this file.
        feeds: a few examples.
    """
    names = _file_values(graph, simulated)
    runner = runner_with_outputs(graph, list(dict.fromkeys(names.values())), "cpu", optimize=False)
    found = {**feeds, **dict(zip(runner.outputs, runner.run(feeds), strict=True))}
    home = simulated.device
    try:
        simulated.module.to("cpu")
        return _walk(
            simulated, names, {name: torch.from_numpy(np.asarray(each)) for name, each in found.items()}
        )
    finally:
        simulated.module.to(home)


@torch.no_grad()
def _walk(simulated: Mirror, names: dict[fx.Node, str], found: dict[str, Tensor]) -> str | None:
    module = simulated.module
    values: dict[fx.Node, Any] = {}
    inputs = iter(simulated.inputs)
    for node in module.graph.nodes:
        if node.op == "placeholder":
            values[node] = found[next(inputs)]
        elif node.op == "get_attr":
            values[node] = getattr(module, str(node.target))
        elif node.op != "output":
            arguments = fx.map_arg(node.args, values.__getitem__)
            options = fx.map_arg(node.kwargs, values.__getitem__)
            target = module.get_submodule(str(node.target)) if node.op == "call_module" else node.target
            values[node] = target(*arguments, **options)  # type: ignore[operator]
            if node in names:
                got = found[names[node]]
                difference = _difference(node, target, arguments, values[node], got)
                if difference is not None:
                    return f"{_label(node)}, tensor {names[node]}: {difference}"
                values[node] = got
    return None


def _difference(
    node: fx.Node, target: Any, arguments: Sequence[Any], wanted: Tensor, got: Tensor
) -> str | None:
    """What is wrong with onnxruntime's `got`, or None."""
    if wanted.shape != got.shape:
        return f"shapes {tuple(got.shape)} and {tuple(wanted.shape)}"
    if not wanted.numel():
        return None
    if node.op == "call_module":
        return _level_difference(target, arguments[0], wanted, got)
    if not wanted.is_floating_point():
        share = float((wanted != got).double().mean())
        return f"{100 * share:.3g} % of its entries differ" if share > 0 and not _is_free(node) else None
    exact, error = comparable(wanted.float().numpy(), got.float().numpy())
    ratio = decibels(float((exact**2).sum()), float((error**2).sum()))
    largest = max(float(each.float().abs().max()) for each in (wanted, *_float_tensors(arguments)))
    if ratio >= CLOSE or float(np.abs(error).max()) <= FLOAT_SHARE * largest:
        return None
    return f"{ratio:.1f} dB on the same inputs"


def _level_difference(quantizer: Any, x: Tensor, wanted: Tensor, got: Tensor) -> str | None:
    moved = ((wanted - got).abs() / quantizer.step(x)).nan_to_num(nan=math.inf)
    share, most = float((moved > SAME_LEVEL).double().mean()), float(moved.max())
    few = share * moved.numel() <= max(EDGE_SHARE * moved.numel(), 1)
    if few and most <= 1 + SAME_LEVEL:
        return None
    return f"{100 * share:.3g} % of its entries differ, by up to {most:.3g} levels, on the same inputs"


def _is_free(node: fx.Node) -> bool:
    """Indices of TopK."""
    source = node.args[0] if node.args else None
    return isinstance(source, fx.Node) and source.meta.get("onnx_op") == "TopK"


def _float_tensors(arguments: Sequence[Any]) -> list[Tensor]:
    return [
        each.nan_to_num(posinf=0, neginf=0)
        for each in arguments
        if isinstance(each, Tensor) and each.is_floating_point() and each.numel()
    ]


def _label(node: fx.Node) -> str:
    if "quantizer_of" in node.meta:
        return f"the quantizer of {node.meta['quantizer_of']}"
    source = node.args[0] if "onnx_name" not in node.meta and node.args else node
    meta = source.meta if isinstance(source, fx.Node) else node.meta
    return f"node {meta.get('onnx_name', node.name)} ({meta.get('onnx_op', 'operator')})"


def _file_values(graph: ir.Model, simulated: Mirror) -> dict[fx.Node, str]:
    """For every operator and quantizer of the mirror the name of the tensor that holds its result in the file."""
    nodes = {str(node.name): node for node in graph.graph}
    inputs = {str(value.name): value for value in graph.graph.inputs}
    quantizers = filter(None, map(read_quantizer, graph.graph))
    quantized = {each.source: each.result for each in quantizers if each.source and each.result}
    marked = {marked_tensor(node): node.outputs[0] for node in graph.graph}
    found: dict[fx.Node, ir.Value] = {}
    placeholders = iter(simulated.inputs)
    for node in simulated.module.graph.nodes:
        source = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        if node.op == "placeholder":
            found[node] = inputs[next(placeholders)]
        elif "quantizer_of" in node.meta:
            if source in found and found[source] in quantized:
                found[node] = quantized[found[source]]
            elif node.meta["quantizer_of"] in marked:  # of rows that are looked up as the quantizer's levels
                found[node] = marked[node.meta["quantizer_of"]]
        elif node.meta.get("onnx_name") in nodes and not _is_tuple(node):
            found[node] = nodes[node.meta["onnx_name"]].outputs[0]
        elif source is not None and source.meta.get("onnx_name") in nodes and _is_tuple(source):
            found[node] = nodes[source.meta["onnx_name"]].outputs[int(node.args[1])]  # type: ignore[call-overload]
    return {node: str(value.name) for node, value in found.items() if value.name}


def _is_tuple(node: fx.Node) -> bool:
    """An operator of several outputs: its users pick them."""
    return bool(node.users) and all(user.target is operator.getitem for user in node.users)


def _compare_outputs(graph: ir.Model, simulated: Mirror, dataset: Dataset, device: str) -> MirrorCheck:
    one = tuple(torch.from_numpy(dataset.read(range(1)).inputs[name]) for name in simulated.inputs)
    largest = elements_made(simulated, tuple(each.to(simulated.device) for each in one)).largest
    examples = forward_batch(largest, min(EXAMPLES, len(dataset)))
    feeds = dataset.read(range(examples)).inputs
    size = min(examples, _most_at_once(dataset))
    parts = [
        dataset.read(range(start, min(start + size, examples))).inputs for start in range(0, examples, size)
    ]
    graph = _with_outputs_of(simulated, graph)
    expected = _outputs(simulated, parts, examples)
    optimized, unoptimized, default = (
        _answers(graph, device, feeds, examples, session)
        for session in watched(SESSIONS, "check", unit="session")
    )
    assert optimized is not None and unoptimized is not None
    check = MirrorCheck(
        examples,
        _sqnr(expected, optimized),
        _sqnr(expected, unoptimized),
        min(_same(expected, found) for found in (optimized, unoptimized)),
        _sqnr(unoptimized, optimized),
        default_sqnr=None if default is None else _sqnr(optimized, default),
        changed_by_default=default is None,
    )
    apart = [each for each in (check.optimizer_sqnr, check.default_sqnr) if each is not None]
    if min(apart, default=math.inf) >= PLENTY:
        return check
    moved = _outputs(_with_moved_edges(simulated), parts, examples)
    edges = _sqnr(expected, moved)
    explained = min(each for each in (edges, check.unoptimized_sqnr, math.inf) if each is not None)

    def is_changed(sqnr: float | None, explained: float | None) -> bool:
        return sqnr is not None and explained is not None and sqnr < explained - HEADROOM

    return dataclasses.replace(
        check,
        edge_sqnr=edges,
        changed_by_optimizer=is_changed(check.optimizer_sqnr, explained),
        changed_by_default=check.changed_by_default
        or is_changed(check.default_sqnr, min(edges or PLENTY, PLENTY)),
    )


def _with_outputs_of(simulated: Mirror, graph: ir.Model) -> ir.Model:
    """The file with the mirror's outputs: what post-processing is made from stands in the place of its results."""
    if [str(value.name) for value in graph.graph.outputs] == list(simulated.outputs):
        return graph
    (output,) = (node for node in simulated.module.graph.nodes if node.op == "output")
    names = _file_values(graph, simulated)
    return with_tensors(graph, [names[node] for node in output.args[0]])


def _answers(
    graph: ir.Model, device: str, feeds: dict[str, np.ndarray], examples: int, session: Session
) -> list[np.ndarray] | None:
    """The outputs in a session; None where it is not ours and does not even load the file."""
    try:
        runner = Runner(graph, device, session.optimize, "the quantized graph", by_default=session.by_default)
    except ModelError:
        if session.by_default:
            return None
        raise
    return [as_examples(array, examples) for array in runner.run(feeds)]


@torch.no_grad()
def _outputs(mirror: Mirror, parts: Sequence[dict[str, np.ndarray]], examples: int) -> list[np.ndarray]:
    """Of all examples, which go through the mirror in `parts`: at once, or one by one."""
    answers = [[output.cpu().numpy() for output in mirror.run(feeds, mirror.device)] for feeds in parts]
    whole = (
        answers[0]
        if len(parts) == 1
        else [joined_batches(each, 1, examples) for each in zip(*answers, strict=True)]
    )
    return [as_examples(each, examples) for each in whole]


def _sqnr(exact: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float | None:
    """Decibels of the worst output."""
    tallies = []
    for wanted, got in zip(exact, found, strict=True):
        tallies.append(PartTally(""))
        tallies[-1].update(wanted, got)
    least = worst([tally.figures for tally in tallies], "sqnr")
    return None if least is None else least[0].value


def _same(expected: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> float:
    """Of the first output that has one shape in both, and elements; others are as long as the data make them."""
    pairs = list(zip(expected, got, strict=True))
    pair = next((each for each in pairs if each[0].shape == each[1].shape and each[0].size), None)
    if pair is None:
        return float(not any(each.size for each in (*expected, *got)))
    exact, found = pair
    if exact.dtype.kind != "f":
        return float((exact == found).mean())
    rows = [array.reshape(len(array), -1).argmax(axis=1) for array in (exact, found)]
    return float((rows[0] == rows[1]).mean())


class _MovedEdges(nn.Module):
    """A quantizer whose input is moved by up to EDGE of a step, at random."""

    def __init__(self, quantizer: FixedQuantizer, generator: torch.Generator) -> None:
        super().__init__()
        self.quantizer, self.generator = quantizer, generator

    def forward(self, x: Tensor) -> Tensor:
        moves = torch.rand(x.shape, generator=self.generator).to(x) * 2 - 1
        return self.quantizer(x + moves * (EDGE * self.quantizer.scale))


def _with_moved_edges(simulated: Mirror) -> Mirror:
    changed = copy_mirror(simulated, "MovedEdges")
    generator = torch.Generator().manual_seed(0)
    for name, module in list(changed.module._modules.items()):
        if isinstance(module, FixedQuantizer):
            changed.module._modules[name] = _MovedEdges(module, generator)
    return changed
