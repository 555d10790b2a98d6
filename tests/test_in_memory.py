"""Models and data that a caller from Python holds, what results offer in a notebook, and what bad input is answered with."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

import mpq_onnx
from mpq_onnx.graph.given_model import model_source
from mpq_onnx.runs.result import Result

QUICK = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest", bias_correction=False)


@pytest.fixture
def arrays(image_file: Path) -> dict[str, np.ndarray]:
    stored = np.load(image_file)
    return {name: stored[name][:64] for name in stored.files}


class Pairs(Dataset):
    """Examples as dicts."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays["labels"])

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "images": self.arrays["images"][index],
            "label": int(self.arrays["labels"][index]),
            "id": f"x{index}",
        }


def top1(model: Any, data: Any) -> float:
    return mpq_onnx.evaluate(model, data).evaluation.metrics["top1"].value


def test_data_of_every_form_is_the_same_data(
    cnn_file: Path, image_file: Path, arrays: dict[str, np.ndarray]
) -> None:
    images, labels = arrays["images"], arrays["labels"]
    wanted = top1(cnn_file, f"npz:{image_file}?count=64")
    pairs = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, 64, 10):
            yield images[start : start + 10], labels[start : start + 10]

    for data in (
        arrays, (images, labels), {"images": images.astype(np.float64), "y": labels.astype(np.float32)},
        {"images": torch.from_numpy(images), "labels": labels[:, None]}, DataLoader(pairs, batch_size=10, shuffle=True),
        DataLoader(Pairs(arrays), batch_size=7), [({"images": images}, labels)], batches(),
        {"images": images.tolist(), "labels": labels.tolist()},
    ):  # fmt: skip
        assert top1(cnn_file, data) == wanted
    assert top1(cnn_file, image_file) == top1(cnn_file, str(image_file))  # a path is a spec
    alone = mpq_onnx.evaluate(cnn_file, images, baseline=cnn_file).evaluation
    assert (
        alone.labels == "baseline" and alone.comparison is not None and alone.comparison.agreement.value == 1
    )


def test_bytes_are_images_that_are_stored_and_floats_are_inputs(
    tmp_path: Path, arrays: dict[str, np.ndarray], cnn_file: Path
) -> None:
    """As in an npz file, where an export says how images become inputs; other arrays are taken as they are."""
    path = tmp_path / "float.onnx"
    mpq_onnx.export(cnn_file, path, preprocess="layout=nhwc&mean=0.5&std=0.25")
    stored = np.random.default_rng(0).integers(0, 256, (48, 12, 12, 3), dtype=np.uint8)
    labels = np.arange(48) % 6
    np.savez(tmp_path / "images.npz", images=stored, labels=labels)
    wanted = mpq_onnx.evaluate(path, f"npz:{tmp_path}/images.npz").evaluation.metrics
    assert mpq_onnx.evaluate(path, {"images": stored, "labels": labels}).evaluation.metrics == wanted
    assert mpq_onnx.evaluate(path, np.load(tmp_path / "images.npz")).evaluation.metrics == wanted
    ready = ((stored.astype(np.float32) / 255 - 0.5) / 0.25).transpose(0, 3, 1, 2)
    assert mpq_onnx.evaluate(path, (ready, labels)).evaluation.metrics == wanted


