"""A function takes over the versions of operator sets that the model has, where its operators are the same in both.

Inlined, its nodes are read by the model's imports. ONNX's checker lets a function have others under that condition alone.
"""

import onnx
import onnx_ir as ir

from mpq_onnx.ops.composites import is_composite


class OneOpsetPass(ir.passes.InPlacePass):
    """Before functions are inlined; where an operator is another one, the imports stay as they are."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for function in model.functions.values():
            for domain, version in list(function.opset_imports.items()):
                wanted = model.opset_imports.get(domain, version)
                if (
                    wanted != version
                    and not is_composite(function)
                    and _is_same(model, function, domain, wanted)
                ):
                    function.opset_imports[domain] = wanted
                    changed = True
        return ir.passes.PassResult(model, modified=changed)


def _is_same(model: ir.Model, function: ir.Function, domain: str, version: int) -> bool:
    """Whether all that `function` takes from `domain` is in `version` what it is in its own; functions have no versions."""
    own = function.opset_imports[domain]
    taken = {node.op_type for node in function.all_nodes() if node.domain == domain}
    called = {name for at, name, _ in model.functions if at == domain}
    return all(
        _since(each, own, domain) == _since(each, version, domain) is not None for each in taken - called
    )


def _since(op_type: str, version: int, domain: str) -> int | None:
    """The version that last changed the operator; None where ONNX knows none."""
    try:
        return int(onnx.defs.get_schema(op_type, version, domain).since_version)
    except onnx.defs.SchemaError:
        return None
