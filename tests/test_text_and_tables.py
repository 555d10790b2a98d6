"""Data kinds for text and tables: what the model is fed is what the files say."""

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from mpq_onnx.datasets import open_dataset
from mpq_onnx.datasets.lines import BLOCK, Lines
from mpq_onnx.errors import DataError
from mpq_onnx.graph.metadata import METADATA_LABELS, METADATA_TABLES, METADATA_TASK, METADATA_TOKENIZER
from mpq_onnx.graph.model_inputs import ModelInput
from mpq_onnx.runtime.output_form import OutputMeaning
from mpq_onnx.runtime.tally import Answers, Tally
from mpq_onnx.tasks import Answer

LENGTH = 6
TEXT = tuple(
    ModelInput(name, np.dtype(np.int64), (None, LENGTH))
    for name in ("input_ids", "attention_mask", "token_type_ids")
)
CLICKS = (
    ModelInput("dense", np.dtype(np.float32), (None, 13)),
    ModelInput("sparse", np.dtype(np.int64), (None, 26)),
)
WORDS = ["[PAD]", "[UNK]", "a", "b", "c", "d"]


@pytest.fixture
def facts() -> dict[str, str]:
    model = tokenizers.models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return {METADATA_TOKENIZER: tokenizer.to_str(), METADATA_TASK: "sequence-classification"}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_text_is_tokenized_padded_and_cut(tmp_path: Path, facts: dict[str, str]) -> None:
    path = write(tmp_path / "a.tsv", 'a "quoted b\t1\nd e c\t0\na b c d a b c d\t1\n')
    batch = open_dataset(f"text:{path}", TEXT, facts).read([0, 1, 2])
    assert batch.inputs["input_ids"].tolist() == [[2, 1, 1, 3, 0, 0], [5, 1, 4, 0, 0, 0], [2, 3, 4, 5, 2, 3]]
    assert batch.inputs["attention_mask"].sum(axis=1).tolist() == [4, 3, 6]
    assert batch.labels is not None and batch.labels.tolist() == [1, 0, 1]


def test_text_columns_labels_and_pairs(tmp_path: Path, facts: dict[str, str]) -> None:
    path = write(tmp_path / "a.tsv", "left\tright\tkind\nb\tc\tno\na\td\tyes\n")
    named = {**facts, METADATA_LABELS: json.dumps(["YES", "NO"])}
    pairs = open_dataset(f"text:{path}?header=yes&columns=left,right&label=kind", TEXT, named).read([0, 1])
    assert pairs.inputs["input_ids"][:, :2].tolist() == [[3, 4], [2, 5]]
    assert pairs.inputs["token_type_ids"][:, :2].tolist() == [[0, 1], [0, 1]]
    assert pairs.labels is not None and pairs.labels.tolist() == [1, 0]
    scores = write(tmp_path / "b.tsv", "b\tc\t0.5\na\td\t2\n")
    apart = open_dataset(f"text:{scores}?columns=0,1&as=pairs", TEXT, facts)
    assert len(apart) == 4
    batch = apart.read(range(4))
    assert batch.inputs["input_ids"][:, 0].tolist() == [3, 4, 2, 5]
    assert batch.labels is not None and batch.labels.tolist() == [0.5, 0.5, 2, 2]


def test_mnli_splits_classes_and_parts(tmp_path: Path, facts: dict[str, str]) -> None:
    head = "index\tsentence1\tsentence2\tgold_label\n"
    write(tmp_path / "dev_matched.tsv", head + "0\ta\tb\tneutral\n1\ta\tb\t-\n2\tb\tc\tentailment\n")
    write(tmp_path / "dev_mismatched.tsv", head + "0\tc\td\tcontradiction\n")
    both = open_dataset(f"glue-mnli:{tmp_path}", TEXT, facts).read(range(3))
    assert both.labels is not None and both.labels.tolist() == [1, 0, 2]
    assert both.groups is not None and both.groups.tolist() == ["matched", "matched", "mismatched"]
    own = {**facts, METADATA_LABELS: json.dumps(["contradiction", "neutral", "entailment"])}
    one = open_dataset(f"glue-mnli:{tmp_path}?split=matched", TEXT, own).read(range(2))
    assert one.labels is not None and one.labels.tolist() == [1, 2] and one.groups is None


def test_metrics_of_parts(tmp_path: Path, facts: dict[str, str]) -> None:
    head = "sentence1\tsentence2\tgold_label\n"
    write(tmp_path / "dev_matched.tsv", head + "a\tb\tneutral\nb\tc\tentailment\n")
    write(tmp_path / "dev_mismatched.tsv", head + "c\td\tcontradiction\n")
    dataset = open_dataset(f"glue-mnli:{tmp_path}", TEXT, facts)
    batch = dataset.read(range(3))
    tally = Tally(dataset, OutputMeaning(Answer.CLASSES, (), ("scores",)))
    tally.update(Answers(3, [np.eye(3)[[1, 1, 2]]], None, batch.labels, batch.groups))
    found = {name: estimate.value for name, estimate in tally.metrics.items()}
    assert found == pytest.approx({"accuracy": 2 / 3, "accuracy-matched": 0.5, "accuracy-mismatched": 1.0})


CLICK = ["1", "3", "", "-2", *["7"] * 10, "0000000a", "", *["68fd1e64"] * 24]