def test_models_of_every_form_are_the_same_model(
    cnn_file: Path, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    proto = onnx.load(cnn_file)
    before = proto.SerializeToString()
    wanted = top1(cnn_file, arrays)
    for model in (str(cnn_file), cnn_file, proto, ir.load(cnn_file), model_source(proto)):
        assert top1(model, arrays) == wanted
    assert proto.SerializeToString() == before
    found = mpq_onnx.evaluate(proto, arrays, baseline=proto)
    assert found.path == "the model in memory" and found.bytes == len(before)
    assert mpq_onnx.card(proto)["model"]["bytes"] == len(before) and mpq_onnx.inspect(proto).weights == 912
    assert (
        mpq_onnx.export(proto, tmp_path / "e.onnx").nodes
        == mpq_onnx.export(cnn_file, tmp_path / "f.onnx").nodes
    )
    assert all(each.sqnr == float("inf") for each in mpq_onnx.compare(proto, cnn_file, arrays))
    assert mpq_onnx.calibrate(proto, arrays, tmp_path / "c.json").examples == 64
    assert pickle.loads(pickle.dumps(model_source(proto))).content == before


def test_a_shuffled_loader_and_a_model_in_memory_give_the_same_allocation(
    cnn_file: Path, image_file: Path, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    pairs = TensorDataset(torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"]))
    loader = DataLoader(pairs, batch_size=10, shuffle=True)
    proto = onnx.load(cnn_file)
    first = mpq_onnx.allocate(
        proto, loader, tmp_path / "memory", weight_bits=3, activation_bits=8, options=QUICK
    )
    with pytest.raises(
        mpq_onnx.MpqOnnxError, match="another result"
    ):  # nothing in the folder tells arrays apart
        mpq_onnx.allocate(proto, loader, tmp_path / "memory", weight_bits=3, activation_bits=8, options=QUICK)
    again = mpq_onnx.allocate(
        proto, loader, tmp_path / "memory", weight_bits=3, activation_bits=8, options=QUICK, overwrite=True
    )
    files = mpq_onnx.allocate(
        cnn_file,
        f"npz:{image_file}?count=64",
        tmp_path / "files",
        weight_bits=3,
        activation_bits=8,
        options=QUICK,
    )
    for name in ("allocation.json", "calibration.json"):
        assert (tmp_path / "memory" / name).read_bytes() == (tmp_path / "files" / name).read_bytes()
    assert (
        first.chosen.evaluation.metrics == again.chosen.evaluation.metrics == files.chosen.evaluation.metrics
    )
    text = (tmp_path / "memory" / "config.yaml").read_text()
    assert "model:" not in text and "data:" not in text and "weight-bits: 3" in text
    assert mpq_onnx.card(first.model_path)["data"]["training"]["spec"] == "DataLoader"
    applied = mpq_onnx.apply(proto, tmp_path / "memory" / "allocation.json", tmp_path / "a.onnx", data=loader)
    assert applied.allocation.mean_weight_bits == first.chosen.allocation.mean_weight_bits
    handed = mpq_onnx.handoff(
        onnx.load(first.model_path), tmp_path / "handed", to="json", data=arrays["images"]
    )
    assert handed.golden_examples == 4


def test_a_search_and_a_sweep(
    cnn_file: Path, image_file: Path, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    proto = onnx.load(cnn_file)
    goals, interval = (mpq_onnx.Goal("top1", 0.1),), mpq_onnx.Interval(2, 8, 0.9)
    found = mpq_onnx.search_bits(
        proto, arrays, (arrays["images"], arrays["labels"]), tmp_path / "search", goals=goals, interval=interval,
        options=QUICK, activation_bits=8,
    )  # fmt: skip
    assert found.best is not None and found.table[0]["budget"] == 2 and "value" in found.table[0]
    options = {
        "data": f"npz:{image_file}?count=64",
        "weight_bits": [3, 4],
        "method": "uniform",
        "rounding": "nearest",
    }
    swept = mpq_onnx.sweep(proto, options, tmp_path / "sweep")
    assert swept.failed == 0 and len(swept.to_pandas() if _has_pandas() else swept.table) == 2
    with pytest.raises(mpq_onnx.MpqOnnxError, match="data specs alone"):
        mpq_onnx.sweep(proto, {**options, "data": arrays}, tmp_path / "no")


def _has_pandas() -> bool:
    try:
        import pandas  # noqa: F401
    except ImportError:
        return False
    return True


def broken() -> Iterator[np.ndarray]:
    yield np.zeros((4, 3, 12, 12), np.float32)
    raise RuntimeError("the disk is gone\nand more")


IMAGES = np.zeros((4, 3, 12, 12), np.float32)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "give a data spec"), (5, "give a data spec"), (b"x", "give a data spec"), ([], "gave no batch"),
        ({}, "no arrays"), ({"x": IMAGES}, "has x, the model wants images"), (IMAGES[:0], "no examples"),
        ((IMAGES, np.arange(3)), "different lengths"), ((IMAGES, IMAGES, IMAGES), "3 arrays side by side"),
        ({"images": IMAGES, "labels": np.eye(4)}, "do not fit the model's 6 classes"),
        ((IMAGES, np.array(["a", "b", "c", "d"])), "not numbers"), (np.array([object()]), "not numbers"),
        ((IMAGES, [0.0, np.nan, 1, 2]), "labels of float64"), (IMAGES[0], "do not fit model input images"),
        (np.full_like(IMAGES, np.nan), "NaN"), (IMAGES.transpose(0, 2, 3, 1), "do not fit"),
        ([IMAGES, IMAGES[:, :2]], "do not fit together"), (broken(), "RuntimeError: the disk is gone"), (iter([]), "read once"),
        ([{"images": IMAGES}, (IMAGES, np.arange(4))], "different names"), (["a", "b"], "not numbers"),
        (np.full(IMAGES.shape, 1e300), "has no room for"), ({1: IMAGES}, "has 1, the model wants images"),
    ],
)  # fmt: skip
def test_data_that_is_none(data: Any, said: str, cnn_file: Path) -> None:
    with pytest.raises(mpq_onnx.MpqOnnxError) as caught:
        mpq_onnx.evaluate(cnn_file, data)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "model", [None, 3, b"onnx", onnx.ModelProto(), object(), ["a.onnx"], "a" * 5000, "x\0y", "."]
)
def test_models_that_are_none(model: Any, tmp_path: Path) -> None:
    for call in (
        lambda: mpq_onnx.evaluate(model, "random?count=4"), lambda: mpq_onnx.card(model), lambda: mpq_onnx.inspect(model),
        lambda: mpq_onnx.allocate(model, "random?count=8", tmp_path / "o", weight_bits=4),
        lambda: mpq_onnx.compare(model, model, "random"), lambda: mpq_onnx.export(model, tmp_path / "e.onnx"),
        lambda: mpq_onnx.handoff(model, tmp_path / "h", to="json"), lambda: mpq_onnx.calibrate(model, "random", tmp_path / "c"),
        lambda: mpq_onnx.sweep(model, {"data": "random", "weight_bits": 4}, tmp_path / "s"),
    ):  # fmt: skip
        with pytest.raises(mpq_onnx.MpqOnnxError) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_values_that_are_none(cnn_file: Path, tmp_path: Path) -> None:
    """Every public function answers a wrong value with its own error."""
    spec, out = "random?count=8", tmp_path / "out"
    wrong: list[str] = []
    for call in (
        lambda: mpq_onnx.evaluate(cnn_file, spec, batch_size=0), lambda: mpq_onnx.evaluate(cnn_file, spec, batch_size="8"),
        lambda: mpq_onnx.evaluate(cnn_file, spec, task="magic"), lambda: mpq_onnx.evaluate(cnn_file, spec, device="tpu"),
        lambda: mpq_onnx.evaluate(cnn_file, spec, repeats="x"), lambda: mpq_onnx.evaluate(cnn_file, spec, costs=3),
        lambda: mpq_onnx.evaluate(cnn_file, spec, baseline=3), lambda: mpq_onnx.evaluate(cnn_file, spec, seed="x"),
        lambda: mpq_onnx.allocate(cnn_file, spec, out, weight_bits="4"), lambda: mpq_onnx.allocate(cnn_file, spec, out),
        lambda: mpq_onnx.allocate(cnn_file, spec, 5, weight_bits=4),
        lambda: mpq_onnx.allocate(cnn_file, spec, None, weight_bits=4),
        lambda: mpq_onnx.allocate(cnn_file, spec, out, weight_bits=4, calibration=tmp_path / "no.json"),
        lambda: mpq_onnx.allocate(cnn_file, spec, out, weight_bits=4, options={"method": "uniform"}),
        lambda: mpq_onnx.AllocateOptions(bit_choices=4), lambda: mpq_onnx.AllocateOptions(method=3),
        lambda: mpq_onnx.AllocateOptions(seed="x"), lambda: mpq_onnx.AllocateOptions(override=3),
        lambda: mpq_onnx.AllocateOptions(bit_choices=("a",)), lambda: mpq_onnx.AllocateOptions(target=3),
        lambda: mpq_onnx.EnergyOptions("shot"), lambda: mpq_onnx.EnergyOptions(("magic",)), lambda: mpq_onnx.EnergyOptions(3),
        lambda: mpq_onnx.load_allocation(None), lambda: mpq_onnx.load_document(3), lambda: mpq_onnx.load_target(3),
        lambda: mpq_onnx.sweep(cnn_file, 3, out),
        lambda: mpq_onnx.sweep(cnn_file, {"data": spec, "weight_bits": 4}, out, jobs="x"),
        lambda: mpq_onnx.report_folder(3, tmp_path / "r.html"), lambda: mpq_onnx.report_folder(tmp_path, tmp_path / "r.html"),
        lambda: mpq_onnx.handoff(cnn_file, out, to=3), lambda: mpq_onnx.handoff(cnn_file, out, to="json", examples="x"),
        lambda: mpq_onnx.Goal("top1", "x"), lambda: mpq_onnx.Interval("a", 3), lambda: mpq_onnx.Drop("top1", None),
        lambda: mpq_onnx.apply(cnn_file, 3, out), lambda: mpq_onnx.noise_to_bits(cnn_file, spec, out),
        lambda: mpq_onnx.models(3),
        lambda: mpq_onnx.profile(cnn_file, out, simulator=3), lambda: mpq_onnx.export(cnn_file, out, values={"x": object()}),
        lambda: mpq_onnx.export(cnn_file, out, sequence_length="x"), lambda: mpq_onnx.export(cnn_file, out, check=3),
        lambda: mpq_onnx.calibrate(cnn_file, spec, out, observer="magic"), lambda: mpq_onnx.calibrate(cnn_file, spec, None),
    ):  # fmt: skip
        try:
            call()
        except mpq_onnx.MpqOnnxError as error:
            assert "\n" not in str(error)
        except Exception as error:
            wrong.append(repr(error))
        else:
            wrong.append(str(call.__code__.co_consts))
    assert wrong == []


