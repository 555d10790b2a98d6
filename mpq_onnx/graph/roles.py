"""The role of every value of a canonical float model: signal, index, mask, shape or constant. Every placement reads it.

Three walks over the graph. Forwards: what a value stems from (constants, shapes, integer inputs, float inputs, or nodes that
multiply or look up). Backwards: what its readers take it for (data, an index, a mask). A value that multipliers or tables made
is a signal. What stems from inputs alone is what it is used for, whatever its type: an image of bytes is a signal, a float
input that is rounded and looked up is an index. Forwards again: which signals hold a mask's entries.
"""

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from mpq_onnx.graph.divisors import readers_as_data
from mpq_onnx.graph.masks import (
    ENDS,
    LAYING,
    LOW,
    SOFT_ENDS,
    Strength,
    array_strength,
    carries_mask,
    is_masking_pad,
    largest,
    magnitude_strength,
)
from mpq_onnx.graph.operators import (
    COMPARISONS,
    RANDOM,
    SELECTORS,
    SHAPE_READERS,
    TABLE_LOOKUPS,
    factors,
    is_bookkeeping,
    is_constant,
    is_float,
    is_float32,
    is_multiplier,
    is_pass_through,
    is_standard,
    read_by_multiplier,
)
from mpq_onnx.graph.post_processing import PostProcessing, post_processing

ANGLE_FUNCTIONS = frozenset({"Sin", "Cos"})
"""They turn positions into signals: their operand stays exact, a whole turn is lost between two levels of it."""
SELECTING_CONDITIONS = frozenset({"Where", "Compress"})
MAGNITUDES_PASSED = frozenset(
    {"Add", "Sub", "Mul", "Where", "Neg", "Abs", "Trilu", "Concat", "Max", "Min", "Sum", "Cast", "CastLike"}
)
"""Ops whose results may be as large as the constants that entered."""


class Role(enum.Enum):
    """What a value is to a quantizer."""

    SIGNAL = "signal"
    """Data that is multiplied and added: it may get a quantizer."""
    INDEX = "index"
    """Positions, token numbers, counts, results of comparisons: exact."""
    MASK = "mask"
    """Says which entries count, as a condition, a factor, or a very low number: exact."""
    SHAPE = "shape"
    """Depends on shapes and constants alone."""
    CONSTANT = "constant"
    """Depends on constants alone."""
    DIVISOR = "divisor"
    """What others are divided by, or what is itself divided by its own sum, and nothing else: exact."""
    RESULT = "result"
    """What post-processing computes, or takes into a branch or loop: exact."""


COMPUTED = frozenset({Role.SIGNAL, Role.DIVISOR, Role.RESULT})
"""What a network computes, whether it may get a quantizer or not."""


class _Origin(enum.IntEnum):
    """What a value stems from, the most informative of its sources."""

    CONSTANTS = 0
    SHAPES = 1
    INTEGERS = 2
    """Integer and boolean inputs."""
    FLOATS = 3
    """Float inputs."""
    COMPUTED = 4
    """Multipliers, tables, randomness."""


GIVEN = (_Origin.INTEGERS, _Origin.FLOATS)
"""Origins of values that their use decides about."""


class _Use(enum.IntEnum):
    """What readers take a value for; the highest counts."""

    NONE = 0
    MASK = 1
    INDEX = 2
    DATA = 3


_ROLES = {_Use.NONE: Role.INDEX, _Use.MASK: Role.MASK, _Use.INDEX: Role.INDEX, _Use.DATA: Role.SIGNAL}


@dataclass(frozen=True)
class ValueRoles:
    """The roles of a model's values, by name."""

    roles: Mapping[str, Role]
    masked: frozenset[str]
    """Signals with a mask's entries among them: no range holds both."""
    data_readers: Mapping[str, tuple[str, ...]]
    """Of signals that some nodes read as an index, a mask or a divisor: the nodes that read them as data."""

    def of(self, value: ir.Value) -> Role:
        """The role of a value of the analysed graph."""
        return self.roles[str(value.name)]

    def is_quantizable(self, value: ir.Value) -> bool:
        """True for floating-point signals without a mask's entries."""
        return is_float32(value) and self.of(value) is Role.SIGNAL and value.name not in self.masked


