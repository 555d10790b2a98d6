"""Rounding "block": how graphs are cut, and what reconstruction may and may not change."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from conftest import make_cnn, make_encoder, make_model
from onnx import TensorProto, helper
from test_recurrent_quantized import network as recurrent
from test_tied_weights import tied

from mpq_onnx.arithmetic.quantized_network import QuantizedNetwork
from mpq_onnx.documents.allocation import Allocation, Settings, make_allocation
from mpq_onnx.graph.placement import find_sites
from mpq_onnx.mirror import build_mirror, frozen_mirror
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.quantized import quantized_mirror
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.rounding import reconstruction
from mpq_onnx.rounding.blocks import MERGED, MOST, Block, cut_into_blocks
from mpq_onnx.runs.preparation import CalibrationRules, load_float_model, measure_calibration
from mpq_onnx.runs.quantized_graph import write_graph
from mpq_onnx.runs.quantizing import round_network
from mpq_onnx.runtime.session import Runner

RNG = np.random.default_rng(0)
EXAMPLES = 96


def chain(layers: int, skips: tuple[tuple[int, int], ...] = (), heads: int = 1) -> onnx.ModelProto:
    """Convolutions c0, c1, ... of 4 channels; (a, b) adds what c_a made to what c_b made; heads read the last one."""
    tensors, nodes, last = {}, [], "x"
    for index in range(layers):
        tensors[f"w{index}"] = (RNG.standard_normal((4, 4, 3, 3)) / 5).astype(np.float32)
        nodes.append(
            helper.make_node("Conv", [last, f"w{index}"], [f"c{index}"], f"conv{index}", pads=[1] * 4)
        )
        last = f"c{index}"
        for start, end in skips:
            if end == index:
                nodes.append(helper.make_node("Add", [last, f"r{start}"], [f"a{index}"], f"add{index}"))
                last = f"a{index}"
        nodes.append(helper.make_node("Relu", [last], [f"r{index}"], f"relu{index}"))
        last = f"r{index}"
    for head in range(heads):
        tensors[f"h{head}"] = (RNG.standard_normal((2, 4, 1, 1)) / 2).astype(np.float32)
        nodes.append(helper.make_node("Conv", [last, f"h{head}"], [f"y{head}"], f"head{head}"))
    outputs = [(f"y{head}", ["n", 2, 6, 6]) for head in range(heads)]
    return make_model(nodes, [("x", TensorProto.FLOAT, ["n", 4, 6, 6])], outputs, tensors)


def blocks_of(model: onnx.ModelProto) -> tuple[list[Block], list[list[str]], Mirror]:
    """The blocks, and the names of the multiply-accumulates in each."""
    mirror = build_mirror(canonicalize(ir.from_proto(model)))
    weights = {
        node
        for node in mirror.module.graph.nodes
        if node.op == "get_attr"
        and any(user.meta.get("onnx_op") in ("Conv", "Gemm", "MatMul", "LSTM") for user in node.users)
        and getattr(mirror.module, node.target).dim() > 1
    }
    blocks = cut_into_blocks(mirror.module.graph, weights)
    names = [
        [str(node.meta["onnx_name"]) for node in block.nodes if weights & set(node.all_input_nodes)]
        for block in blocks
    ]
    return blocks, [each for each in names if each], mirror


def test_residual_blocks_stay_whole() -> None:
    _, names, _ = blocks_of(chain(7, skips=((0, 2), (2, 4), (4, 6))))
    assert names == [["conv0", "conv1", "conv2"], ["conv3", "conv4"], ["conv5", "conv6", "head0"]]


def test_a_chain_is_cut_into_equal_parts() -> None:
    _, names, _ = blocks_of(chain(8))
    assert [len(each) for each in names] == [MERGED] * 3


def test_heads_are_read_from_one_value() -> None:
    """What is an output alone passes no cut: no block waits for it."""
    blocks, names, _ = blocks_of(chain(4, heads=3))
    assert [name for each in names for name in each][-3:] == ["head0", "head1", "head2"]
    assert all(len(block.inputs) <= 1 for block in blocks)


def test_a_graph_without_a_cut_is_parted() -> None:
    """Every convolution is added to the last one: nothing that all passes through."""
    blocks, names, _ = blocks_of(chain(2 * MOST + 2, skips=tuple((0, end) for end in range(1, 2 * MOST + 2))))
    assert max(map(len, names)) <= MOST
    assert any(len(block.inputs) > 1 for block in blocks)


def test_a_recurrent_layer_and_an_encoder_have_blocks() -> None:
    assert sum(map(len, blocks_of(recurrent("LSTM"))[1])) == 2
    assert len(blocks_of(make_encoder())[1]) >= 2


@pytest.mark.parametrize(
    "model",
    [make_cnn(), make_encoder(), chain(4, heads=3), chain(20, skips=tuple((0, end) for end in range(1, 20)))],
)
def test_every_node_is_in_one_block_and_blocks_pass_all_that_is_read(model: onnx.ModelProto) -> None:
    blocks, _, mirror = blocks_of(model)
    nodes = [node for block in blocks for node in block.nodes]
    assert nodes == [node for node in mirror.module.graph.nodes if node.op == "call_function"]
    made = {node for node in mirror.module.graph.nodes if node.op == "placeholder"}
    for block in blocks:
        assert set(block.inputs) <= made
        made |= set(block.outputs)
    (output,) = (node for node in mirror.module.graph.nodes if node.op == "output")
    assert {each for each in output.all_input_nodes if each.op != "get_attr"} <= made


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconstruction, "STEPS", 60)


class Rounded:
    """A network rounded by some methods."""

    def __init__(
        self, model: onnx.ModelProto, folder: Path, bits: float | None = 3.0, pruned: bool = False
    ) -> None:
        path = folder / "float.onnx"
        onnx.save(model, path)
        self.float_model = load_float_model(path)
        dataset = self.float_model.open_data(f"random?count={EXAMPLES}&size=6")
        self.calibration = measure_calibration(self.float_model, dataset, CalibrationRules(), "cpu")
        self.sites = find_sites(self.float_model.model, self.calibration.shapes)
        self.mirror = frozen_mirror(self.float_model.model, str(path), torch.device("cpu"))
        self.data = TrainingData(dataset, self.mirror, torch.device("cpu"))
        self.bits, self.pruned = bits, pruned

    def allocation(self, rounding: str, bias: str = "int32") -> Allocation:
        widths = {
            site.tensor: tuple([0.0, 2.0, 4.0][i % 3] for i in range(site.channels))
            if self.pruned
            else self.bits
            for site in self.sites.weights
            if site.fixed_bits is None
        }
        settings = Settings("uniform", "channel", "all", "mse", "mse", rounding, True, 0, bias=bias)
        activations = {site.tensor: 4.0 for site in self.sites.free_activations}
        return make_allocation(self.float_model.fingerprint, settings, self.sites, widths, activations, {})

    def by(self, rounding: str, bias: str = "int32") -> QuantizedNetwork:
        allocation = self.allocation(rounding, bias)
        model = self.float_model.model
        return round_network(
            model, self.mirror, self.sites, allocation, self.calibration, self.data, EXAMPLES
        )

    def errors(self, network: QuantizedNetwork) -> np.ndarray:
        """Of every output, mean square over the last 32 examples."""
        found = quantized_mirror(self.mirror, network).module.forward
        with torch.no_grad():
            pairs = [
                (ours, exact)
                for batch in [self.data.batch(range(EXAMPLES - 32, EXAMPLES))]
                for ours, exact in zip(
                    found(*batch.inputs), self.mirror.module.forward(*batch.inputs), strict=True
                )
            ]
        return np.array([float((a - b).square().mean()) for a, b in pairs if b.is_floating_point()])

    def relative_error(self, one: str, other: str) -> float:
        """Of the outputs by one method in units of those by another, the mean over outputs: each counts by its own size.

        Biases stay float: at 2 bits a step of an int32 one is as large as what is gained or lost.
        """
        found, beside = (self.errors(self.by(each, "float")) for each in (one, other))
        return float(np.mean(found / beside))


NETWORKS = {
    "residual": lambda: make_cnn(),
    "encoder": lambda: make_encoder(),
    "several outputs": lambda: chain(4, heads=3),
    "no cut": lambda: chain(10, skips=tuple((0, end) for end in range(1, 10))),
    "recurrent": lambda: recurrent("LSTM"),
    "shared weight": lambda: tied("no bias"),
    "on the left": lambda: tied("left"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_floor_or_ceiling_on_any_network(name: str, tmp_path: Path) -> None:
    rounded = Rounded(NETWORKS[name](), tmp_path)
    network = rounded.by("block")
    for tensor, weight in network.weights.items():
        exact = rounded.mirror.parameter(tensor).detach().numpy()
        shape = [-1 if axis == weight.channel_axis else 1 for axis in range(exact.ndim)]
        scale, zero, levels = (
            each.reshape(shape) for each in (weight.grid.scale, weight.grid.zero_point, weight.grid.levels)
        )
        position = np.clip(exact / scale + zero, 0, levels - 1)
        assert (np.abs(weight.integers - position) <= 1 + 1e-4).all(), tensor
        assert (weight.integers >= 0).all() and (weight.integers <= levels - 1).all()


@pytest.mark.parametrize("name", ["residual", "encoder", "several outputs", "no cut", "recurrent"])
def test_outputs_are_never_further_away_than_layer_by_layer(name: str, tmp_path: Path) -> None:
    """On the examples that judge, the last batch here."""
    rounded = Rounded(NETWORKS[name](), tmp_path, bits=2.0)
    assert rounded.relative_error("block", "adaptive") <= 1 + 1e-4


def test_a_block_comes_nearer_than_its_layers_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three layers are one block."""
    monkeypatch.setattr(reconstruction, "STEPS", 300)
    rounded = Rounded(chain(2), tmp_path, bits=2.0)
    assert rounded.relative_error("block", "adaptive") < 0.99


