"""What a target makes of a model: the choices of every weight and activation, what stays float, pairs that go together."""

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from mpq_onnx.arithmetic.weights import TABLE_RULES
from mpq_onnx.errors import UsageError
from mpq_onnx.graph.placement.overrides import Said
from mpq_onnx.graph.placement.sites import ActivationSite, Sites, WeightSite
from mpq_onnx.registries import WEIGHT_SCALES
from mpq_onnx.targets.description import FLOAT_WIDTH, Statement, Target, listed, same_width
from mpq_onnx.targets.matching import Demand, Operator, operators_of, statement
from mpq_onnx.targets.sources import QuantizedTensor, activation_demands

Pairs = set[tuple[float, float]]
"""(width of the weight, width of the input) each; FLOAT_WIDTH, which is math.inf, for float."""
LOOKUP = "Gather"
Choices = dict[str, tuple[float, ...]]
"""Widths by tensor."""


@dataclass(frozen=True)
class Common:
    """What the options of an allocation say of all tensors alike."""

    weight_choices: tuple[float, ...]
    activation_choices: tuple[float, ...]
    weight_scheme: str
    weight_scales: str
    quantizes_weights: bool = True
    """False where the weights stay in float."""
    quantizes_activations: bool = True


@dataclass(frozen=True)
class Requirements:
    """A target over one float model."""

    target: Target
    model: ir.Model

    @cached_property
    def operators(self) -> dict[str, Operator]:
        """Of the model, by name."""
        return operators_of(self.model)

    def said(self, node: str, side: str, what: str = "") -> Statement | None:
        """The line that holds for a node."""
        return statement(self.target, self.operators.get(node), side, what)

    def allowed_pairs(self, node: str) -> Pairs | None:
        """Widths of weight and input that go together at a multiply-accumulate; None where all do.

        The weight is the operand that is held, of a product of two activations the second; the input is the one that streams.
        """
        found = self.said(node, "pairs")
        return None if found is None else set(found.values)

    @cached_property
    def lookups(self) -> dict[str, list[str]]:
        """Nodes that look up rows of a table, which a classifier may multiply too, by table."""
        found: dict[str, list[str]] = {}
        for node in self.model.graph:
            table = node.inputs[0] if node.op_type == LOOKUP and node.inputs else None
            if table is not None:
                found.setdefault(str(table.name), []).append(str(node.name))
        return found

    def weight_demand(self, site: WeightSite, what: str = "bits") -> Demand:
        """What all nodes that multiply a weight take: its bits, scheme or scales."""
        nodes = [*(use.node for use in site.uses), *self.lookups.get(site.tensor, ())]
        said = [(node, self.said(node, "weights", what)) for node in dict.fromkeys(nodes)]
        return Demand(tuple((node, each) for node, each in said if each is not None))

    def activation_demands(self, sites: Sites) -> dict[str, Demand]:
        """What those who write and read every activation take, by tensor."""
        tensors = [QuantizedTensor(site.tensor, site.node, site.readers) for site in sites.activations]
        return activation_demands(self.target, self.model, self.operators, tensors)

    def restrict(self, sites: Sites, said: Said, common: Common) -> tuple[Sites, Said]:
        """Sites of the model with their schemes and scales, and the widths that they may have.

        Args:
            said: what overrides say of some tensors; they must keep to the target.

        Raises:
            UsageError: an override, or what is left in float, that a line forbids; lines that leave nothing.
        """
        demands = self.activation_demands(sites)
        ruled = {tensor for tensor, demand in demands.items() if demand.statements}
        weights = {
            site.tensor: _allowed(
                site, self.weight_demand(site), said.weights, common.weight_choices, common.quantizes_weights
            )
            for site in sites.weights
        }
        activations = {
            site.tensor: _allowed(
                site,
                demands[site.tensor],
                said.activations,
                common.activation_choices,
                common.quantizes_activations,
            )
            for site in sites.activations
        }
        self._keep_pairs(
            sites,
            weights if common.quantizes_weights else dict.fromkeys(weights, (FLOAT_WIDTH,)),
            activations if common.quantizes_activations else dict.fromkeys(activations, (FLOAT_WIDTH,)),
        )
        shaped = tuple(self._with_grid(site, common) for site in sites.weights)
        narrowed = Said(
            _own(sites.weights, weights, said.weights, common.weight_choices, self._ruled(sites)),
            _own(sites.activations, activations, said.activations, common.activation_choices, ruled),
        )
        return dataclasses.replace(sites, weights=shaped), Said(
            narrowed.weights if common.quantizes_weights else said.weights,
            narrowed.activations if common.quantizes_activations else said.activations,
        )

    def _ruled(self, sites: Sites) -> set[str]:
        """Weights whose widths a line is about."""
        return {site.tensor for site in sites.weights if self.weight_demand(site).statements}

    def _with_grid(self, site: WeightSite, common: Common) -> WeightSite:
        """`site` with the scheme and scales that the device wants, where the options' are not among them."""
        is_table = site.is_table
        scheme, scales = (
            self._taken(site, "scheme", TABLE_RULES.scheme if is_table else common.weight_scheme, None),
            self._taken(
                site, "scales", TABLE_RULES.scales if is_table else common.weight_scales, WEIGHT_SCALES
            ),
        )
        return dataclasses.replace(site, scheme=scheme, scales=scales)

    def _taken(self, site: WeightSite, what: str, common: str, known: Sequence[str] | None) -> str | None:
        demand = self.weight_demand(site, what)
        values = demand.values
        if values is None or demand.refusal(common) is None:
            return None
        usable = [str(each) for each in values if known is None or each in known]
        if not usable:
            raise UsageError(
                f"node {site.node}: {demand} leaves no {what} of weights that can be made: {', '.join(known or ())}"
            )
        return usable[0]

    def meetings(self, sites: Sites) -> list["Meeting"]:
        """Every multiply-accumulate of which a line says what goes together."""
        found = [
            Meeting(use.node, said, site.tensor, use.source, is_weight=True)
            for site in sites.weights
            for use in site.uses
            if use.macs and not use.is_fed_back and (said := self.said(use.node, "pairs")) is not None
        ]
        found += [
            Meeting(site.node, said, site.sources[1], site.sources[0], is_weight=False)
            for site in sites.products
            if (said := self.said(site.node, "pairs")) is not None and site.float_weight is None
        ]
        return found

    def _keep_pairs(self, sites: Sites, weights: Choices, activations: Choices) -> None:
        """Take out widths that go with nothing that is left at the other operand.

        Raises:
            UsageError: nothing is left.
        """
        lines = [(each, weights if each.is_weight else activations) for each in self.meetings(sites)]
        changed = True
        while changed:
            changed = False
            for each, held in lines:
                said, tensor, source = each.said, each.held, each.streamed
                firsts = held[tensor] if tensor is not None else (FLOAT_WIDTH,)
                seconds = activations[source] if source is not None else (FLOAT_WIDTH,)
                left = _going_together(said, firsts, seconds)
                if not left[0]:
                    raise UsageError(
                        f"node {each.node}: {said} leaves nothing: its weight may have {listed(firsts)} bits,"
                        f" its input {listed(seconds)}"
                    )
                changed = changed or left != (firsts, seconds)
                if tensor is not None:
                    held[tensor] = left[0]
                if source is not None:  # of a product with itself both operands have one width
                    activations[source] = tuple(
                        width for width in left[1] if source != tensor or width in left[0]
                    )


