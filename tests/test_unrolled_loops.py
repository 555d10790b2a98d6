"""Loops whose trips constants and static shapes tell are written out; onnxruntime on the source is the judge."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import make_model

import mpq_onnx

HEAD = '<ir_version: 10, opset_import: ["" : 21]> network '
RNG = np.random.default_rng(0)
QUICK = mpq_onnx.AllocateOptions(effort="quick")


def constant(name: str, *shape: int) -> str:
    values = ", ".join(f"{value:.4f}" for value in RNG.normal(0, 16**-0.5, int(np.prod(shape))))
    return f"float[{', '.join(map(str, shape))}] {name} = {{{values}}}"


def numbers(**values: int) -> str:
    return ", ".join(f"int64 {name} = {{{value}}}" for name, value in values.items())


WEIGHTS = ", ".join(
    [constant("first", 12, 16), constant("w", 16, 16), constant("r", 16, 16), constant("last", 16, 5)]
)
SEQUENCE = f"(float[N,6,12] x) => (float[N,6,5] y) <{WEIGHTS}, int64[1] time = {{1}}"
START = "h = MatMul(x, first)  s = ReduceMean<keepdims = 0>(h, time)"
CELL = "m = MatMul(t, w)  n = MatMul(s, r)  a = Add(m, n)  o = Tanh(a)  e = Identity(o)"
IN, OUT = "(float[N,16] s, float[N,16] t)", "(float[N,16] o, float[N,16] e)"
ALONG = "num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1]"
BACKWARDS = (
    "num_scan_inputs = 1, scan_input_axes = [-2], scan_output_axes = [-2], scan_input_directions = [1]"
)
TURN = "p = MatMul(s, w)  o = Relu(p)"


def looped(count: str, body: str, more: str = "", kind: str = "float[N,6,16]") -> str:
    """A Loop over a state behind a product and in front of one."""
    return f"""{SEQUENCE}, bool go = {{1}}, {more}> {{ h = MatMul(x, first)
        l = Loop<body = b (int64 i, bool c, {kind} s) => (bool d, {kind} o) {{ {body} }}>({count}, go, h)
        y = MatMul(l, last) }}"""


def by_hand(times: int = 6) -> str:
    """The network of "cells along time" without a Scan."""
    indices = numbers(**{f"i{each}": each for each in range(times)})
    steps = [
        f"""t{each} = Gather<axis = 1>(h, i{each})  m{each} = MatMul(t{each}, w)  n{each} = MatMul(s{each}, r)
        a{each} = Add(m{each}, n{each})  s{each + 1} = Tanh(a{each})  u{each} = Unsqueeze(s{each + 1}, time)"""
        for each in range(times)
    ]
    start = START.replace("  s =", "  s0 =")
    rows = ", ".join(f"u{each}" for each in range(times))
    return f"{SEQUENCE}, {indices}> {{ {start} {' '.join(steps)} q = Concat<axis = 1>({rows})  y = MatMul(q, last) }}"


NETWORKS = {
    "turns": (looped("three", f"{TURN}  d = Identity(c)", numbers(three=3)), 3 * 6),
    "turns that a constant condition ends": (
        looped("many", f"{TURN}  k = Add(i, one)  d = Less(k, five)", numbers(many=2**40, one=1, five=5)), 5 * 6
    ),
    "turns until a carried number is large": (
        f"""{SEQUENCE}, bool go = {{1}}, {numbers(one=1, two=2, forty=40)}> {{ h = MatMul(x, first)
        j, l = Loop<body = b (int64 i, bool c, int64 k, float[N,6,16] s) => (bool d, int64 q, float[N,6,16] o) {{
            {TURN}  q = Mul(k, two)  d = Less(q, forty) }}>("", go, one, h)
        f = Cast<to = 1>(j)  g = Mul(l, f)  y = MatMul(g, last) }}""", 6 * 6
    ),
    "a length as the number of turns": (
        f"""{SEQUENCE}, bool go = {{1}}, {numbers(one=1)}> {{ {START}  z = Shape(h)  count = Gather(z, one)
        l, q = Loop<body = b (int64 i, bool c, float[N,16] s) => (bool d, float[N,16] o, float[N,16] e) {{
            t = Gather<axis = 1>(h, i)  {CELL}  d = Identity(c) }}>(count, go, s)
        v = Transpose<perm = [1, 0, 2]>(q)  y = MatMul(v, last) }}""", 2 * 6
    ),
    "weights of the body": (looped("three", f"""inner = Constant<value = {constant("", 16, 16)}>()
        p = MatMul(s, inner)  o = Relu(p)  d = Identity(c)""", numbers(three=3)), 3 * 6),
    "turns inside turns": (
        looped("two", """k = Add(i, one)
        o = Loop<body = inner (int64 j, bool b, float[N,6,16] s2) => (bool d2, float[N,6,16] o2) {
            p = MatMul(s2, w)  o2 = Relu(p)  d2 = Identity(b) }>(k, c, s)  d = Identity(c)""", numbers(two=2, one=1)),
        3 * 6,
    ),
    "cells along time": (
        f"{SEQUENCE}> {{ {START}  f, q = Scan<body = b {IN} => {OUT} {{ {CELL} }}, {ALONG}>(s, h)  y = MatMul(q, last) }}",
        2 * 6,
    ),
    "cells against time": (
        f"{SEQUENCE}> {{ {START}  f, q = Scan<body = b {IN} => {OUT} {{ {CELL} }}, {BACKWARDS}>(s, h)  y = MatMul(q, last) }}",
        2 * 6,
    ),
    "cells against time, written backwards": (
        f"""{SEQUENCE}> {{ {START}  f, q = Scan<body = b {IN} => {OUT} {{ {CELL} }}, {BACKWARDS},
        scan_output_directions = [1]>(s, h)  v = Unsqueeze(f, time)  z = Add(q, v)  y = MatMul(z, last) }}""", 2 * 6
    ),
    "turns that a branch on their number ends": (
        looped("many", f"""{TURN}  k = Equal(i, two)  d = If<then_branch = t () => (bool f) {{ f = Not(go) }},
        else_branch = e () => (bool g) {{ g = Identity(go) }}>(k)""", numbers(many=10, two=2)), 3 * 6
    ),
    "turns that are left in front of the product": (
        looped("many", """k = Equal(i, two)  d, o = If<then_branch = t () => (bool f, float[N,6,16] u) {
        f = Not(go)  u = Identity(s) }, else_branch = e () => (bool g, float[N,6,16] v) {
        a, g = If<then_branch = tt () => (float[N,6,16] n, bool j) { n = Neg(s)  j = Not(go) },
        else_branch = ee () => (float[N,6,16] q, bool jj) { q = Identity(s)  jj = Identity(go) }>(k)
        p = MatMul(a, w)  v = Relu(p) }>(k)""", numbers(many=10, two=2)), 2 * 6
    ),
    "no product inside, one behind": (
        looped("three", "o = Tanh(s)  d = Identity(c)", numbers(three=3)), 0
    ),
    "no turns": (looped("none", f"{TURN}  d = Identity(c)", numbers(none=0)), 0),
}  # fmt: skip
"""Networks, and how many rows of 16 x 16 weights an example meets inside."""
OUTER = 6 * 12 * 16 + 6 * 16 * 5
"""MACs of the products around."""


def saved(network: str, folder: Path) -> Path:
    path = folder / "source.onnx"
    onnx.save(onnx.parser.parse_model(HEAD + network), path)
    return path


def examples(count: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).normal(0, 1, (count, 6, 12)).astype(np.float32)}


def outputs(path: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)[0]


@pytest.mark.parametrize("kind", NETWORKS)
def test_loops_are_written_out(kind: str, tmp_path: Path) -> None:
    network, rows = NETWORKS[kind]
    source, target = saved(network, tmp_path), tmp_path / "canonical.onnx"
    mpq_onnx.export(source, target)
    feeds = examples(5)
    np.testing.assert_allclose(outputs(target, feeds), outputs(source, feeds), rtol=1e-4, atol=1e-5)
    found = mpq_onnx.inspect(source)
    assert found.macs == OUTER + rows * 16 * 16
    assert not found.uncounted and not found.unsupported


def test_names_tell_the_turn_and_stay(tmp_path: Path) -> None:
    source = saved(NETWORKS["turns"][0], tmp_path)
    for name in ("one.onnx", "two.onnx"):
        mpq_onnx.export(source, tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
    graph = onnx.load(tmp_path / "one.onnx").graph
    assert [node.name for node in graph.node if node.op_type == "MatMul"] == [
        "h",
        "l_0_p",
        "l_1_p",
        "l_2_p",
        "y",
    ]
    assert [each.name for each in graph.initializer] == ["first", "last", "w"]


@pytest.mark.parametrize("kind", ["turns", "cells against time"])
def test_eight_bits_are_close(kind: str, tmp_path: Path) -> None:
    source, feeds = saved(NETWORKS[kind][0], tmp_path), examples(256)
    result = mpq_onnx.allocate(
        source, feeds, tmp_path / "out", weight_bits=8, activation_bits=8, options=QUICK
    )
    exact, found = outputs(source, feeds), outputs(result.model_path, feeds)
    assert 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()) > 25


def test_a_scan_has_the_bits_and_costs_of_the_network_by_hand(tmp_path: Path) -> None:
    found = []
    for name, network in (("scan", NETWORKS["cells along time"][0]), ("hand", by_hand())):
        folder = tmp_path / name
        folder.mkdir()
        result = mpq_onnx.allocate(
            saved(network, folder),
            examples(256),
            folder / "out",
            weight_bits=4,
            activation_bits=6,
            options=QUICK,
        )
        allocation = result.chosen.allocation
        found.append(
            (
                {each.weight: each.weight_bits for each in allocation.nodes},
                [each.activation_bits for each in allocation.nodes],
                [each.macs for each in allocation.nodes],
                allocation.bit_operations,
            )
        )
    assert found[0] == found[1]


REFUSED = {
    "a trip count of data": (
        f"""{SEQUENCE}, bool go = {{1}}> {{ h = MatMul(x, first)  z = ReduceMax<keepdims = 0>(x)  n = Cast<to = 7>(z)
        l = Loop<body = b (int64 i, bool c, float[N,6,16] s) => (bool d, float[N,6,16] o) {{
            {TURN}  d = Identity(c) }}>(n, go, h)
        y = MatMul(l, last) }}""",
        r"its trip count \(n\) is no constant",
    ),
    "a condition of data": (
        looped("many", f"{TURN}  z = ReduceMax<keepdims = 0>(o)  d = Less(z, large)", "int64 many = {9}, float large = {5.0}"),
        "its condition hangs on what is computed",
    ),
    "an open length": (
        f"""(float[N,T,12] x) => (float[N,T,5] y) <{WEIGHTS}, int64[1] time = {{1}}> {{ {START}
        f, q = Scan<body = b {IN} => {OUT} {{ {CELL} }}, {ALONG}>(s, h)  y = MatMul(q, last) }}""",
        r"length that it goes along \(axis 1 of h\) is not known; .*--set",
    ),
    "too many turns": (looped("many", f"{TURN}  d = Identity(c)", numbers(many=5000)), "5000 trips .* more than 4096 nodes"),
    "more turns than are counted": (looped("many", f"{TURN}  d = Identity(c)", numbers(many=2**40)), "8192 times or more"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_loops_that_stay_are_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    network, reason = REFUSED[kind]
    source = saved(network, tmp_path)
    with pytest.raises(
        mpq_onnx.MpqOnnxError, match=rf"op (Loop|Scan) .* has no torch mirror; .*{reason}"
    ) as refusal:
        mpq_onnx.allocate(source, examples(64), tmp_path / "out", weight_bits=8, options=QUICK)
    assert "\n" not in str(refusal.value)


def test_a_loop_in_post_processing_stays(tmp_path: Path) -> None:
    network = f"""{SEQUENCE}, bool go = {{1}}, {numbers(three=3)}> {{ h = MatMul(x, first)  p = MatMul(h, last)
        y = Loop<body = b (int64 i, bool c, float[N,6,5] s) => (bool d, float[N,6,5] o) {{
            o = Tanh(s)  d = Identity(c) }}>(three, go, p) }}"""
    source = saved(network, tmp_path)
    mpq_onnx.export(source, tmp_path / "canonical.onnx")
    assert "Loop" in {node.op_type for node in onnx.load(tmp_path / "canonical.onnx").graph.node}


LATE = f"""{SEQUENCE}, {numbers(many=9)}, bool go = {{1}}, float large = {{5.0}}> {{ h = MatMul(x, first)  p = MatMul(h, last)
    l = Loop<body = b (int64 i, bool c, float[N,6,K] s) => (bool d, float[N,6,K] o) {{
        o = Tanh(s)  z = ReduceMax<keepdims = 0>(o)  d = Less(z, large) }}>(many, go, p)  TAIL }}"""
"""A loop whose trips data tell, behind the last product: no shape can be inferred behind it."""


@pytest.mark.parametrize("tail", ["y = Identity(l)", "a = Relu(l)  y = Identity(a)"])
def test_the_stated_shape_of_an_output_stays(tail: str, tmp_path: Path) -> None:
    source, target = (
        saved(LATE.replace("TAIL", tail), tmp_path),
        tmp_path / "out.onnx",
    )
    mpq_onnx.export(source, target)
    sizes = onnx.load(target).graph.output[0].type.tensor_type.shape.dim
    assert [size.dim_value for size in sizes] == [0, 6, 5]
    assert mpq_onnx.inspect(target).macs == OUTER


def test_outputs_of_a_loop_need_no_shape(tmp_path: Path) -> None:
    """Written out, it tells theirs."""
    model = onnx.parser.parse_model(HEAD + NETWORKS["turns until a carried number is large"][0])
    for name in ("l", "j"):
        kind = {"l": onnx.TensorProto.FLOAT, "j": onnx.TensorProto.INT64}[name]
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    source, target = tmp_path / "source.onnx", tmp_path / "canonical.onnx"
    onnx.save(model, source)
    mpq_onnx.export(source, target)
    onnx.checker.check_model(str(target), full_check=True)
    shapes = [output.type.tensor_type.shape.dim for output in onnx.load(target).graph.output]
    assert [[size.dim_value for size in shape] for shape in shapes] == [[0, 6, 5], [0, 6, 16], []]
    assert mpq_onnx.inspect(target).macs == OUTER + 6 * 6 * 16 * 16


def test_a_scan_of_opset_8_is_refused(tmp_path: Path) -> None:
    """It goes through examples too."""
    body = onnx.parser.parse_graph("b (float[16] s, float[16] t) => (float[16] o) { o = Add(s, t) }")
    scan = onnx.helper.make_node("Scan", ["", "s", "x"], ["y"], "scan", body=body, num_scan_inputs=1)
    model = make_model(
        [scan], [("x", 1, [2, 6, 16])], [("y", [2, 16])], {"s": np.zeros((2, 16), np.float32)}, opset=8
    )
    onnx.save(model, tmp_path / "old.onnx")
    with pytest.raises(mpq_onnx.MpqOnnxError, match="Scan of opset 8 goes through examples too"):
        mpq_onnx.export(tmp_path / "old.onnx", tmp_path / "new.onnx")
