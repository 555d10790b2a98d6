"""inspect: what a model is, and what of it can be quantized, before any data and before anything is run. No torch here."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from mpq_onnx.arithmetic.quantization import counted_bits
from mpq_onnx.errors import ModelError, MpqOnnxError, first_line
from mpq_onnx.graph.given_model import ModelSource, model_source
from mpq_onnx.graph.mac import CONVOLUTIONS, macs_of
from mpq_onnx.graph.metadata import METADATA_SOURCE, MODEL_FACTS
from mpq_onnx.graph.mirrored import refused_attribute, unmirrored_nodes
from mpq_onnx.graph.model_file import clone, file_bytes, load_model
from mpq_onnx.graph.model_inputs import fixed_batch, model_inputs
from mpq_onnx.graph.operators import rank_of
from mpq_onnx.graph.placement import Sites, WeightSite, find_sites
from mpq_onnx.graph.post_processing import post_processing
from mpq_onnx.graph.quantized_already import check_not_quantized
from mpq_onnx.graph.roles import value_roles
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.passes.inferred_shapes import inferred_shapes
from mpq_onnx.passes.remove_noise import without_noise
from mpq_onnx.passes.reseed_noise import noisy_nodes
from mpq_onnx.report.file_format import format_text, shown_bits_of
from mpq_onnx.report.graph_facts import GraphFacts, graph_facts
from mpq_onnx.report.left_out import left_out
from mpq_onnx.runs.arguments import checked_arguments
from mpq_onnx.runs.float_notes import float_weights
from mpq_onnx.runs.options import AllocateOptions
from mpq_onnx.runs.result import Result
from mpq_onnx.runs.source_notes import post_processing_notes, source_notes

FLOAT_BITS, BYTE = 32, 8
MATRIX = 2
"""Axes that a product's operand has at least."""
UNTOLD = (MpqOnnxError, KeyError, ValueError, IndexError, RuntimeError)
"""What is raised where shapes cannot be inferred, or are not enough."""
LONGEST_FACT = 120
"""Characters of a fact in the metadata."""


@dataclass(frozen=True)
class InspectedTensor:
    """An input or an output."""

    name: str
    type: str
    shape: tuple[int | str | None, ...] | None
    """Numbers, names of open axes, or None for an open one without a name; None where even the rank is open."""
    example_axis: int | None = None
    """Of an input: the axis that runs over examples; None where all share it."""
    role: str | None = None
    """Of an input of a float model: signal, index, mask, ...: signals alone get a quantizer."""


@dataclass(frozen=True)
class InspectedLayer:
    """One weight of a multiply-accumulate or table, or a product of two activations."""

    node: str
    op_type: str
    weight: str | None
    """None for a product of two activations."""
    elements: int
    macs: int | None
    """Of one example; None where the file's shapes do not tell."""
    bits: float | tuple[float, float] | None
    """What it is stored in, or the least and most that allocate chooses from by default; None for what is and stays float."""
    why: str | None = None
    """What keeps it float, or out of the budget."""


