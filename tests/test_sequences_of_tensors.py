"""Sequences of tensors whose length is known become the tensors themselves; onnxruntime on the source is the judge."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import mpq_onnx

HEAD = '<ir_version: 10, opset_import: ["" : 17]> network '
RNG = np.random.default_rng(0)
QUICK = mpq_onnx.AllocateOptions(effort="quick")


def constant(name: str, *shape: int) -> str:
    values = ", ".join(f"{value:.4f}" for value in RNG.normal(0, 0.3, int(np.prod(shape))))
    return f"float[{', '.join(map(str, shape))}] {name} = {{{values}}}"


NUMBERS = ", ".join(
    f"int64 {name} = {{{value}}}"
    for name, value in {"five": 5, "zero": 0, "two": 2, "last": -1, "before": -2}.items()
)
X, Y = "float[N,5,8] x", "float[N,K,3] y"
GIVEN = f"{constant('w', 8, 6)}, {constant('r', 6, 6)}, {constant('out', 6, 3)}, {constant('start', 1, 6)}, {NUMBERS}"
NETWORK = f"({X}) => ({Y}) <{GIVEN}, bool go = {{1}}, int64[2] sizes = {{2, 3}}, int64[1] axes = {{1}}>"
PARTS = "p = MatMul(x, w)  a = Tanh(p)  b = Relu(p)  c = Sigmoid(p)  d = Neg(p)"
"""Four tensors [N, 5, 6]."""


def cells(position: str, read: str) -> str:
    """States of a recurrent network, collected in a sequence of [N, 6] (or [1, 6], the first), and what reads them."""
    return f"""e = SequenceEmpty<dtype = 1>()
        f, q = Loop<body = b (int64 i, bool g, float[M,6] s, seq(float) l) => (bool h, float[K,6] o, seq(float) n) {{
            t = Gather<axis = 1>(x, i)  m = MatMul(t, w)  k = MatMul(s, r)  v = Add(m, k)  o = Tanh(v)
            n = SequenceInsert(l, o{position})  h = Identity(g) }}>(five, go, start, e)  {read}"""


STACK = "z = ConcatFromSequence<axis = 1, new_axis = 1>(q)  y = MatMul(z, out)"
AROUND, INSIDE = 5 * 6 * 3, 5 * 8 * 6 + 4 * 6 * 6
READ = "y = MatMul(z, out)"
NETWORKS = {
    "states of a loop, stacked": (cells("", STACK), INSIDE + AROUND),
    "states of a loop, the last first": (cells(", zero", STACK), INSIDE + AROUND),
    "states of a loop, two of them": (
        cells("", f"k1 = SequenceAt(q, last)  k2 = SequenceAt(q, zero)  k = Add(k1, k2)  z = Unsqueeze(k, axes)  {READ}"),
        INSIDE + 6 * 3,
    ),
    "one goes in front of the last": (
        f"{PARTS}  q = SequenceConstruct(a, b)  n = SequenceInsert(q, c, last)  z = ConcatFromSequence<axis = -2>(n)  {READ}",
        5 * 8 * 6 + 3 * AROUND,
    ),
    "two go": (
        f"""{PARTS}  q = SequenceConstruct(a, b, c, d)  m = SequenceErase(q)  n = SequenceErase(m, before)
        z = ConcatFromSequence<axis = 1>(n)  {READ}""", 5 * 8 * 6 + 2 * AROUND,
    ),
    "the length": (
        f"""{PARTS}  q = SequenceConstruct(a, b, c)  m = SequenceErase(q, zero)  n = SequenceLength(m)  k = Sub(n, two)
        z = SequenceAt(m, k)  {READ}""", 5 * 8 * 6 + AROUND,
    ),
    "rows of a tensor": (
        f"""{PARTS}  q = SplitToSequence<axis = 1, keepdims = 0>(a)  m = SequenceErase(q, before)
        z = ConcatFromSequence<axis = -2, new_axis = 1>(m)  {READ}""", 5 * 8 * 6 + 4 * 6 * 3,
    ),
    "pieces of a tensor": (
        f"""{PARTS}  q = SplitToSequence<axis = 1>(a, two)  m = SequenceErase(q, zero)  z = ConcatFromSequence<axis = 1>(m)
        {READ}""", 5 * 8 * 6 + 3 * 6 * 3,
    ),
    "pieces of given sizes": (
        f"{PARTS}  q = SplitToSequence<axis = -2>(a, sizes)  m = SequenceErase(q, zero)  z = SequenceAt(m, last)  {READ}",
        5 * 8 * 6 + 3 * 6 * 3,
    ),
}  # fmt: skip
"""Networks, and the MACs of an example."""


def saved(network: str, folder: Path) -> Path:
    path = folder / "source.onnx"
    onnx.save(onnx.parser.parse_model(f"{HEAD}{NETWORK} {{ {network} }}"), path)
    return path


def examples(count: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).normal(0, 1, (count, 5, 8)).astype(np.float32)}


def outputs(path: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)[0]


@pytest.mark.parametrize("kind", NETWORKS)
def test_known_sequences_are_tensors(kind: str, tmp_path: Path) -> None:
    network, macs = NETWORKS[kind]
    source, target = saved(network, tmp_path), tmp_path / "canonical.onnx"
    mpq_onnx.export(source, target)
    for count in (1, 3):
        found = outputs(target, examples(count))
        np.testing.assert_allclose(found, outputs(source, examples(count)), rtol=1e-4, atol=1e-5)
    assert not [node.op_type for node in onnx.load(target).graph.node if "Sequence" in node.op_type]
    facts = mpq_onnx.inspect(target)
    assert facts.macs == macs
    assert not facts.unsupported and not facts.uncounted


def test_states_in_a_list_are_close_at_eight_bits(tmp_path: Path) -> None:
    source, feeds = saved(NETWORKS["states of a loop, stacked"][0], tmp_path), examples(256)
    result = mpq_onnx.allocate(
        source, feeds, tmp_path / "out", weight_bits=8, activation_bits=8, options=QUICK
    )
    exact, found = outputs(source, feeds), outputs(result.model_path, feeds)
    assert 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()) > 25


def test_a_place_that_data_tell_stays(tmp_path: Path) -> None:
    """Behind the last product, in float; what reads known places of other sequences, in front of it, does not."""
    network = f"""limit = Constant<value = float {{0.5}}>()  {PARTS}  e = SequenceEmpty<dtype = 1>()  g = SequenceInsert(e, a)
        h = SequenceAt(g, zero)  z = MatMul(h, out)  u = Neg(z)  q = SequenceConstruct(z, u)  m = ReduceMax<keepdims = 0>(z)
        k = Greater(m, limit)  i = Cast<to = 7>(k)  s = SequenceAt(q, i)  y = Identity(s)"""
    source, target = saved(network, tmp_path), tmp_path / "canonical.onnx"
    mpq_onnx.export(source, target)
    np.testing.assert_allclose(
        outputs(target, examples(3)), outputs(source, examples(3)), rtol=1e-4, atol=1e-5
    )
    assert sum(node.op_type == "SequenceAt" for node in onnx.load(target).graph.node) == 1
    assert mpq_onnx.inspect(target).macs == 5 * 8 * 6 + AROUND
