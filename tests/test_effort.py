"""Effort and what fits memory: fewer examples, steps and passes at once, and nothing else changes."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mpq_onnx
from mpq_onnx.datasets import open_dataset
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.errors import UsageError
from mpq_onnx.graph.batch_memory import FLOAT32_BYTES, examples_at_once
from mpq_onnx.graph.model_inputs import model_inputs
from mpq_onnx.mirror import frozen_mirror
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.elements import elements_made
from mpq_onnx.mirror.stepwise import Stepper, Streams, most_alive
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.runs.efforts import EFFORTS, FEWEST_EXAMPLES, NORMAL, QUICK, THOROUGH

CPU = torch.device("cpu")


@given(st.integers(0, 10**9), st.integers(1, 10**5), st.integers(0, 2**34))
def test_as_many_examples_as_fit(elements: int, most: int, memory: int) -> None:
    count = examples_at_once(elements, most, memory)
    assert 1 <= count <= most
    assert count == 1 or count * elements * FLOAT32_BYTES <= memory
    assert count == most or (count + 1) * max(elements, 1) * FLOAT32_BYTES > memory


@given(st.sampled_from(sorted(EFFORTS)), st.integers(1, 10**5), st.integers(0, 10**13))
def test_large_networks_see_fewer_examples_but_some(effort: str, wanted: int, macs: int) -> None:
    found = EFFORTS[effort].examples(wanted, macs)
    assert min(wanted, FEWEST_EXAMPLES) <= found <= wanted
    assert EFFORTS[effort].examples(wanted, 2 * macs) <= found
    assert effort != THOROUGH or found == wanted


def test_what_is_given_holds_whatever_the_effort() -> None:
    for effort in EFFORTS:
        options = mpq_onnx.AllocateOptions(
            effort=effort, method="gradient", rounding="adaptive", steps=7, batch_size=3, rounding_examples=99,
            training_examples=11, learning_rate=0.5,
        )  # fmt: skip
        training = options.training_settings(10**12)
        assert (training.steps, training.batch_size, training.learning_rate) == (7, 3, 0.5)
        assert options.chosen_method == "gradient" and options.chosen_rounding == "adaptive"
        assert options.chosen_rounding_examples(10**12) == 99 and options.chosen_training_examples == 11
    assert dataclasses.replace(mpq_onnx.AllocateOptions(), effort=QUICK).chosen_rounding == "nearest"
    with pytest.raises(UsageError, match="effort"):
        mpq_onnx.AllocateOptions(effort="heroic")


@pytest.mark.slow
def test_effort_is_what_the_document_says(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    for effort, chosen in EFFORTS.items():
        folder = tmp_path / effort
        options = mpq_onnx.AllocateOptions(effort=effort, steps=2)
        result = mpq_onnx.allocate(
            cnn_file, f"npz:{image_file}", folder, weight_bits=4, activation_bits=6, options=options
        )
        settings = Allocation.load(folder / "allocation.json").settings
        assert settings.rounding == chosen.rounding and settings.rounding_examples == chosen.rounding_examples
        assert settings.training_examples == chosen.training_examples
        names = [each.name for each in result.candidates]
        assert names[0] == "uniform" and ("refined" in names) <= (effort != QUICK)
        assert len(names) <= (3 if effort == THOROUGH else 2)


def test_apply_rounds_on_as_many_examples_as_the_allocation_says(
    cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    data = f"npz:{image_file}?count=48"
    options = mpq_onnx.AllocateOptions(method="uniform", rounding_examples=16)
    made = mpq_onnx.allocate(
        cnn_file, data, tmp_path / "out", weight_bits=3, activation_bits=6, validation=data, options=options
    )
    mpq_onnx.apply(cnn_file, tmp_path / "out" / "allocation.json", tmp_path / "again.onnx", data=data)
    again = ir.load(tmp_path / "again.onnx")
    for name, value in ir.load(made.model_path).graph.initializers.items():
        assert value.const_value is not None
        np.testing.assert_array_equal(
            again.graph.initializers[name].const_value.numpy(), value.const_value.numpy(), str(name)
        )


class _Seen:
    """A Visitor that keeps all it is shown."""

    def __init__(self) -> None:
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def before(self, node: torch.fx.Node, streams: Streams) -> None:
        self.inputs.append([each[0] for each in streams.quantized])

    def after(self, node: torch.fx.Node, exact: Sequence[Any], quantized: Sequence[Any]) -> None:
        self.outputs.append(list(quantized))


@pytest.fixture
def network(cnn_file: Path, image_file: Path) -> tuple[Mirror, torch.Tensor]:
    """A mirror, and six images."""
    model = ir.load(cnn_file)
    (images,) = open_dataset(f"npz:{image_file}", model_inputs(model)).read(range(6)).inputs.values()
    return frozen_mirror(model, "cnn", CPU), torch.from_numpy(images)


@pytest.mark.parametrize("every", [1, 2, 5])
def test_stops_see_what_a_plain_pass_makes(every: int, network: tuple[Mirror, torch.Tensor]) -> None:
    mirror, images = network
    nodes = [node for node in mirror.module.graph.nodes if node.op == "call_function"]
    seen = _Seen()
    found = Stepper(mirror, [(images[:4],), (images[4:],)]).walk(nodes[::every], seen)
    plain = mirror.module.forward(images)
    for index, output in enumerate(plain):
        for stream in (0, 1):
            joined = torch.cat([each[stream][index] for each in found])
            torch.testing.assert_close(joined, output)
    assert len(seen.outputs) == len(nodes[::every]) and all(len(each) == 2 for each in seen.outputs)


def test_half_precision_between_stops_changes_little(network: tuple[Mirror, torch.Tensor]) -> None:
    mirror, images = network
    nodes = [node for node in mirror.module.graph.nodes if node.op == "call_function"]
    exact, halved = (
        torch.cat([each[1][0] for each in Stepper(mirror, [(images,)], kept).walk(nodes, _Seen())])
        for kept in (torch.float32, torch.float16)
    )
    assert 0 < float((exact - halved).abs().max()) < 1e-2 * float(exact.abs().max())
    huge = [each[1][0] for each in Stepper(mirror, [(images * 1e6,)], torch.float16).walk(nodes, _Seen())]
    whole = mirror.module.forward(images * 1e6)[0]
    torch.testing.assert_close(huge[0], whole, rtol=1e-2, atol=1e-2 * float(whole.abs().max()))


def test_what_is_alive_is_no_more_than_what_is_made(network: tuple[Mirror, torch.Tensor]) -> None:
    mirror, images = network
    made = elements_made(mirror, (images[:1],))
    sizes = dict.fromkeys(mirror.values, 100)
    stops = [node for node in mirror.module.graph.nodes if node.op == "call_function"]
    assert 0 < made.largest <= made.total
    assert 0 < most_alive(mirror, stops, sizes) <= len(sizes) * 100
    assert most_alive(mirror, [], sizes) == 0


def test_answers_are_computed_when_asked_for(cnn_file: Path, image_file: Path) -> None:
    model = ir.load(cnn_file)
    dataset = open_dataset(f"npz:{image_file}", model_inputs(model))
    data = TrainingData(dataset, frozen_mirror(model, "cnn", CPU), CPU)
    known = len(data.known)
    assert known < len(data)
    last = data.batch([len(data) - 1])
    assert len(data.known) == known
    (answer,) = last.float_outputs
    assert len(data.known) == known + 1
    images = tuple(torch.from_numpy(dataset.read([len(data) - 1]).inputs[name]) for name in data.input_names)
    torch.testing.assert_close(answer, data.mirror.module.forward(*images)[0])


@pytest.mark.slow
def test_parts_of_a_batch_have_the_gradient_of_the_whole(
    cnn_file: Path, image_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Little memory, the same widths."""
    options = mpq_onnx.AllocateOptions(method="gradient", rounding="nearest", steps=6, bias_correction=False)
    found = []
    for memory in (2**30, 1):
        monkeypatch.setattr("mpq_onnx.precision.problem.PASS_MEMORY", memory)
        result = mpq_onnx.allocate(
            cnn_file, f"npz:{image_file}", tmp_path / str(memory), weight_bits=4, activation_bits=6,
            options=options, keep_candidates=True,
        )  # fmt: skip
        learned = next(each for each in result.candidates if each.name == "gradient")
        found.append([(node.weight_bits, node.activation_bits) for node in learned.allocation.nodes])
    assert found[0] == found[1]


