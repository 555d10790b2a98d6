"""Which keys a query may not see, in the forms in which onnxruntime's attention says it."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.passes.contributed.builder import BEFORE, ContributedBuilder

FILTER = -10000.0
"""What is added to the score of a masked key, where the node does not say."""


@dataclass(frozen=True)
class KeyMask:
    """The mask of one attention."""

    given: ir.Value | None
    """[batch, keys] or [batch, queries, keys] of positive numbers where a key counts; or how many keys count [batch], with the
    first of them behind [2 * batch]."""
    queries: ir.Value
    """Has the number of queries as its axis 1."""
    keys: ir.Value
    key_axis: int = 1
    """Where the number of keys stands in `keys`."""

    def laid_over_scores(self, builder: ContributedBuilder) -> ir.Value | None:
        """What is added to scores [batch, heads, queries, keys]; None where all keys count."""
        attributes = builder.node.attributes
        causal = bool(attributes.get_int("unidirectional", 0))
        if self.given is None and not causal:
            return None
        zero = builder.number("zero", 0.0, self.queries)
        laid = zero
        if self.given is not None:
            low = builder.number("masked", attributes.get_float("mask_filter_value", FILTER), self.queries)
            laid = builder.op("Where", self._counts(builder, self.given), zero, low)
        if causal:
            kind = self.queries.dtype or ir.DataType.FLOAT
            lowest = builder.number("never", float(np.finfo(kind.numpy()).min), self.queries)
            rows = builder.reshape(builder.places(self.queries, 1), -1, 1)
            later = builder.op("Less", rows, builder.places(self.keys, self.key_axis))
            laid = builder.op("Where", later, lowest, laid)
        return laid

    def _counts(self, builder: ContributedBuilder, given: ir.Value) -> ir.Value:
        """Whether a key counts, which broadcasts to [batch, 1, queries, keys]."""
        rank = builder.rank(given)
        if rank == 1:
            return self._in_range(builder, given)
        if rank > 3:
            raise builder.refusal(f"a mask of {rank} axes has no standard form here; {BEFORE}")
        counts = builder.op("Greater", given, builder.constant("zero", np.zeros((), given.dtype.numpy())))  # type: ignore[union-attr]
        if rank == 2:
            return builder.reshape(counts, 0, 1, 1, -1)
        unsqueezed = builder.of_today("Unsqueeze", counts, builder.integers("axis", 1))
        unsqueezed.dtype, unsqueezed.shape = ir.DataType.BOOL, ir.Shape([None, 1, None, None])
        return unsqueezed

    def _in_range(self, builder: ContributedBuilder, given: ir.Value) -> ir.Value:
        """Keys before an end, or from a beginning to an end."""
        ends = builder.op("Cast", given, to=ir.DataType.INT64)
        places = builder.places(self.keys, self.key_axis)
        if not self._has_beginnings(builder, given):
            return builder.op("Less", places, builder.reshape(ends, -1, 1, 1, 1))
        both = builder.reshape(ends, 2, -1, 1, 1, 1)
        end, first = (
            builder.op("Gather", both, builder.constant("which", np.array(each)), axis=0) for each in (0, 1)
        )
        before_first = builder.op("Less", places, first)
        return builder.op("And", builder.op("Less", places, end), builder.op("Not", before_first))

    def _has_beginnings(self, builder: ContributedBuilder, given: ir.Value) -> bool:
        """Told by the lengths where the file states them; else there is one end an example, as optimizers write it."""
        length = None if given.shape is None else given.shape[0]
        batch = None if self.queries.shape is None else self.queries.shape[0]
        if not isinstance(length, int) or not isinstance(batch, int) or length == batch:
            return False
        if length != 2 * batch:
            raise builder.refusal(f"a mask of {length} places has no standard form here; {BEFORE}")
        return True