@dataclass(frozen=True)
class InspectResult(Result):
    """What is to be known of a file."""

    path: str
    bytes: int
    format: str
    """float, or in which form it is quantized."""
    quantized: bool
    noisy: int
    """Nodes with noise."""
    opset: int | None
    producer: str
    nodes: int
    inputs: tuple[InspectedTensor, ...]
    outputs: tuple[InspectedTensor, ...]
    layers: tuple[InspectedLayer, ...]
    weights: int
    """Elements of all weights of layers."""
    macs: int | None
    """Of one example."""
    mean_weight_bits: tuple[float, float] | float | None
    """Of a float model: the least and most mean that --weight-bits can ask for by default; of a quantized one what it has."""
    weight_bytes: tuple[float, float] | None
    """Of a float model: what the weights take at these means, tables included."""
    activations: int | None
    """Tensors that get a quantizer, or have one."""
    unsupported: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Nodes by operator that allocate refuses the model for."""
    stays_float: tuple[str, ...] = ()
    """Layers whose weights get no width, and why."""
    uncounted: tuple[str, ...] = ()
    """Multiply-accumulates out of reach, and why."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the file says of itself: preprocessing, task, where it comes from."""
    notes: tuple[str, ...] = ()

    DRAWN = "node", "macs"

    @property
    def title(self) -> str:
        """The file and its size."""
        macs = "MACs unknown" if self.macs is None else f"{self.macs:,} MACs an example"
        return f"{self.path}: {self.format}, {self.weights:,} weights, {macs}"

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a layer."""
        return [dataclasses.asdict(each) for each in self.layers]


@dataclass(frozen=True)
class _Found:
    """What a float and a quantized file have fields of InspectResult for, each in its own way."""

    quantized: bool
    layers: tuple[InspectedLayer, ...]
    mean_weight_bits: tuple[float, float] | float | None = None
    weight_bytes: tuple[float, float] | None = None
    activations: int | None = None
    unsupported: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stays_float: tuple[str, ...] = ()
    uncounted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@checked_arguments
def inspect(model: ModelSource) -> InspectResult:
    """Say what an ONNX file is, float or quantized by whomever, from its graph alone.

    Raises:
        ModelError: the file cannot be read.
    """
    model = model_source(model)
    loaded = load_model(model)
    facts = graph_facts(without_noise(loaded), str(model))
    roles: Mapping[str, str] = {}
    try:
        check_not_quantized(loaded, str(model))
    except ModelError as error:
        found = _quantized(facts, str(error).partition("; ")[2])
    else:
        found, roles = _float(loaded, str(model))
    found = _of_one_example(found, loaded)
    properties = {key: loaded.metadata_props.get(key, "") for key in (METADATA_SOURCE, *MODEL_FACTS)}
    weights = {each.weight: each.elements for each in found.layers if each.weight is not None}
    return InspectResult(
        path=str(model),
        bytes=file_bytes(model),
        format=format_text(facts),
        noisy=len(noisy_nodes(loaded)),
        opset=loaded.opset_imports.get(""),
        producer=" ".join(filter(None, (loaded.producer_name, loaded.producer_version))),
        nodes=len(list(loaded.graph)),
        inputs=_inputs(loaded, roles),
        outputs=tuple(_tensor(value) for value in loaded.graph.outputs),
        weights=sum(weights.values()),
        macs=_total(each.macs for each in found.layers),
        metadata={key: _short(text) for key, text in properties.items() if text},
        **{each.name: getattr(found, each.name) for each in dataclasses.fields(found)},
    )


def _quantized(facts: GraphFacts, advice: str) -> _Found:
    """Of a file that is quantized already; `advice` is what can be done with it."""
    layers = _layers_of(facts)
    return _Found(
        True,
        layers,
        mean_weight_bits=shown_bits_of(facts).mean_weight_bits,
        activations=len(facts.activations),
        stays_float=tuple(
            f"{each.node} ({each.op_type})"
            for each in layers
            if each.weight is not None and each.bits is None
        ),
        notes=(advice,),
    )


def _layers_of(facts: GraphFacts) -> tuple[InspectedLayer, ...]:
    """As the graph stores them; whose MACs operators on integers have is not known."""
    held = [
        InspectedLayer(each.node, each.op_type, each.tensor, each.weights, None, each.bits)
        for each in facts.integer_weights
    ]
    return (
        *(
            InspectedLayer(
                each.node,
                each.op_type,
                each.weight_tensor if each.constant else None,
                each.weights,
                each.macs,
                None if each.weight is None else each.weight.bits,
            )
            for each in facts.layers
        ),
        *held,
    )


def _float(loaded: ir.Model, where: str) -> tuple[_Found, Mapping[str, str]]:
    """Of a float model, by its canonical form, and the roles of its values.

    By the file as it is, where that form cannot be made, or shapes of activations are unknown.
    """
    try:
        model = canonicalize(clone(loaded), where)
    except MpqOnnxError as error:
        refused = (f"export and allocate refuse it: {error}",)
        return _Found(False, _layers_of(graph_facts(loaded)), notes=refused), {}
    unsupported: dict[str, tuple[str, ...]] = {}
    behind = post_processing(model)
    for node in unmirrored_nodes(model):
        if node in behind.nodes:
            continue
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        limit = refused_attribute(node)
        name += f" with {limit}" if limit else ""
        unsupported[name] = (*unsupported.get(name, ()), str(node.name))
    opened = _open_axes(model)
    notes: tuple[str, ...] = (*source_notes(loaded), *post_processing_notes(model), *opened)
    shapes: Mapping[str, tuple[int, ...]] = {}
    try:
        shapes = inferred_shapes(model)
        found = _by_sites(find_sites(model, shapes), counts_macs=not opened)
    except UNTOLD as error:
        found = _without_shapes(model, shapes)
        notes = (*notes, f"how many MACs and activations there are shows when it is run: {first_line(error)}")
    apart = left_out(model)
    uncounted = tuple(map(str, apart))
    found = _with_uncounted(found, {each.node for each in apart})
    roles = {name: role.value for name, role in value_roles(model).roles.items()}
    return dataclasses.replace(found, unsupported=unsupported, uncounted=uncounted, notes=notes), roles


def _without_shapes(model: ir.Model, known: Mapping[str, tuple[int, ...]]) -> _Found:
    """Where the shapes of some tensors are not known: widths hang on none of them, and MACs stay untold."""
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    assumed = {str(value.name): (1,) * (rank_of(value) or MATRIX) for value in values}
    try:
        found = _by_sites(find_sites(model, assumed | dict(known)), counts_macs=False)
    except UNTOLD:
        return _Found(False, _layers_of(graph_facts(model)))
    return dataclasses.replace(found, activations=None)


def _with_uncounted(found: _Found, nodes: Collection[str]) -> _Found:
    """Rows of weights of nodes whose MACs are not counted say so."""
    layers = (
        dataclasses.replace(each, why=f"{each.why}, not counted") if each.node in nodes and each.why else each
        for each in found.layers
    )
    return dataclasses.replace(found, layers=tuple(layers))


def _by_sites(sites: Sites, counts_macs: bool) -> _Found:
    choices = AllocateOptions().bit_choices
    means = (min(map(counted_bits, choices)), max(map(counted_bits, choices)))
    place = {name: index for index, name in enumerate(sites.order)}
    layers = [_layer(site, (min(choices), max(choices))) for site in sites.weights]
    layers += [
        InspectedLayer(each.node, each.op_type, each.float_weight, 0, each.macs, None, each.why_float)
        for each in sites.products
    ]
    layers += [
        InspectedLayer(each.node, each.op_type, each.tensor, each.elements, 0, None, "stays float")
        for each in sites.parameters
    ]
    if not counts_macs:
        layers = [dataclasses.replace(each, macs=None) for each in layers]
    free = sum(site.elements for site in sites.free_weights)
    fixed = sum(
        site.elements * (site.fixed_bits or FLOAT_BITS)
        for site in sites.weights
        if site.fixed_bits is not None
    )
    fixed += FLOAT_BITS * sum(each.elements for each in sites.parameters)
    low, high = ((free * mean + fixed) / BYTE for mean in means)
    return _Found(
        False,
        tuple(sorted(layers, key=lambda each: place.get(each.node, len(place)))),
        mean_weight_bits=means if free else None,
        weight_bytes=(low, high) if free else None,
        activations=len(sites.activations),
        stays_float=tuple(float_weights(sites)),
    )


def _layer(site: WeightSite, choices: tuple[float, float]) -> InspectedLayer:
    bits: float | tuple[float, float] | None = choices
    why = None
    if site.fixed_bits is not None:
        bits = site.fixed_bits or None
        why = "a table, outside the budget" if site.is_table else "outside the budget"
    return InspectedLayer(
        site.node, site.op_type, site.tensor, site.elements, sum(use.macs for use in site.uses), bits, why
    )


def _inputs(model: ir.Model, roles: Mapping[str, str]) -> tuple[InspectedTensor, ...]:
    values = {str(value.name): value for value in model.graph.inputs}
    return tuple(
        _tensor(values[each.name], each.example_axis, roles.get(each.name)) for each in model_inputs(model)
    )


def _tensor(value: ir.Value, example_axis: int | None = None, role: str | None = None) -> InspectedTensor:
    shape = value.shape
    lengths = None if shape is None else tuple(n if isinstance(n, int) else n.value for n in shape)
    dtype = "unknown" if value.dtype is None else value.dtype.name.lower()
    return InspectedTensor(str(value.name), dtype, lengths, example_axis, role)


def _open_axes(model: ir.Model) -> tuple[str, ...]:
    """A line where the number of MACs depends on a length that the file leaves open."""
    opened = [
        value.name
        for value in model_inputs(model)
        if value.shape is None
        or any(size is None and axis != value.example_axis for axis, size in enumerate(value.shape))
    ]
    if not opened:
        return ()
    return (
        f"MACs depend on the open axes of input {', '.join(opened)}: `mpq-onnx export --set NAME=LENGTH` gives one its length",
    )


def _of_one_example(found: _Found, model: ir.Model) -> _Found:
    """MACs where the file takes a fixed number of examples at once; a line where they are not those of so many."""
    inputs = model_inputs(model)
    batch = fixed_batch(inputs) or 1
    if any((each.macs or 0) % batch for each in found.layers) or not _convolves_so_many(model, batch):
        read = next(each for each in inputs if each.fixed_batch == batch)
        line = (
            f"MACs are those of all {batch} examples that the file takes at once; of one, where axis {read.example_axis} of"
            f" input {read.name} {list(read.shape or ())}, which is taken for the batch, runs over something else"
        )
        return dataclasses.replace(found, notes=(*found.notes, line))
    layers = (
        dataclasses.replace(each, macs=None if each.macs is None else each.macs // batch)
        for each in found.layers
    )
    return dataclasses.replace(found, layers=tuple(layers))


def _convolves_so_many(model: ir.Model, batch: int) -> bool:
    """Whether what is convolved has `batch` examples, which its first axis always runs over, as far as shapes are known."""
    convolved = [str(mac.data.name) for mac in macs_of(model.graph) if mac.node.op_type in CONVOLUTIONS]
    shapes = inferred_shapes(model) if batch > 1 and convolved else {}
    return not any(shapes[name][0] % batch for name in convolved if name in shapes)


def _total(counts: Iterable[int | None]) -> int | None:
    known = list(counts)
    return None if any(each is None for each in known) else sum(each or 0 for each in known)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_FACT else f"{len(text):,} characters"