def value_roles(model: ir.Model) -> ValueRoles:
    """The roles of the inputs, initializers and node outputs of the top graph of a canonical float model."""
    return _Analysis(model.graph, post_processing(model)).result()


class _Analysis:
    """The walks; each fills one table by value."""

    def __init__(self, graph: ir.Graph, behind: PostProcessing) -> None:
        self.graph, self.results = graph, behind.values | behind.captured
        self.nodes = list(graph)
        self.inputs = [value for value in graph.inputs if value.name not in graph.initializers]
        self.values = [*self.inputs, *graph.initializers.values()]
        self.values += [value for node in self.nodes for value in node.outputs if value.name]
        self.angles = self._ahead(lambda node, index: node.op_type in ANGLE_FUNCTIONS, _turns, all)
        self.before_softmax = self._ahead(_ends(SOFT_ENDS), carries_mask, any)
        self.before_end = self._ahead(_ends(ENDS), carries_mask, any)
        self.magnitudes = self._magnitudes()
        self.origins = self._origins()
        self.divisors = readers_as_data(self.nodes, self._is_given)
        self.mixed: set[ir.Value] = set()
        """Values that inputs with data in them went into: what they are added to is no mask's business."""
        self.uses: dict[ir.Value, _Use] = {}
        self._find_uses()

    def result(self) -> ValueRoles:
        while (mixed := self._mixed()) != self.mixed:
            self.mixed = mixed
            self._find_uses()
        roles = {str(value.name): self._role(value) for value in self.values}
        readers = {str(value.name): self._data_readers(value) for value in self.values}
        return ValueRoles(
            roles,
            frozenset(self._masked()),
            {name: nodes for name, nodes in readers.items() if nodes is not None},
        )

    def _is_given(self, value: ir.Value) -> bool:
        """Of constants and inputs alone; what a branch or loop makes inside is not."""
        return self.origins.get(value, _Origin.COMPUTED) is not _Origin.COMPUTED

    def _data_readers(self, value: ir.Value) -> tuple[str, ...] | None:
        """The nodes that read a signal among the inputs' own values as data; None where all do."""
        if value in self.divisors:
            return self.divisors[value]
        if not is_float(value) or self.origins[value] not in GIVEN or self.uses[value] is not _Use.DATA:
            return None
        kinds = {str(node.name): self._use(node, index) for node, index in value.uses()}
        if not {_Use.INDEX, _Use.MASK} & set(kinds.values()):
            return None
        return tuple(name for name, use in kinds.items() if use is _Use.DATA)

    def _ahead(
        self,
        ends: Callable[[ir.Node, int], bool],
        passes: Callable[[ir.Node, int], bool],
        quantifier: Callable[[Iterator[bool]], bool],
    ) -> set[ir.Value]:
        """Values whose uses (all, or any) lead to an end through nodes that pass."""
        found: set[ir.Value] = set()

        def leads(node: ir.Node, index: int) -> bool:
            if ends(node, index):
                return True
            return passes(node, index) and any(value in found for value in node.outputs)

        for value in self._backwards():
            uses = value.uses()
            if uses and quantifier(leads(node, index) for node, index in uses):
                found.add(value)
        if quantifier is all:
            found -= set(self.graph.outputs)
        return found

    def _backwards(self) -> Iterator[ir.Value]:
        for node in reversed(self.nodes):
            yield from node.outputs
        yield from self.graph.initializers.values()
        yield from self.inputs

    def _magnitudes(self) -> dict[ir.Value, float]:
        """The largest constant that went into a value by addition, product or choice."""
        found: dict[ir.Value, float] = {}
        for value in self.graph.initializers.values():
            found[value] = largest(value.const_value.numpy()) if value.const_value is not None else 0.0
        for node in self.nodes:
            magnitude = 0.0
            if node.op_type == "Log":
                magnitude = LOW  # at least, of a mask of ones and zeros
            elif node.op_type == "ConstantOfShape":
                fill = node.attributes.get_tensor("value", None)
                magnitude = 0.0 if fill is None else largest(fill.numpy())
            elif is_pass_through(node) or node.op_type in MAGNITUDES_PASSED or node.op_type in TABLE_LOOKUPS:
                magnitude = max((found.get(value, 0.0) for value in _operands(node)), default=0.0)
            elif node.op_type == "Div":
                magnitude = found.get(node.inputs[0], 0.0) if node.inputs[0] is not None else 0.0
            for value in node.outputs:
                found[value] = 0.0 if value.dtype is ir.DataType.BOOL else magnitude
        return found

    def _origins(self) -> dict[ir.Value, _Origin]:
        found = dict.fromkeys(self.graph.initializers.values(), _Origin.CONSTANTS)
        for value in self.inputs:
            found[value] = _Origin.FLOATS if is_float(value) else _Origin.INTEGERS
        for node in self.nodes:
            origin = self._origin(node, found)
            found.update(dict.fromkeys(node.outputs, origin))
        return found

    def _origin(self, node: ir.Node, found: Mapping[ir.Value, _Origin]) -> _Origin:
        if node.op_type in SHAPE_READERS:
            return _Origin.SHAPES
        sources = [found[value] for value in node.inputs if value is not None]
        highest = max(sources, default=_Origin.CONSTANTS)
        if node.op_type in RANDOM or not is_standard(node) or _has_subgraph(node):
            return _Origin.COMPUTED
        if highest is _Origin.CONSTANTS:
            return highest
        if is_multiplier(node) and not self._is_bookkeeping_product(node, found):
            return _Origin.COMPUTED
        table = node.inputs[0] if node.op_type in TABLE_LOOKUPS else None
        if table is None or found[table] is not _Origin.CONSTANTS or not is_float(table):
            return highest
        rows_of_a_mask = magnitude_strength(self.magnitudes[table]) is Strength.ANYWHERE
        return highest if rows_of_a_mask else _Origin.COMPUTED

    def _is_bookkeeping_product(self, node: ir.Node, found: Mapping[ir.Value, _Origin]) -> bool:
        """Positions times frequencies, or a mask times its transpose."""
        origins = [found[value] for value in factors(node)]
        if max(origins) > _Origin.INTEGERS:
            return False
        return node.outputs[0] in self.angles or min(origins) > _Origin.CONSTANTS

    def _find_uses(self) -> None:
        self.uses = {}
        outputs = set(self.graph.outputs)
        for value in self._backwards():
            is_data = value in outputs and is_float(value) and self.origins[value] >= _Origin.FLOATS
            kinds = [self._use(node, index) for node, index in value.uses()]
            self.uses[value] = max([_Use.DATA if is_data else _Use.NONE, *kinds])

    def _use(self, node: ir.Node, index: int) -> _Use:
        """What `node` takes its operand `index` for."""
        value = node.inputs[index]
        assert value is not None
        if node.op_type in SHAPE_READERS:
            return _Use.NONE
        if is_bookkeeping(node, index):
            return _Use.MASK if node.op_type in SELECTING_CONDITIONS else _Use.INDEX
        if node.outputs[0] not in self.origins or not is_standard(node) or _has_subgraph(node):
            return _Use.DATA if is_float(value) else _Use.INDEX
        passed = max(self.uses.get(each, _Use.NONE) for each in node.outputs)
        origin, result = self.origins[value], self.origins[node.outputs[0]]
        if node.op_type in COMPARISONS:
            return _Use.NONE if origin is _Origin.COMPUTED else min(passed, _Use.INDEX)
        if node.op_type in ANGLE_FUNCTIONS and origin is not _Origin.COMPUTED:
            return _Use.INDEX
        if node.op_type in SELECTORS:
            return _Use.DATA if is_float(value) else _Use.INDEX
        if is_multiplier(node):
            return _Use.DATA if result is _Origin.COMPUTED else passed
        if result is origin:
            return passed
        if self._lays_mask(node, index):
            return _Use.MASK
        scales = node.op_type == "Mul" or (node.op_type in ("Div", "Pow") and index == 1)
        return _Use.MASK if scales and origin <= _Origin.INTEGERS else _Use.DATA

    def _lays_mask(self, node: ir.Node, index: int) -> bool:
        """True where operand `index` is a mask for the rest of what `node` computes with."""
        value = node.inputs[index]
        if value is None or index not in LAYING.get(node.op_type, ()):
            return False
        origin, output = self.origins[value], node.outputs[0]
        if origin is _Origin.COMPUTED or not is_float(value):
            return False
        if node.op_type in ("Add", "Sub") and value.const_value is not None:
            strength = array_strength(value.const_value.numpy(), -1.0 if node.op_type == "Sub" else 1.0)
        else:
            strength = magnitude_strength(self.magnitudes.get(value, 0.0))
        if strength is Strength.ANYWHERE or (
            strength is Strength.BEFORE_SOFTMAX and output in self.before_end
        ):
            return True
        is_given = origin in GIVEN and value not in self.mixed
        return is_given and self.origins[output] > origin and output in self.before_softmax

    def _mixed(self) -> set[ir.Value]:
        found = {value for value in self.inputs if self.uses[value] is _Use.DATA}
        for node in self.nodes:
            if node.op_type in COMPARISONS or node.op_type in SHAPE_READERS:
                continue
            if any(value in found for value in _operands(node)):
                found.update(node.outputs)
        return found

    def _role(self, value: ir.Value) -> Role:
        origin, use = self.origins[value], self.uses[value]
        if value in self.results:
            return Role.RESULT
        if origin <= _Origin.SHAPES:
            conditions = value.dtype is ir.DataType.BOOL and use is _Use.MASK
            if conditions or any(self._lays_mask(node, index) for node, index in value.uses()):
                return Role.MASK
            if origin is _Origin.CONSTANTS:
                return Role.CONSTANT
            multiplied = use is _Use.DATA and is_float(value) and read_by_multiplier(value)
            return Role.SIGNAL if multiplied else Role.SHAPE
        if self.divisors.get(value) == () and is_float(value):
            return Role.DIVISOR
        if origin is _Origin.COMPUTED and is_float(value):
            return Role.INDEX if use is _Use.INDEX else Role.SIGNAL
        if use is _Use.NONE and is_float(value) and value.uses():
            return Role.SHAPE  # nothing but its shape is read
        if value.dtype is ir.DataType.BOOL and use is _Use.DATA:
            return Role.INDEX  # what is made of it may be a signal
        return _ROLES[use]

    def _masked(self) -> Iterator[str]:
        found: set[ir.Value] = set()
        for node in self.nodes:
            carried = any(
                value in found and carries_mask(node, index) for index, value in enumerate(node.inputs)
            )
            if carried or is_masking_pad(node) or self._makes_mask(node):
                found.update(node.outputs)
        yield from (str(value.name) for value in found)

    def _makes_mask(self, node: ir.Node) -> bool:
        """A mask is laid over something, or a signal multiplied with its numbers."""
        if any(self._lays_mask(node, index) for index in range(len(node.inputs))):
            return True
        return node.op_type == "Mul" and any(
            is_constant(value) and magnitude_strength(self.magnitudes[value]) is Strength.ANYWHERE
            for value in node.inputs
            if value is not None
        )


def _ends(op_types: frozenset[str]) -> Callable[[ir.Node, int], bool]:
    return lambda node, index: index == 0 and node.op_type in op_types and is_standard(node)


def _turns(node: ir.Node, index: int) -> bool:
    """A step on the way of positions to their sine."""
    return is_pass_through(node) or node.op_type in ("Add", "Sub", "Mul", "Div", "Concat", "Cast", "Einsum")


def _operands(node: ir.Node) -> Iterator[ir.Value]:
    """The inputs that are no indices, shapes or conditions."""
    for index, value in enumerate(node.inputs):
        if value is not None and not is_bookkeeping(node, index):
            yield value


def _has_subgraph(node: ir.Node) -> bool:
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(attribute.type in kinds for attribute in node.attributes.values())
