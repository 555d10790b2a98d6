"""What all rules of this folder share: a pattern of one node, the last of a composite, and a check that reads back."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter.pattern import MatchResult, RewriteRule, RewriteRuleClassBase

Build = Callable[[Any], ir.Value]
"""Adds the nodes that stand for the composite by the rewriter's builder, and returns their output."""


class RootRule(RewriteRuleClassBase):
    """Rewrites a composite, found from its last node.

    A pattern that listed every way of writing a composite would be hundreds of patterns; the check reads the arithmetic
    behind the last node as a polynomial (polynomial.py, reading.py), and one normal form serves all of them.
    """

    def __init__(self, root: str) -> None:
        super().__init__(f"{type(self).__name__}Of{root}")
        self.root = root
        self._build: Build | None = None

    @classmethod
    def rules(cls, roots: Sequence[str]) -> list[RewriteRule]:
        """One rule for every operator that may stand last."""
        return [cls.rule(root) for root in roots]

    def pattern(self, op: Any, x: Any) -> Any:
        """root(x, ...)"""
        return getattr(op, self.root)(
            x, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["root"]
        )

    def check(self, op: Any, *_: Any, root: ir.Value, **__: Any) -> MatchResult:
        result = MatchResult()
        node = root.producer()
        self._build = None if node is None else self.find(node)
        return result if self._build is not None else result.fail("another formula")

    def rewrite(self, op: Any, root: ir.Value, **_: Any) -> ir.Value:
        assert self._build is not None
        output = self._build(op)
        last, replaced = output.producer(), root.producer()
        assert last is not None and replaced is not None
        for node in op.nodes:
            node.name = replaced.name or root.name if node is last else f"{root.name}_{node.op_type}"
        return output

    @abstractmethod
    def find(self, root: ir.Node) -> Build | None:
        """What to put in place of the composite that ends in `root`; None where none does."""
