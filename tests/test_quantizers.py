"""The one reader of quantizers: which integers are in use, and what of that is exact enough to hand off."""

import numpy as np
import onnx_ir as ir
import pytest
from conftest import make_model
from onnx import TensorProto, helper

from mpq_onnx.graph.quantizer_chains import quantizer_chains
from mpq_onnx.graph.quantizers import Quantizer, quantizer_behind, read_quantizer

STEP, ZERO = np.float32(0.5), np.array(8, np.uint8)


def chain(front=None, behind=None, zero_point=ZERO, other_step=STEP, **inputs: str) -> ir.Model:
    """x through QuantizeLinear and DequantizeLinear, limits of a Clip on either side, and a Flatten."""
    values = {"step": STEP, "other_step": other_step, "zero": zero_point}
    nodes, last = [], "x"
    for name, limits, kind in (("front", front, np.float32), ("behind", behind, np.uint8)):
        if name == "behind":
            nodes.append(
                helper.make_node("QuantizeLinear", [last, "step", inputs.get("zero", "zero")], ["q"], "q")
            )
            last = "q"
        if limits is not None:
            values |= {f"{name}{index}": np.array(limit, kind) for index, limit in enumerate(limits)}
            nodes.append(helper.make_node("Clip", [last, f"{name}0", f"{name}1"], [name], name))
            last = name
    nodes.append(
        helper.make_node("DequantizeLinear", [last, "other_step", inputs.get("zero", "zero")], ["r"], "dq")
    )
    nodes.append(helper.make_node("Flatten", ["r"], ["y"], "flatten"))
    signals = [("x", TensorProto.FLOAT, ["n", 4]), ("computed", TensorProto.UINT8, [])]
    return ir.serde.deserialize_model(make_model(nodes, signals, [("y", ["n", 4])], values))


def read(model: ir.Model, node: str = "dq") -> Quantizer:
    found = read_quantizer(model.graph.node(node))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("front", "behind", "ends", "source"),
    [
        (None, None, (0, 255), "x"),
        (None, (0, 15), (0, 15), "x"),
        ((-4, 3.5), None, (0, 15), "x"),  # the ends are levels: the Clip is the quantizer's
        ((-4, 3.6), None, (0, 255), "front"),  # between levels: the network's own
        ((-4, 3.5), (0, 63), (0, 63), "front"),
        (None, (9, 3), None, "x"),
    ],
)
def test_both_nodes_tell_the_integers_in_use(front, behind, ends, source: str) -> None:
    model = chain(front, behind)
    for node in ("q", "dq"):
        found = read(model, node)
        assert found.ends == ends and found.source.name == source and found.result.name == "r"
        assert found.dtype == ir.DataType.UINT8 and found.scale == STEP and found.zero_point == 8
    assert quantizer_behind(model.graph.outputs[0]).dequantize is model.graph.node("dq")
    chains = quantizer_chains(model)
    assert [each.source.name for each in chains.activations] == ([source] if ends else [])
    assert [each.name for each in chains.others] == ([] if ends else ["dq", "q"])


def test_what_only_runs_tell_is_read_but_not_handed_off() -> None:
    computed = read(chain(zero="computed"))
    assert computed.zero_point is None and computed.scale == STEP and not computed.ends_agree
    assert not read(chain(other_step=np.float32(1))).ends_agree
    for model in (chain(zero="computed"), chain(other_step=np.float32(1))):
        assert [each.name for each in quantizer_chains(model).others] == ["dq", "q"]