@pytest.mark.parametrize("form", ["tsv", "csv", "unlabelled"])
def test_criteo_rows(form: str, tmp_path: Path) -> None:
    if form == "csv":
        names = ["label", *(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27))]
        path = write(tmp_path / "c.csv", "\n".join(",".join(row) for row in (names, CLICK)) + "\n")
    else:
        row = CLICK[1:] if form == "unlabelled" else CLICK
        path = write(tmp_path / "c.txt", "\t".join(row) + "\n")
    rows = [7] * 26
    dataset = open_dataset(f"criteo:{path}", CLICKS, {METADATA_TABLES: json.dumps(rows)})
    batch = dataset.read([0])
    wanted = np.log1p([3, 0, 0, *[7] * 10])
    np.testing.assert_allclose(batch.inputs["dense"][0], wanted, rtol=1e-6)
    assert batch.inputs["sparse"][0].tolist() == [10 % 7, 0, *[0x68FD1E64 % 7] * 24]
    assert dataset.has_labels == (form != "unlabelled")
    if batch.labels is not None:
        assert batch.labels.tolist() == [1]


COLUMNS = {
    "format": "mpq-onnx/columns",
    "version": 1,
    "header": True,
    "label": {"column": "wins", "positive": ["yes"]},
    "inputs": {
        "dense": [{"column": "size", "mean": 2, "std": 4}, {"column": 2, "transform": "log", "missing": -1}],
        "sparse": [{"column": "kind", "vocabulary": ["x", "y"]}, {"column": "kind", "rows": 10}],
    },
}
INPUTS = (
    ModelInput("dense", np.dtype(np.float32), (None, 2)),
    ModelInput("sparse", np.dtype(np.int64), (None, 2)),
)


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_tables_follow_their_columns(suffix: str, tmp_path: Path) -> None:
    text = "kind, size, count, wins\ny, 6, 3, yes\n\nz, 2, , no\n"
    path = tmp_path / f"t.{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    columns = write(tmp_path / "columns.json", json.dumps(COLUMNS))
    batch = open_dataset(f"csv:{path}?columns={columns}", INPUTS).read([1, 0])
    np.testing.assert_allclose(batch.inputs["dense"], [[0, -1], [1, np.log(4)]], rtol=1e-6)
    hashed = [1 + zlib.crc32(value.encode()) % 9 for value in ("z", "y")]
    assert batch.inputs["sparse"].tolist() == [[0, hashed[0]], [2, hashed[1]]]
    assert batch.labels is not None and batch.labels.tolist() == [0, 1]


def test_lines_are_read_by_number_in_any_order(tmp_path: Path) -> None:
    count = 3 * BLOCK + 5
    path = write(tmp_path / "lines.txt", "".join(f"line {i}\n" + "\n" * (i % 3 == 0) for i in range(count)))
    lines = Lines(str(path), "test")
    assert len(lines) == count
    order = np.random.default_rng(0).permutation(count).tolist()
    assert lines.read(order) == [f"line {i}" for i in order]


def test_batches_come_in_order_and_errors_reach_the_reader(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.txt",
        "".join("\t".join([str(i % 2), *CLICK[1:]]) + "\n" for i in range(50)) + "bad\trow\n",
    )
    dataset = open_dataset(f"criteo:{path}?rows=5", CLICKS)
    seen = []
    with pytest.raises(DataError, match="'row' is no number, in the row bad, row"):
        for batch in dataset.batches(10):
            seen.extend(batch.labels.tolist())
    assert seen == [i % 2 for i in range(50)]


@pytest.mark.parametrize(
    ("kind", "text", "options", "complaint"),
    [
        ("text", "a\t1\n", "", "no tokenizer"),
        ("text", "a\t1\nb\n", "", "row 2 .* has 1 fields, not 2"),
        ("text", "a\t1\n", "?columns=5", "no column 5"),
        ("text", "a\tgood\n", "", "a label is no number"),
        ("criteo", "1\t2\n", "?rows=5", "2 columns; Criteo has 39"),
        ("criteo", "\t".join(CLICK) + "\n", "", "give rows="),
        ("criteo", "", "?rows=5", "no rows"),
        ("csv", "a,b\n", "", "give columns="),
    ],
)  # fmt: skip
def test_wrong_files_are_refused(kind: str, text: str, options: str, complaint: str, tmp_path: Path) -> None:
    path = write(tmp_path / "file", text)
    with pytest.raises(DataError, match=complaint):
        open_dataset(f"{kind}:{path}{options}", CLICKS if kind == "criteo" else TEXT, {})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": "other"}, "says that it is other; wanted is the columns"),
        ({"inputs": {"dense": [{"column": "absent"}]}}, "no column absent"),
        ({"inputs": {"dense": [{"column": "kind"}]}}, "'y' is no number, in the row y, 6, 3, yes"),
        ({"inputs": {}}, "at inputs"),
        (
            {"inputs": {"dense": [{"bogus": 1}]}},
            r"inputs/dense(/0)?: .*(required|unknown|form).*; see docs/columns.md",
        ),
        (
            {"inputs": {"dense": [3, {"column": 1.5}]}},
            r"inputs/dense(/\d)?(/column)?: .*; see docs/columns.md",
        ),
    ],
)
def test_wrong_columns_are_refused(change: dict, complaint: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "kind,size,count,wins\ny,6,3,yes\n")
    columns = write(tmp_path / "columns.json", json.dumps({**COLUMNS, **change}))
    with pytest.raises(DataError, match=complaint):
        open_dataset(f"csv:{path}?columns={columns}", INPUTS[:1]).read([0])
