"""Which line of a target file holds for which operator of a model."""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.mac import Mac, macs_of
from mpq_onnx.graph.placement.sites import value_shape
from mpq_onnx.targets.description import FIRST, LAST, Rule, Statement, Target

INPUT = "Input"
"""The operator of a model's inputs."""


@dataclass(frozen=True)
class Operator:
    """A node, or an input of the model, as rules see it."""

    name: str
    op_type: str
    is_depthwise: bool = False
    places: frozenset[str] = field(default_factory=frozenset)


def operators_of(model: ir.Model) -> dict[str, Operator]:
    """All of them, by name."""
    macs = list(macs_of(model.graph))
    weighted = [str(mac.node.name) for mac in macs if mac.is_constant]
    ends: dict[str, set[str]] = {}
    for place, index in ((FIRST, 0), (LAST, -1)):
        if weighted:
            ends.setdefault(weighted[index], set()).add(place)
    depthwise = {str(mac.node.name) for mac in macs if _is_depthwise(mac)}
    found = {str(value.name): Operator(str(value.name), INPUT) for value in model.graph.inputs}
    for node in model.graph:
        name = str(node.name)
        found[name] = Operator(name, node.op_type, name in depthwise, frozenset(ends.get(name, ())))
    return found


def _is_depthwise(mac: Mac) -> bool:
    if mac.group == 1 or not mac.is_constant:
        return False
    try:
        shape = value_shape(mac.held, {})
    except ModelError:
        return False
    channels = shape[1] if mac.node.op_type == "Conv" else shape[0] // mac.group
    return channels == 1


def is_for(rule: Rule, operator: Operator) -> bool:
    """Does the rule hold for it?"""
    if rule.operators and operator.op_type not in rule.operators:
        return False
    if rule.names and not any(fnmatch.fnmatchcase(operator.name, pattern) for pattern in rule.names):
        return False
    if rule.depthwise is not None and rule.depthwise != operator.is_depthwise:
        return False
    return not rule.place or bool(operator.places & set(rule.place))


def statement(target: Target, operator: Operator | None, side: str, what: str = "") -> Statement | None:
    """What holds for an operator: the last line that says something of it; None where none does."""
    if operator is None:
        return None
    for place in range(len(target.rules) - 1, -1, -1):
        said = target.said(place, side, what) if is_for(target.rules[place], operator) else None
        if said is not None:
            return said
    return None


@dataclass(frozen=True)
class Demand:
    """What several lines say of one tensor: of an activation those who write and read it, of a weight all who multiply it."""

    statements: tuple[tuple[str, Statement], ...] = ()
    """(node, what is said of it)."""

    @property
    def values(self) -> tuple[float, ...] | None:
        """What all of them allow; None where nothing is said."""
        if not self.statements:
            return None
        first = self.statements[0][1].values
        return tuple(each for each in first if self.refusal(each) is None)

    def refusal(self, value: object) -> tuple[str, Statement] | None:
        """The first node and line that does not allow a value."""
        return next((each for each in self.statements if not each[1].allows(value)), None)

    def __str__(self) -> str:
        return "; ".join(f"{said} (node {node})" for node, said in self.statements)


Demands = Mapping[str, Demand]
"""By tensor."""
