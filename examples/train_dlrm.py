"""Train a DLRM on the census income data (UCI adult), a minute on two cores, and write what `mpq-onnx export dlrm` wants.

    python examples/train_dlrm.py ../shared/data/adult OUT

reads DIR/train.csv.gz and writes OUT/dlrm.pt (a checkpoint as facebookresearch/dlrm writes them) and OUT/columns.json (how a
row of the table becomes the model's inputs). Then:

    mpq-onnx export dlrm --weights OUT/dlrm.pt -o OUT/float.onnx
    mpq-onnx allocate OUT/float.onnx --data "csv:DIR/train.csv.gz?columns=OUT/columns.json&count=8192" --weight-bits 4 \
        --activation-bits 8 -o OUT/mixed
    mpq-onnx evaluate OUT/mixed/model.onnx --data "csv:DIR/test.csv.gz?columns=OUT/columns.json" --baseline OUT/float.onnx
"""

import argparse
import csv
import gzip
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from mpq_onnx.datasets import open_dataset
from mpq_onnx.graph.model_inputs import ModelInput
from mpq_onnx.zoo.dlrm import Dlrm, DlrmSizes

NUMBERS = (0, 2, 4, 10, 11, 12)
"""Age, weight of the record, years of education, capital gain and loss, hours a week."""
LOGARITHMIC = (2, 10, 11)
CATEGORIES = (1, 3, 5, 6, 7, 8, 9, 13)
LABEL, POSITIVE = 14, [">50K", ">50K."]
UNKNOWN = "?"

EPOCHS, BATCH, LEARNING_RATE = 6, 128, 1e-3


def describe_columns(path: Path) -> dict:
    """Means, deviations and vocabularies of the training rows."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if row]
    numbers = []
    for place in NUMBERS:
        values = np.array([float(row[place]) for row in rows])
        transform = "log" if place in LOGARITHMIC else "none"
        values = np.log1p(values) if transform == "log" else values
        numbers.append(
            {
                "column": place,
                "transform": transform,
                "mean": float(values.mean()),
                "std": float(values.std()),
            }
        )
    categories = [
        {"column": place, "vocabulary": sorted({row[place] for row in rows} - {UNKNOWN})}
        for place in CATEGORIES
    ]
    return {
        "format": "mpq-onnx/columns",
        "version": 1,
        "label": {"column": LABEL, "positive": POSITIVE},
        "inputs": {"dense": numbers, "sparse": categories},
    }


def train(data: str, tables: tuple[int, ...]) -> Dlrm:
    """A DLRM of modest size, by Adam on the log loss."""
    inputs = (
        ModelInput("dense", np.dtype(np.float32), (None, len(NUMBERS))),
        ModelInput("sparse", np.dtype(np.int64), (None, len(CATEGORIES))),
    )
    dataset = open_dataset(data, inputs)
    everything = dataset.read(range(len(dataset)))
    dense, sparse = (torch.from_numpy(everything.inputs[name]) for name in ("dense", "sparse"))
    labels = torch.from_numpy(everything.labels).float()
    torch.manual_seed(0)
    model = Dlrm(DlrmSizes(len(NUMBERS), tables, embedding=16, bottom=(64, 32), top=(64, 32)))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-6)
    for epoch in range(EPOCHS):
        total = 0.0
        for chosen in tqdm(torch.randperm(len(labels)).split(BATCH), f"epoch {epoch + 1}", disable=None):
            loss = F.binary_cross_entropy_with_logits(model(dense[chosen], sparse[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(chosen)
        print(f"epoch {epoch + 1}: log loss {total / len(labels):.4f}")
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with train.csv.gz")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    table, columns = arguments.data / "train.csv.gz", arguments.output / "columns.json"
    described = describe_columns(table)
    columns.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    tables = tuple(1 + len(entry["vocabulary"]) for entry in described["inputs"]["sparse"])
    model = train(f"csv:{table}?columns={columns}", tables)
    torch.save({"state_dict": model.state_dict()}, arguments.output / "dlrm.pt")


if __name__ == "__main__":
    main()
