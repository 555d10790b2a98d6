"""Write docs/operators.md from the mirror's op table, and from those of operators that the canonical form writes out.

python docs/make_operators.py
"""

import importlib
import pkgutil
from pathlib import Path

import mpq_onnx.mirror.ops as package
from mpq_onnx.graph.contributed import AMONG_STANDARD
from mpq_onnx.graph.mirrored import REFUSED_ATTRIBUTES
from mpq_onnx.mirror.ops import OP_TABLE
from mpq_onnx.passes import contributed, machine_learning

PAGE = Path(__file__).with_name("operators.md")
HEAD = """# Operators of the mirror

Made from the op table by `python docs/make_operators.py`; do not edit by hand.

The mirror turns these ONNX operators (default domain, at the canonical opset 21; RMSNormalization and Swish as functions of
the domain mpq_onnx.composite) into torch functions. ONNX's own node tests judge them (tests/test_mirror_node_tests.py). An
operator that is missing in front of a product stops `allocate` with one line that names it, its node and the file; adding one
is a function and a line in the table of its family, `mpq_onnx/mirror/ops/<family>.py`. Behind the last product it begins what
is post-processing (NonMaxSuppression, a Loop over classes, a tree): that stays in the file as it is, in float, and what it
reads of the network stands for its results where widths are chosen and files compared (`graph/post_processing.py`).

| family | operators |
|---|---|
"""


WRITTEN_OUT = """
## Written out by `export`

Operators of other domains, as scikit-learn's converters and onnxruntime's optimizers write them, become standard ones in the
canonical form (`mpq_onnx/passes/machine_learning/`, `mpq_onnx/passes/contributed/`), so that an optimized file costs and
quantizes as the network that it was made from. onnxruntime on the source judges them (tests/test_machine_learning_operators.py,
tests/test_contributed_operators.py).

| domain | operators |
|---|---|
"""
REFUSED = """
Of com.microsoft, these stop `export` with one line that names the node: attention with keys and values of earlier tokens (past,
present), with its inputs packed in one tensor, or with a rotary embedding inside; GroupQueryAttention. Give the file from
before the optimizer or model builder then, exported without a cache. So do files that were optimized for one processor
(ORT_ENABLE_ALL: com.microsoft.nchwc), which ORT_ENABLE_EXTENDED leaves portable. Other operators of com.microsoft stay, and
`allocate` names them.
"""


def page() -> str:
    """The text of docs/operators.md."""
    families: dict[str, list[str]] = {}
    for op_type in OP_TABLE:
        families.setdefault(_family(op_type), []).append(op_type)
    rows = [f"| {family} | {', '.join(sorted(names))} |" for family, names in sorted(families.items())]
    mirrored = HEAD + "\n".join(rows) + f"\n\n{len(OP_TABLE)} operators. Without a mirror: {_refused()}.\n"
    return mirrored + WRITTEN_OUT + "\n".join(_written_out()) + "\n" + REFUSED


def _refused() -> str:
    """Operators with attributes that the mirror does not know."""
    return ", ".join(
        f"{op_type} with {name} {value}"
        for op_type, attributes in REFUSED_ATTRIBUTES.items()
        for name, value in attributes.items()
    )


def _written_out() -> list[str]:
    """A row a domain."""
    by_domain = {
        machine_learning.DOMAIN: machine_learning.REWRITERS,
        contributed.DOMAIN: contributed.REWRITERS.keys() - contributed.REFUSED,
        "ONNX's own, as onnxruntime has it where ONNX has none": AMONG_STANDARD,
    }
    return [f"| {domain} | {', '.join(sorted(names))} |" for domain, names in by_domain.items()]


def _family(op_type: str) -> str:
    """The file of the op table that lists `op_type`."""
    for module in pkgutil.iter_modules(package.__path__):
        if op_type in getattr(importlib.import_module(f"{package.__name__}.{module.name}"), "OPS", {}):
            return module.name
    raise LookupError(op_type)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