def test_what_results_offer_in_a_notebook(
    cnn_file: Path, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    allocated = mpq_onnx.allocate(
        cnn_file, arrays, tmp_path / "out", weight_bits=3, activation_bits=8, options=QUICK
    )
    noisy = mpq_onnx.allocate_energy(
        cnn_file, arrays, tmp_path / "noisy", energy_per_mac=50,
        options=mpq_onnx.EnergyOptions(("shot",), method="uniform", repeats=1),
    )  # fmt: skip
    results = [
        allocated, noisy, mpq_onnx.evaluate(allocated.model_path, arrays, baseline=cnn_file), mpq_onnx.inspect(cnn_file),
        mpq_onnx.compare(cnn_file, allocated.model_path, arrays),
        mpq_onnx.handoff(allocated.model_path, tmp_path / "h", to="csv"),
        mpq_onnx.calibrate(cnn_file, arrays, tmp_path / "calibration.json"),
    ]  # fmt: skip
    for result in results:
        assert isinstance(result, Result) and isinstance(result.to_dict(), dict) and result.table
        shown = result._repr_html_()
        assert shown.count("<tr>") == len(result.table) + 1 and "<table>" in shown
        result.plot().savefig(tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 1000
        (tmp_path / "figure.png").unlink()
        if _has_pandas():
            assert len(result.to_pandas()) == len(result.table)
    assert {row["node"]: row["weight_bits"] for row in allocated.table}["stem"] is not None
    card = mpq_onnx.card(allocated.model_path)
    assert card.to_dict() == card and "<table>" in card._repr_html_()
    assert len(card.table) == sum(map(len, card.values()))
    exported = mpq_onnx.export(cnn_file, tmp_path / "e.onnx")
    assert "largest_difference" in exported._repr_html_()
    with pytest.raises(mpq_onnx.MpqOnnxError, match="nothing to draw"):
        exported.plot()


def test_names_in_tables_are_no_html() -> None:
    from mpq_onnx.runs.handing_off import HandoffResult

    result = HandoffResult("f", "json", {"<script>alert(1)</script>": 3}, 1, None, ("<b>note</b>",))
    assert (
        "<script>" not in result._repr_html_()
        and "&lt;script&gt;" in result._repr_html_()
        and "&lt;b&gt;" in result._repr_html_()
    )


def test_without_pandas_one_line_says_so(monkeypatch: pytest.MonkeyPatch, cnn_file: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(mpq_onnx.MpqOnnxError, match="pip install pandas"):
        mpq_onnx.inspect(cnn_file).to_pandas()


def test_the_verbs_are_listed() -> None:
    assert {"allocate", "evaluate", "inspect", "sweep", "AllocateOptions", "MpqOnnxError"} <= set(
        dir(mpq_onnx)
    )
    assert set(mpq_onnx.__all__) <= set(dir(mpq_onnx)) and all(
        hasattr(mpq_onnx, name) for name in mpq_onnx.__all__
    )
