"""Einsum with every label written out: an ellipsis gets labels of its own, an equation without an arrow its result.

The result without an arrow has the axes of the ellipsis first, then the labels that occur once in alphabetical order. Operands
that have fewer axes in the ellipsis lack the first of them, as everywhere in broadcasting.
"""

import string

import onnx_ir as ir

from mpq_onnx.graph.operators import is_standard, rank_of

ELLIPSIS = "..."


class WriteEinsumLabelsPass(ir.passes.InPlacePass):
    """Write the labels out where the ranks of all operands with an ellipsis are known."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in model.graph.all_nodes():
            if node.op_type != "Einsum" or not is_standard(node):
                continue
            equation = node.attributes["equation"].as_string().replace(" ", "")
            written = _written_out(equation, [rank_of(value) for value in node.inputs])
            if written not in (None, equation):
                node.attributes["equation"] = ir.AttrString("equation", written)
                modified = True
        return ir.passes.PassResult(model, modified=modified)


def _written_out(equation: str, ranks: list[int | None]) -> str | None:
    """The equation with all labels; None where a rank that it takes is not known, or the equation makes no sense."""
    operands, arrow, result = equation.partition("->")
    terms = operands.split(",")
    if len(terms) != len(ranks):
        return None
    if not arrow:
        once = sorted(label for label in set(operands) - set(".,") if operands.count(label) == 1)
        if len({label.isupper() for label in once}) > 1:
            return None  # implementations differ in the order of capitals
        result = (ELLIPSIS if ELLIPSIS in operands else "") + "".join(once)
    lengths = [0] * len(terms)
    for index, (term, rank) in enumerate(zip(terms, ranks, strict=True)):
        if ELLIPSIS in term:
            if rank is None or rank < len(term) - len(ELLIPSIS):
                return None
            lengths[index] = rank - len(term) + len(ELLIPSIS)
    free = [label for label in string.ascii_letters if label not in equation]
    longest = max(lengths)
    if longest > len(free):
        return None
    labels = "".join(free[:longest])
    parts = [
        term.replace(ELLIPSIS, labels[longest - length :])
        for term, length in zip(terms, lengths, strict=True)
    ]
    return f"{','.join(parts)}->{result.replace(ELLIPSIS, labels)}"
