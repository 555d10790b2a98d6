"""Does an allocation belong to a model? Widths and ranges may be edited by hand; counts, and what belongs to what, may not."""

from mpq_onnx.allocation import Allocation, NodePrecision, make_allocation
from mpq_onnx.entry_names import listed_unknown, named_first
from mpq_onnx.errors import AllocationError
from mpq_onnx.placement import Sites

FACTS = (
    "input", "other_input", "macs", "weight_elements", "weight_counted", "activation_elements", "activation_counted"
)  # fmt: skip
"""What the model says of an entry; means, bytes and BOPs are counted from it."""

Key = tuple[str, str | None, str | None]


def check_against_sites(allocation: Allocation, sites: Sites) -> None:
    """Raise AllocationError unless `allocation` has the entries of the model that `sites` came from, each once."""
    wanted: dict[Key, list[NodePrecision]] = {}
    for entry in make_allocation(allocation.model, allocation.settings, sites, {}, {}, {}).nodes:
        wanted.setdefault(_key(entry), []).append(entry)
    channels = {site.tensor: site.channels for site in sites.weights}
    unknown = [_named(entry) for entry in allocation.nodes if _key(entry) not in wanted]
    if unknown:
        known = [_named(entry) for left in wanted.values() for entry in left]
        raise AllocationError(
            f"the allocation has entries that the model has not: {listed_unknown(unknown, known)}"
        )
    for entry in allocation.nodes:
        left = wanted[_key(entry)]
        if not left:
            raise AllocationError(f"{_named(entry)} has two entries; keep one of them")
        own = next((each for each in left if _facts(each) == _facts(entry)), left[0])
        left.remove(own)
        _check_facts(entry, own)
        count = channels.get(entry.weight or "")
        if isinstance(entry.weight_bits, tuple) and len(entry.weight_bits) != count:
            raise AllocationError(
                f"node {entry.node}: weight_bits lists {len(entry.weight_bits)} widths for {count} output channels"
            )
    missing = [entry.node for left in wanted.values() for entry in left]
    if missing:
        raise AllocationError(f"the allocation has no entry for {named_first('node', missing)}")


def _key(entry: NodePrecision) -> Key:
    return entry.node, entry.weight, entry.activation


def _facts(entry: NodePrecision) -> tuple[object, ...]:
    return tuple(getattr(entry, name) for name in FACTS)


def _check_facts(entry: NodePrecision, own: NodePrecision) -> None:
    for name in FACTS:
        given, right = getattr(entry, name), getattr(own, name)
        if given != right:
            raise AllocationError(
                f"{_named(entry)}: {name} is {given} in the allocation and {right} in the model; only widths and ranges may"
                " be edited"
            )


def _named(entry: NodePrecision) -> str:
    parts = [
        f"{kind} {name}" for kind, name in (("weight", entry.weight), ("output", entry.activation)) if name
    ]
    return f"node {entry.node}" + (f" with {' and '.join(parts)}" if parts else "")