def test_what_does_not_help_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that only do harm leave what adaptive rounding gives."""
    monkeypatch.setattr(reconstruction, "SHIFT_RATE", 1e6)
    rounded = Rounded(make_cnn(), tmp_path)
    one, other = rounded.by("block"), rounded.by("adaptive")
    assert_equal(one, other)


def assert_equal(one: QuantizedNetwork, other: QuantizedNetwork) -> None:
    assert one.activations == other.activations
    for tensor, weight in one.weights.items():
        assert np.array_equal(weight.integers, other.weights[tensor].integers), tensor


def test_the_same_data_give_the_same_numbers(tmp_path: Path) -> None:
    rounded = Rounded(make_cnn(), tmp_path)
    assert_equal(rounded.by("block"), rounded.by("block"))


def test_names_decide_nothing(tmp_path: Path) -> None:
    (tmp_path / "renamed").mkdir()
    model = make_cnn()
    one = Rounded(model, tmp_path).by("block")
    for node in model.graph.node:
        node.name = f"other {node.name}"
    other = Rounded(model, tmp_path / "renamed").by("block")
    assert_equal(one, other)


def test_pruned_channels_stay_zero(tmp_path: Path) -> None:
    network = Rounded(make_cnn(), tmp_path, pruned=True).by("block")
    for weight in network.weights.values():
        channels = np.moveaxis(weight.dequantized(), weight.channel_axis, 0)
        assert not channels[weight.grid.levels == 1].any()
        assert channels[weight.grid.levels > 1].any()


def test_eight_bits_are_left_as_they_are(tmp_path: Path) -> None:
    rounded = Rounded(make_cnn(), tmp_path, bits=8.0)
    settings = {}
    for rounding in ("adaptive", "block"):
        allocation = make_allocation(
            rounded.float_model.fingerprint,
            Settings("uniform", "channel", "all", "mse", "mse", rounding, True, 0),
            rounded.sites,
            {site.tensor: 8.0 for site in rounded.sites.weights},
            {site.tensor: 8.0 for site in rounded.sites.free_activations},
            {},
        )
        settings[rounding] = round_network(
            rounded.float_model.model,
            rounded.mirror,
            rounded.sites,
            allocation,
            rounded.calibration,
            rounded.data,
            EXAMPLES,
        )
    assert settings["block"].activations == settings["adaptive"].activations


def test_onnxruntime_computes_with_the_learned_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconstruction, "STEPS", 300)
    rounded = Rounded(chain(2), tmp_path, bits=2.0)
    network = rounded.by("block")
    assert network.activations != rounded.by("adaptive").activations
    graph = write_graph(rounded.float_model.model, rounded.allocation("block"), network, "int8")
    batch = rounded.data.batch(range(8))
    (found,) = Runner(graph, "cpu", False).run({"x": batch.inputs[0].numpy()})
    with torch.no_grad():
        (wanted,) = quantized_mirror(rounded.mirror, network).module.forward(*batch.inputs)
    step = float(network.activations["y0"].scale)
    assert np.abs(found - wanted.numpy()).max() <= step * 1.001
    assert np.mean(np.abs(found - wanted.numpy()) > step / 2) < 0.01
