"""Splits and subsets: drawn by a seed, from all of the data, whatever its order."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpq_onnx
from mpq_onnx.datasets import open_dataset
from mpq_onnx.datasets.base import Batch, Dataset, Examples
from mpq_onnx.datasets.content_digest import dataset_digest
from mpq_onnx.datasets.sampling import drawn, split
from mpq_onnx.errors import UsageError
from mpq_onnx.graph.model_inputs import ModelInput
from mpq_onnx.runs.run_folder import FEW_EXAMPLES, split_validation

VALUE = (ModelInput("x", np.dtype(np.float32), (None, 1)),)
IMAGE = (ModelInput("images", np.dtype(np.float32), (None, 3, 12, 12)),)


def in_memory(values: np.ndarray, labels: np.ndarray, together: int = 1) -> Dataset:
    def read(indices) -> Batch:
        chosen = np.asarray(indices)
        return Batch({"x": values[chosen][:, None]}, labels[chosen])

    examples = Examples(len(values), True, read, together=together)
    return Dataset("data", examples, VALUE, range(len(values)))


def values_of(dataset: Dataset) -> list[float]:
    return [float(value) for value in dataset.read(range(len(dataset))).inputs["x"].reshape(-1)]


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=40), st.integers(0, 2**32 - 1), st.randoms())
@settings(deadline=None, max_examples=60)
def test_the_order_of_the_data_does_not_matter(values: list[int], seed: int, random) -> None:
    """Equal examples among them."""
    order = list(range(len(values)))
    random.shuffle(order)
    plain = np.array(values, np.float32)
    labels = np.arange(len(values)) % 2
    labels = np.array(sorted(labels)) if len(set(values)) == 1 else (plain > 0).astype(int)
    first, other = in_memory(plain, labels), in_memory(plain[order], labels[order])
    for part, same in zip(split(first, seed, 4), split(other, seed, 4), strict=True):
        assert values_of(part) == values_of(same)
        assert part.read(range(len(part))).labels.tolist() == same.read(range(len(same))).labels.tolist()
    assert sorted(values_of(drawn(first, seed))) == sorted(values)
    assert dataset_digest(first) == dataset_digest(other)


def test_every_class_is_in_every_part_of_sorted_data() -> None:
    """A quarter held out, and any part from the front: each has the classes in equal shares, but for chance."""
    labels = np.arange(4000) // 1000
    train, held_out = split(in_memory(np.arange(4000, dtype=np.float32), labels), 0, 4)
    assert (len(train), len(held_out)) == (3000, 1000)
    assert not set(values_of(train)) & set(values_of(held_out))
    for part in (train, held_out, train.first(512), held_out.first(256)):
        counts = np.bincount(part.read(range(len(part))).labels, minlength=4)
        assert np.abs(counts - len(part) / 4).max() < 5 * np.sqrt(len(part) * 3 / 16)


PRECISIONS = [(np.float32, each) for each in (np.float16, np.float64)] + [
    (np.int64, each) for each in (np.int8, np.int16, np.int32)
]


@pytest.mark.parametrize(("usual", "other"), PRECISIONS)
def test_a_copy_in_another_precision_is_split_alike(usual: type, other: type, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-99, 99, (40, 3)).astype(usual)
    found = []
    for name, array in (("a", values), ("b", values.astype(other))):
        np.savez(tmp_path / f"{name}.npz", x=array)
        inputs = (ModelInput("x", np.dtype(usual), (None, 3)),)
        parts = split(open_dataset(f"npz:{tmp_path / name}.npz", inputs), 0, 4)
        found.append([part.read(range(len(part))).inputs["x"].tolist() for part in parts])
    assert found[0] == found[1]


def test_the_seed_decides() -> None:
    dataset = in_memory(np.arange(100, dtype=np.float32), np.zeros(100, int))
    assert values_of(drawn(dataset, 3)) == values_of(drawn(dataset, 3)) != values_of(drawn(dataset, 4))


def test_a_part_of_a_drawn_order_stays_as_it_is() -> None:
    """So apply, on what allocate trained on, sees the same examples first."""
    whole = drawn(in_memory(np.arange(100, dtype=np.float32), np.zeros(100, int)), 3)
    for part in (whole, whole.first(30), whole.part(range(25, 100))):
        assert values_of(drawn(part, 3)) == values_of(part)


def test_copies_of_one_example_are_spread() -> None:
    """Half of the data is the same example: it must not be a block of the order."""
    values = np.concatenate([np.zeros(500), np.arange(1, 501)]).astype(np.float32)
    first = values_of(drawn(in_memory(values, np.zeros(1000, int)), 0).first(200))
    assert 60 < sum(value == 0 for value in first) < 140


@pytest.mark.parametrize("count", [2, 3, 9, 20, 21])
def test_pairs_stay_together(count: int) -> None:
    dataset = in_memory(np.arange(count, dtype=np.float32), np.zeros(count, int), together=2)
    whole = values_of(drawn(dataset, 1))
    assert sorted(whole) == list(range(count))
    assert all(whole[i] + 1 == whole[i + 1] and whole[i] % 2 == 0 for i in range(0, count - 1, 2))
    if count > 2:
        train, held_out = split(dataset, 1, 4)
        assert len(held_out) % 2 == 0 and len(train) + len(held_out) == count
        assert all(value % 2 == 0 for value in values_of(train)[0::2] + values_of(held_out)[0::2])


def test_shuffle_in_a_spec_comes_before_start_and_count(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(50, dtype=np.float32)[:, None], labels=np.arange(50) // 25)
    spec = f"npz:{tmp_path / 'a.npz'}"
    everything = values_of(open_dataset(f"{spec}?shuffle=7", VALUE))
    assert sorted(everything) == list(range(50)) and everything != sorted(everything)
    assert values_of(open_dataset(f"{spec}?shuffle=7&start=10&count=5", VALUE)) == everything[10:15]
    assert values_of(open_dataset(f"{spec}?count=5", VALUE)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["text", "csv"])
def test_lines_of_files_are_drawn_by_their_content(kind: str, tmp_path: Path) -> None:
    lines = [f"{number},{number % 3}" for number in range(60)]
    columns = {
        "format": "mpq-onnx/columns", "version": 1, "inputs": {"x": [{"column": 0}]}, "label": {"column": 1},
    }  # fmt: skip
    (tmp_path / "columns.json").write_text(json.dumps(columns))
    found = []
    for order in (range(60), np.random.default_rng(0).permutation(60)):
        (tmp_path / "a.csv").write_text("".join(lines[index] + "\n" for index in order))
        if kind == "csv":
            spec = f"csv:{tmp_path / 'a.csv'}?columns={tmp_path / 'columns.json'}&shuffle=0&count=20"
            found.append(values_of(open_dataset(spec, VALUE)))
        else:
            facts, inputs = _words()
            spec = f"text:{tmp_path / 'a.csv'}?separator=comma&shuffle=0&count=20"
            found.append(open_dataset(spec, inputs, facts).read(range(20)).inputs["input_ids"][:, 0].tolist())
    assert found[0] == found[1] and len(set(found[0])) == 20


def _words() -> tuple[dict[str, str], tuple[ModelInput, ...]]:
    import tokenizers

    from mpq_onnx.graph.metadata import METADATA_TOKENIZER

    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({str(number): number for number in range(60)} | {"[PAD]": 60}, "[PAD]")
    )
    inputs = (ModelInput("input_ids", np.dtype(np.int64), (None, 2)),)
    return {METADATA_TOKENIZER: words.to_str()}, inputs


def test_too_few_examples_to_hold_some_out() -> None:
    one = in_memory(np.ones(1, np.float32), np.zeros(1, int))
    with pytest.raises(UsageError, match="one example"):
        split_validation(one, None, 0)


@pytest.mark.parametrize("count", [4, 64, 170, 200])
def test_ranges_of_few_examples_are_those_of_all(count: int) -> None:
    """Whichever quarter is held out; with more left, held-out examples are seen by nothing."""
    data = in_memory(np.arange(count, dtype=np.float32), np.zeros(count, int))
    sets = split_validation(data, None, 0)
    few = len(sets.training) < FEW_EXAMPLES
    assert sorted(values_of(sets.measured)) == sorted(values_of(data if few else sets.training))
    assert values_of(sets.measured.first(len(sets.training))) == values_of(sets.training)


def test_data_to_choose_by_of_their_own_are_not_measured() -> None:
    data, other = (
        in_memory(np.arange(low, low + 20, dtype=np.float32), np.zeros(20, int)) for low in (0, 100)
    )
    sets = split_validation(data, other, 0)
    assert (sorted(values_of(sets.measured)), len(sets.validation)) == (sorted(values_of(data)), 20)


@pytest.mark.parametrize("seed", range(3))
def test_few_examples_allocate_alike_whatever_is_held_out(seed: int, tmp_path: Path) -> None:
    """The one large example is in the ranges, be it held out or not."""
    weights = "<float[4,2] w = {1.0, 0.5, -1.0, 0.25, 0.5, 1.0, -0.5, 0.75}>"
    head = '<ir_version: 10, opset_import: ["" : 21]>'
    model = onnx.parser.parse_model(
        f"{head} a (float[N,4] x) => (float[N,2] y) {weights} {{ y = MatMul(x, w) }}"
    )
    data = np.random.default_rng(0).uniform(-1, 1, (40, 4)).astype(np.float32)
    data[17] = 8
    options = mpq_onnx.AllocateOptions(effort="quick", seed=seed)
    mpq_onnx.allocate(model, data, tmp_path / "out", weight_bits=8, activation_bits=8, options=options)
    assert json.loads((tmp_path / "out/calibration.json").read_text())["tensors"]["x"]["maximum"] == 8


@pytest.mark.parametrize("observer", ["ema", "mse"])
def test_sorted_and_shuffled_data_calibrate_the_same(
    observer: str, cnn_file: Path, sorted_and_shuffled: tuple[Path, Path], tmp_path: Path
) -> None:
    found = [
        mpq_onnx.calibrate(cnn_file, f"npz:{file}", tmp_path / "c.json", observer=observer)
        for file in sorted_and_shuffled
    ]
    assert found[0] == found[1]


def test_sorted_and_shuffled_data_allocate_the_same(
    cnn_file: Path, sorted_and_shuffled: tuple[Path, Path], tmp_path: Path
) -> None:
    """Bit for bit: splits, ranges, costs, rounding, and what is measured at the end."""
    documents, models, figures = [], [], []
    data = tmp_path / "data.npz"
    for number, file in enumerate(sorted_and_shuffled):
        shutil.copy(file, data)  # one name: it is kept in the file
        options = mpq_onnx.AllocateOptions(
            method="water-filling", granularity="channel", rounding_examples=32, training_examples=64
        )
        result = mpq_onnx.allocate(
            cnn_file,
            f"npz:{data}",
            tmp_path / str(number),
            weight_bits=3.5,
            activation_bits=8,
            options=options,
        )
        documents.append((tmp_path / str(number) / "allocation.json").read_text())
        models.append(onnx.load(result.model_path).graph.SerializeToString())
        figures.append((result.chosen.distance, result.mirror_check, result.nodes))
    assert documents[0] == documents[1]
    assert models[0] == models[1]
    assert figures[0] == figures[1]


@pytest.fixture(scope="module")
def sorted_and_shuffled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same examples: by class, each class with a brightness of its own, and in any order."""
    rng = np.random.default_rng(0)
    labels = np.arange(96) // 16
    images = (rng.standard_normal((96, 3, 12, 12)) * (1 + labels[:, None, None, None])).astype(np.float32)
    folder = tmp_path_factory.mktemp("data")
    order = rng.permutation(96)
    np.savez(folder / "sorted.npz", images=images, labels=labels)
    np.savez(folder / "shuffled.npz", images=images[order], labels=labels[order])
    return folder / "sorted.npz", folder / "shuffled.npz"