@dataclass(frozen=True)
class Meeting:
    """Two tensors that meet at a multiply-accumulate."""

    node: str
    said: Statement
    """The line about their widths."""
    held: str | None
    """Name of the weight, or of the activation in its place; None where it stays in float."""
    streamed: str | None
    is_weight: bool

    def allows(self, held: float, streamed: float) -> bool:
        """Widths that go together."""
        return goes(self.said.values, held, streamed)


def _going_together(
    said: Statement, firsts: tuple[float, ...], seconds: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of the widths of weight and input those that go with one of the other's."""

    def go(weight: float, data: float) -> bool:
        return goes(said.values, weight, data)

    return (
        tuple(each for each in firsts if any(go(each, other) for other in seconds)),
        tuple(each for each in seconds if any(go(other, each) for other in firsts)),
    )


def goes(pairs: Iterable[tuple[float, float]], weight: float, data: float) -> bool:
    """Is it one of the pairs?"""
    return any(same_width(weight, one) and same_width(data, other) for one, other in pairs)


Site = WeightSite | ActivationSite


def _allowed(
    site: Site,
    demand: Demand,
    overrides: Mapping[str, tuple[float, ...]],
    common: tuple[float, ...],
    is_quantized: bool,
) -> tuple[float, ...]:
    """The widths that a tensor may have, FLOAT_WIDTH for one that stays in float.

    Raises:
        UsageError: what an override says, or float, is none that the device takes.
    """
    values = demand.values
    overridden = overrides.get(site.tensor) if is_quantized else None
    stays_float = not is_quantized or site.fixed_bits == 0
    if overridden is not None or stays_float:
        wanted = overridden or (FLOAT_WIDTH,)
        for width in wanted:
            refusal = demand.refusal(width)
            if refusal is not None:
                raise UsageError(_refused(site, width, refusal, overridden is not None))
        return tuple(wanted) if is_quantized else _usual(site, common)
    if values is None:
        return _usual(site, common)
    if not values:
        raise UsageError(f"tensor {site.tensor}: {demand} leave no width that all of them take")
    finite = [each for each in values if math.isfinite(each)]
    if site.fixed_bits is not None:
        return (_nearest_fixed(site.fixed_bits, finite),)
    chosen = tuple(width for width in common if any(same_width(width, each) for each in finite))
    return chosen or tuple(finite) or (FLOAT_WIDTH,)


def _usual(site: Site, common: tuple[float, ...]) -> tuple[float, ...]:
    """What a tensor may have that no line is about."""
    return common if site.fixed_bits is None else (float(site.fixed_bits or FLOAT_WIDTH),)


def _nearest_fixed(bits: int, finite: Sequence[float]) -> float:
    """A width outside the budget: as it is fixed, else the next above, else the widest."""
    above = [each for each in finite if each >= bits]
    return min(above, default=max(finite, default=FLOAT_WIDTH))


def _refused(site: Site, width: float, refusal: tuple[str, Statement], is_override: bool) -> str:
    node, said = refusal
    what = "float" if math.isinf(width) else f"{width:g} bits"
    why = "given for" if is_override else "what is left for"
    side = "the weight of" if isinstance(site, WeightSite) else "the output of"
    return f"{what}, {why} {side} node {site.node}, is not what the device takes: {said} (node {node})"


def _own(
    sites: Sequence[Site],
    allowed: Choices,
    overrides: Mapping[str, tuple[float, ...]],
    common: tuple[float, ...],
    ruled: Collection[str],
) -> Choices:
    """Widths that are said of a tensor, as overrides say them: () for float.

    Those that a line is about have choices of their own, though they be all others': uniform widths are the device's too then.
    """
    found: Choices = {}
    for site in sites:
        widths = allowed[site.tensor]
        if site.tensor in overrides or site.tensor in ruled or widths != _usual(site, common):
            found[site.tensor] = tuple(each for each in widths if math.isfinite(each))
    return found