def test_normal_looks_at_less_than_thorough() -> None:
    normal, thorough = EFFORTS[NORMAL], EFFORTS[THOROUGH]
    assert normal.steps * normal.batch_size < thorough.steps * thorough.batch_size
    assert normal.cost_examples < thorough.cost_examples and math.isinf(thorough.macs)


@pytest.mark.parametrize("factor", [1.0, pytest.param(1e-12, marks=pytest.mark.slow)])
def test_costs_are_the_same_whether_errors_are_kept_or_made_anew(
    factor: float, image_file: Path, cnn_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of any size: a layer's are scaled, and what follows it scales back."""
    model = ir.load(cnn_file)
    fc = next(node for node in model.graph if node.op_type == "Gemm")
    weight = model.graph.initializers[str(fc.inputs[1].name)]
    weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(factor), name=weight.name)
    ir.save(model, tmp_path / "scaled.onnx")
    options = mpq_onnx.AllocateOptions(method="water-filling", rounding="nearest", bias_correction=False)
    found = []
    for memory in (2**40, 0):
        monkeypatch.setattr("mpq_onnx.precision.weight_costs.ERRORS_MEMORY", memory)
        result = mpq_onnx.allocate(
            tmp_path / "scaled.onnx", f"npz:{image_file}", tmp_path / str(memory), weight_bits=4,
            keep_candidates=True, options=options,
        )  # fmt: skip
        filled = next(each for each in result.candidates if each.name == "water-filling")
        found.append([node.weight_bits for node in filled.allocation.nodes])
    assert found[0] == found[1]
    assert len(set(filter(None, found[0]))) > 1


@pytest.mark.slow
def test_a_network_too_large_for_steps_worth_taking_has_the_closed_form(
    cnn_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(EFFORTS, NORMAL, dataclasses.replace(EFFORTS[NORMAL], macs=1.0))

    def allocated(**options: Any) -> mpq_onnx.AllocateResult:
        return mpq_onnx.allocate(
            cnn_file, "random?count=64", tmp_path / "out", weight_bits=4.5, activation_bits=6, overwrite=True,
            options=mpq_onnx.AllocateOptions(rounding="nearest", **options),
        )  # fmt: skip

    with caplog.at_level("INFO", logger="mpq_onnx"):
        short = allocated()
    assert "too few to correct anything: the closed form is taken" in caplog.text
    assert "refined" not in {each.name for each in short.candidates}
    closed_form = allocated(method="water-filling")
    assert [each.distance for each in short.candidates] == [each.distance for each in closed_form.candidates]
    caplog.clear()
    with caplog.at_level("INFO", logger="mpq_onnx"):
        allocated(steps=2)
    assert "too few" not in caplog.text and "learn widths: 2 steps" in caplog.text
