"""Constants that rules give one name, and those that folding leaves over: the canonical form computes the same."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import mpq_onnx

HEAD = '<ir_version: 10, opset_import: ["" : 21]> network '
RNG = np.random.default_rng(0)
QUICK = mpq_onnx.AllocateOptions(effort="quick")


def constant(name: str, *shape: int) -> str:
    values = ", ".join(f"{value:.4f}" for value in RNG.normal(0, 1, int(np.prod(shape))))
    return f"float[{', '.join(map(str, shape))}] {name} = {{{values}}}"


def norm(name: str) -> str:
    parts = [constant(f"{name}_{part}", 3) for part in ("scale", "bias", "mean")]
    return ", ".join([*parts, f"float[3] {name}_variance = {{0.5, 2.0, 1.0}}"])


def normed(value: str, name: str) -> str:
    return f"BatchNormalization({value}, {name}_scale, {name}_bias, {name}_mean, {name}_variance)"


VECTOR, IMAGE = "(float[N,12] x) => (float[N,2] y)", "(float[N,3,6,6] x) => (float[N,3,6,6] y)"
TWO_HEADS = f"{constant('w', 12, 2)}, {constant('u', 12, 2)}"
LIMITS = "float zero = {0.0}, float one = {1.0}, float two = {2.0}"
KERNEL = constant("k", 3, 3, 3, 3)
CONV = "Conv<pads = [1, 1, 1, 1]>"
NETWORKS = {
    "one tensor made flat twice": f"""(float[N,3,4] x) => (float[N,2] y) <{TWO_HEADS}> {{
        a = Flatten(x)  b = Flatten(x)  p = MatMul(a, w)  q = MatMul(b, u)  y = Add(p, q) }}""",
    "one tensor made flat at two axes": f"""(float[N,3,4] x) => (float[N,2] y) <
        {constant("w", 12, 2)}, {constant("u", 4, 2)}, int64[3] shape = {{-1, 3, 2}}, int64[1] axis = {{1}}> {{
        a = Flatten(x)  b = Flatten<axis = 2>(x)  p = MatMul(a, w)  q = MatMul(b, u)
        r = Reshape(q, shape)  s = ReduceSum<keepdims = 0>(r, axis)  y = Add(p, s) }}""",
    "one tensor cut at two limits": f"""{VECTOR} <{TWO_HEADS}, {LIMITS}> {{
        n = Neg(x)  a0 = Max(n, zero)  a = Min(a0, one)  b0 = Max(n, one)  b = Min(b0, two)
        p = MatMul(a, w)  q = MatMul(b, u)  y = Add(p, q) }}""",
    "one tensor clipped at two limits": f"""{VECTOR} <{TWO_HEADS}, {LIMITS}> {{
        n = Neg(x)  a0 = Relu(n)  a = Clip(a0, zero, one)  b0 = Relu(n)  b = Clip(b0, one, two)
        p = MatMul(a, w)  q = MatMul(b, u)  y = Add(p, q) }}""",
    "one kernel, two normalizations": f"""{IMAGE} <{KERNEL}, {norm("f")}, {norm("g")}> {{
        a = {CONV}(x, k)  b = {normed("a", "f")}  r = Relu(b)  c = {CONV}(r, k)  y = {normed("c", "g")} }}""",
    "one kernel, the first normalized": f"""{IMAGE} <{KERNEL}, {norm("f")}> {{
        a = {CONV}(x, k)  b = {normed("a", "f")}  r = Relu(b)  y = {CONV}(r, k) }}""",
    "one kernel, the second normalized": f"""{IMAGE} <{KERNEL}, {constant("v", 3)}, {norm("g")}> {{
        a = {CONV}(x, k, v)  r = Relu(a)  c = {CONV}(r, k, v)  y = {normed("c", "g")} }}""",
    "weights cut out of a packed one": f"""{VECTOR} <{constant("w", 12, 4)}> {{
        a, b = Split<axis = 1, num_outputs = 2>(w)  p = MatMul(x, a)  q = MatMul(x, b)  r = Relu(p)  y = Mul(r, q) }}""",
    "the largest weights": f"""{VECTOR} <{constant("w", 12, 8)}, int64[1] count = {{2}}> {{
        a, places = TopK<axis = 1>(w, count)  y = MatMul(x, a) }}""",
    "weights picked out of many rows": f"""{VECTOR} <{constant("w", 40, 2)}, int64[12, 2] places = {{
        39, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 21, -1}}> {{
        a = GatherElements<axis = 0>(w, places)  y = MatMul(x, a) }}""",
}  # fmt: skip


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_canonical_form_computes_the_same_and_has_its_weights(kind: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source.onnx", tmp_path / "canonical.onnx"
    onnx.save(onnx.parser.parse_model(HEAD + NETWORKS[kind]), source)
    mpq_onnx.export(source, target)
    shape = (5, *(axis.dim_value for axis in onnx.load(source).graph.input[0].type.tensor_type.shape.dim[1:]))
    feeds = {"x": np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)}
    exact, found = (
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        for path in (source, target)
    )
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-4)
    graph = onnx.load(target).graph
    constants = {each.name for each in graph.initializer}
    products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm", "Conv")]
    assert products
    assert all(node.input[1] in constants for node in products)


@pytest.mark.parametrize("floating", ["a", "b"])
@pytest.mark.parametrize("storage", ["int8", "packed"])
def test_rows_of_a_table_that_stay_in_float_load_beside_quantized_ones(
    floating: str, storage: str, tmp_path: Path
) -> None:
    """onnxruntime fuses the sum of both into an operator on integers, which takes one scale."""
    rows = constant("t", 20, 16), constant("u", 5, 16), constant("w", 16, 4)
    network = f"""(int64[N,6] i, int64[N,6] j) => (float[N,6,4] y) <{", ".join(rows)}> {{
        a = Gather(t, i)  b = Gather(u, j)  c = Add(a, b)  y = MatMul(c, w) }}"""
    source = tmp_path / "m.onnx"
    onnx.save(onnx.parser.parse_model(HEAD + network), source)
    rng = np.random.default_rng(0)
    data = {name: rng.integers(0, count, (64, 6)) for name, count in (("i", 20), ("j", 5))}
    options = mpq_onnx.AllocateOptions(
        effort="quick", override=(f"{floating}:activations=float",), storage=storage
    )
    result = mpq_onnx.allocate(
        source, data, tmp_path / "out", weight_bits=8, activation_bits=8, options=options
    )
    exact, found = (
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, data)[0]
        for path in (source, result.model_path)
    )
    assert 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()) > 30


CALLED = """ <domain: "own", opset_import: ["" : 21]> twice (r) => (o, p) { o = Add(r, r)  p = Neg(r) }"""
GIVEN_OUT = {
    "every state of a recurrent layer": f"""(float[N,12] x) => (float[N,4] y, float[3,1,1,4] c) <{constant("k", 3, 1, 2)},
        {constant("gates", 1, 4, 2)}, {constant("states", 1, 4, 4)}, {constant("w", 12, 4)}, {constant("v", 4, 4)},
        int64[2] axes = {{0, 1}}> {{
        c, l = RNN<hidden_size = 4>(k, gates, states)  m = Squeeze(l, axes)
        p = MatMul(x, w)  a = Add(p, m)  y = MatMul(a, v) }}""",
    "where numbers stand": f"""(float[N,12] x) => (float[N,4] y, int64[8] c) <{constant("w", 12, 4)}, {constant("v", 4, 4)},
        float[8] k = {{3, 1, 1, 2, 3, 9, 9, 1}}> {{
        u, first, c = Unique(k)  p = MatMul(x, w)  a = Add(p, u)  y = MatMul(a, v) }}""",
}  # fmt: skip


@pytest.mark.parametrize("kind", GIVEN_OUT)
def test_constants_that_are_given_out_are_computed_once(kind: str, tmp_path: Path) -> None:
    source = tmp_path / "source.onnx"
    onnx.save(onnx.parser.parse_model(HEAD + GIVEN_OUT[kind]), source)
    feeds = {"x": np.random.default_rng(1).normal(0, 1, (128, 12)).astype(np.float32)}
    result = mpq_onnx.allocate(
        source, feeds, tmp_path / "out", weight_bits=8, activation_bits=8, options=QUICK
    )
    exact, found = (
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(["y", "c"], feeds)
        for path in (source, result.model_path)
    )
    assert 10 * np.log10((exact[0] ** 2).sum() / ((exact[0] - found[0]) ** 2).sum()) > 25
    np.testing.assert_allclose(found[1], exact[1], rtol=1e-5)
    assert sum(each.macs or 0 for each in result.chosen.allocation.nodes) == 12 * 4 + 4 * 4


def test_a_call_may_leave_out_its_last_output(tmp_path: Path) -> None:
    source, target = tmp_path / "source.onnx", tmp_path / "canonical.onnx"
    network = f"(float[N,12] x) => (float[N,4] y) <{constant('w', 12, 4)}> {{ p = MatMul(x, w)  y, gone = own.twice(p) }}"
    head = HEAD.replace('"" : 21', '"" : 21, "own" : 1')
    model = onnx.parser.parse_model(head + network + CALLED)
    model.graph.node[1].output[1] = ""
    onnx.save(model, source)
    mpq_onnx.export(source, target)
    feeds = {"x": np.random.default_rng(1).normal(0, 1, (3, 12)).astype(np.float32)}
    exact, found = (
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        for path in (source, target)
    )
    np.testing.assert_allclose(found, exact, rtol=1e-5)
